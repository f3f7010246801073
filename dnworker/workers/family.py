"""The processes of one worker: how they are recognised, signalled and ended; for the runtime and its guard.

It imports only the standard library: the guard's program is this file, and starts in a few milliseconds.
A worker's process leads a group and a session of its own. A process that has left the group is still
recognised: by the cgroup it is in, where the kernel lets us make one, and by `DNWORKER_RUN` in the
environment that it was started with, where there is a `/proc`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DNWORKER_RUN"
"""Names the run of a worker in the environment of all its processes."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL (contract 13.17)."""

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that the guard ignores: they are meant for the runtime, and the guard ends after that."""

LOOK_AGAIN = 0.5
"""Seconds after which processes that may have been started meanwhile are looked for."""


@dataclass(frozen=True)
class Family:
    """What the processes of one run are recognised by; `started` is the group's leader's `start_time`."""

    group: int | None = None
    started: int | None = None
    run: str | None = None
    cgroup: str | None = None


def boot_time() -> float:
    """Return seconds since the machine was started, those in which it slept included where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since the machine did; None if that is not known."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat behind the name: state, parent, group, session and so on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except OSError:
        return []


def signal_group(family: Family, number: int) -> bool:
    """Signal the group, unless its number is a stranger's by now; returns whether there was one."""
    group = family.group
    if group is None or not _is_ours(group, family.started):
        return False
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_ours(group: int, started: int | None) -> bool:
    """Return whether the number has not been given to another process since its leader started."""
    if started is None:
        return True
    leader = start_time(group)
    if leader is not None:
        return leader == started
    # The leader is gone. Ours led a session, too; one without a leader in another session is a stranger's.
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    members = (fields for pid in _pids() if (fields := _stat(pid)) is not None and int(fields[2]) == group)
    return all(int(fields[3]) == group and int(fields[19]) >= started for fields in members)


def marked(runs: Collection[str]) -> dict[str, list[tuple[int, int]]]:
    """Return the processes of each run, as pid and start time, by the variable in their environment."""
    found: dict[str, list[tuple[int, int]]] = {}
    own, key = os.getpid(), f"\0{VARIABLE}=".encode()
    for pid in _pids() if runs else ():
        try:
            environ = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # of another user, or gone
            continue
        _, is_there, rest = environ.partition(key)
        if not is_there or pid == own:
            continue
        run, started = rest.partition(b"\0")[0].decode(errors="replace"), start_time(pid)
        if run in runs and started is not None:
            found.setdefault(run, []).append((pid, started))
    return found


def in_cgroup(cgroup: str | None) -> list[tuple[int, int]]:
    """Return the processes in a cgroup and those below it, as pid and start time."""
    found = []
    for directory in _cgroups(cgroup):
        with suppress(OSError, ValueError):
            pids = [int(line) for line in Path(directory, "cgroup.procs").read_text().split()]
            found += [(pid, started) for pid in pids if (started := start_time(pid)) is not None]
    return found


def _cgroups(cgroup: str | None) -> Iterator[str]:
    """Give the directories of a cgroup, the lowest first."""
    if cgroup is not None:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            yield directory


def send(process: tuple[int, int], number: int) -> None:
    """Signal a process, unless its number belongs to another one by now."""
    pid, started = process
    with suppress(OSError):
        if not hasattr(os, "pidfd_open"):
            if start_time(pid) == started:
                os.kill(pid, number)
            return
        handle = os.pidfd_open(pid)
        try:
            if start_time(pid) == started:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def is_alive(process: tuple[int, int]) -> bool:
    """Return whether a process has not ended; a zombie has."""
    fields = _stat(process[0])
    return fields is not None and int(fields[19]) == process[1] and fields[0] not in "ZX"


def kill_cgroup(cgroup: str | None) -> None:
    """Kill all processes in a cgroup at once, where the kernel can (Linux 5.14)."""
    if cgroup is not None:
        with suppress(OSError):
            write_control(cgroup, "cgroup.kill", "1")


def write_control(cgroup: str, name: str, text: str) -> None:
    """Write to a file of a cgroup.

    Raises:
        OSError: there is no such file, or the kernel refuses.
    """
    handle = os.open(os.path.join(cgroup, name), os.O_WRONLY | os.O_CLOEXEC)  # noqa: PTH118  never made by us
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def remove_cgroup(cgroup: str | None) -> bool:
    """Remove an empty cgroup and those below it; returns whether it is gone."""
    for directory in _cgroups(cgroup):
        with suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106
    return cgroup is None or not os.path.isdir(cgroup)  # noqa: PTH112


def kill_family(family: Family) -> None:
    """Kill all processes of a family at once."""
    signal_group(family, signal.SIGKILL)
    kill_cgroup(family.cgroup)
    for process in _outside([family]):
        send(process, signal.SIGKILL)


def end_families(families: Iterable[Family], grace: float = GRACE) -> None:
    """Send SIGTERM to all processes of families, and SIGKILL to those that are left after `grace` seconds."""
    families = list(families)
    groups = [family for family in families if signal_group(family, signal.SIGTERM)]
    others = _outside(families)
    for process in others:
        send(process, signal.SIGTERM)
    deadline = time.monotonic() + grace
    look_again = time.monotonic() + LOOK_AGAIN
    while (groups or others) and time.monotonic() < deadline:
        time.sleep(0.05)  # the members are nobody's children here, so there is nothing to wait on
        groups = [family for family in groups if signal_group(family, 0)]
        others = {process for process in others if is_alive(process)}
        if time.monotonic() >= look_again:
            others, look_again = _outside(families), time.monotonic() + LOOK_AGAIN
    for family in groups:
        signal_group(family, signal.SIGKILL)
    for family in families:
        kill_cgroup(family.cgroup)
    for process in _outside(families):
        send(process, signal.SIGKILL)
    _remove_cgroups(families)


def _outside(families: Collection[Family]) -> set[tuple[int, int]]:
    """Return the processes that are known by their run or cgroup and have left the group."""
    runs = {family.run: family.group for family in families if family.run is not None}
    found = {
        process for run, members in marked(runs).items() for process in members if _left(process, runs[run])
    }
    for family in families:
        found.update(process for process in in_cgroup(family.cgroup) if _left(process, family.group))
    return found


def _left(process: tuple[int, int], group: int | None) -> bool:
    return is_alive(process) and (group is None or group_of(process) != group)


def group_of(process: tuple[int, int]) -> int | None:
    """Return the process group of a process; None when it has ended."""
    fields = _stat(process[0])
    return int(fields[2]) if fields is not None and int(fields[19]) == process[1] else None


def _remove_cgroups(families: Iterable[Family]) -> None:
    """Remove what the families have left; a process needs a moment to leave its cgroup."""
    left = [family.cgroup for family in families if family.cgroup is not None]
    for _ in range(20):
        left = [cgroup for cgroup in left if not remove_cgroup(cgroup)]
        if not left:
            break
        time.sleep(0.05)
    for parent in {os.path.dirname(family.cgroup) for family in families if family.cgroup is not None}:  # noqa: PTH120
        with suppress(OSError):
            os.rmdir(parent)  # noqa: PTH106


def main() -> None:
    """Be the guard: learn families from standard input until the runtime is gone, then end them.

    The runtime is gone when the pipe closes, or its process has ended: a fork of it may hold the pipe open.
    """
    _continue_at_death_of_parent()
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    runtime, families, text = int(sys.argv[1]), dict[str, Family](), b""
    bounds: dict[str, float] = {}
    waiting, gone = select.poll(), -1
    waiting.register(0, select.POLLIN)
    with suppress(OSError, AttributeError):
        gone = os.pidfd_open(runtime)
        waiting.register(gone, select.POLLIN)
    while True:
        ready = [handle for handle, _ in waiting.poll(_patience(bounds, is_told=gone >= 0))]
        if 0 not in ready and (gone in ready or os.getppid() != runtime):
            break
        if 0 in ready:
            if not (chunk := os.read(0, 65_536)):
                break
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                _learn(families, bounds, line)
        _kill_overdue(families, bounds)
    end_families(families.values())


def _continue_at_death_of_parent() -> None:
    """Have the kernel (Linux) continue this process when the runtime dies, should it be stopped then."""
    with suppress(Exception):  # no ctypes, or another kernel
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGCONT)  # PR_SET_PDEATHSIG


def _patience(bounds: dict[str, float], *, is_told: bool) -> int | None:
    """Return for how many milliseconds nothing needs to be looked at: the machine may sleep meanwhile."""
    if bounds:
        return int(1_000 * max(0.0, min(LOOK_AGAIN, min(bounds.values()) - boot_time()))) + 1
    return None if is_told else 1_000


def _kill_overdue(families: dict[str, Family], bounds: dict[str, float]) -> None:
    """Kill the runs whose bound has passed: nobody has put it off."""
    now = boot_time()
    for key in [key for key, until in bounds.items() if until <= now]:
        del bounds[key]
        if (family := families.get(key)) is not None:
            kill_family(family)


def _learn(families: dict[str, Family], bounds: dict[str, float], line: bytes) -> None:
    """Read `[key]`, which has ended, `[key, until]`, or `[key, group, started, run, cgroup]`."""
    with suppress(ValueError, TypeError):
        key, *fields = json.loads(line)
        if len(fields) == 1:
            bounds[key] = float(fields[0])
        elif fields:
            families[key] = Family(*fields)
        else:
            families.pop(key, None)
            bounds.pop(key, None)


if __name__ == "__main__":
    main()
