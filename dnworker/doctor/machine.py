"""Looks at the machine: open files, processes, cgroups, the clock and time zones."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dnworker.doctor.findings import Finding, ok, problem, warning

FEW_FILES, FEW_PROCESSES = 1024, 256
"""Limits below which there is a warning: clients, logs and worker processes take some each."""

OLDEST_CLOCK = datetime(2024, 1, 1, tzinfo=UTC)
"""No clock that is right is before this."""

ZONE = "Europe/Berlin"
"""A time zone that is only found where there are data of time zones."""


def open_files(limit: int | None = None) -> Iterator[Finding]:
    """Look at how many files a process may have open; `limit` stands for the limit of this one."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        text = f"a process may have {soft} files open; each client and worker process takes some"
        yield warning(
            "open files", text, "ulimit -n 4096 before `dnworker serve`, or LimitNOFILE in its unit"
        )
    else:
        yield ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft:,}")


def processes(limit: int | None = None) -> Iterator[Finding]:
    """Look at how many processes the user may have."""
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0] if limit is None else limit
    if soft != resource.RLIM_INFINITY and soft < FEW_PROCESSES:
        text = f"this user may have {soft} processes and threads"
        yield warning("processes", text, "ulimit -u 4096, or TasksMax in the unit of the service")
    else:
        yield ok("processes", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft:,}")


def cgroup(own: Path | None) -> Iterator[Finding]:
    """Look at whether each worker process can have a cgroup of its own.

    Args:
        own: the directory of this process's cgroup; None where there is none.
    """
    what = "what a worker starts and leaves behind is found by its marks alone"
    if own is None:
        yield ok("cgroups", f"there is none of version 2: {what}")
    elif os.access(own, os.W_OK):
        yield ok("cgroups", f"{own} is ours: each worker process gets one of its own")
    else:
        yield ok("cgroups", f"{own} is not ours: {what}", "a systemd unit has Delegate=yes for this")


def clock(now: float | None = None) -> Iterator[Finding]:
    """Look at whether the clock can be right; `now` stands for its seconds since 1970."""
    shown = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    if shown < OLDEST_CLOCK:
        text = f"the clock says {shown:%Y-%m-%d}: certificates, leases and schedules do not work"
        yield problem("clock", text, "set it, such as by: timedatectl set-ntp true")
    else:
        yield ok("clock", f"{shown:%Y-%m-%d %H:%M:%S} UTC, local zone {'/'.join(dict.fromkeys(time.tzname))}")


def time_zones(environ: Mapping[str, str] = os.environ, zone: str = ZONE) -> Iterator[Finding]:
    """Look at whether names of time zones mean anything here; `zone` is one that has to be known."""
    if not _is_zone(zone):
        text = "there are no data of time zones: schedules that name one do not run"
        yield warning("time zones", text, "pip install tzdata, or the system's package tzdata")
        return
    named = environ.get("TZ", "").removeprefix(":")
    if named and not named.startswith("/") and "/" in named and not _is_zone(named):
        text = f"TZ is {named}, which is no time zone: local time is UTC"
        yield warning("time zones", text, "set it to a name such as Europe/Berlin")
    else:
        yield ok("time zones", "their data are there")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
