"""`Cgroups`: a cgroup (version 2) for each run of a worker process, where the kernel has them and we may.

In it are all processes of the run, also those that have left their group and session. It is made below the
cgroup of the runtime: `dnworker-<pid>-<number>/<worker>`. Where that is not allowed, as in most containers
and sessions of desktops, nothing is lost but this; docs/reference/processes.md says what then ends what.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from dnworker.workers.family import remove_cgroup, write_control

log = logging.getLogger("dnworker.process")

_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EOPNOTSUPP})

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_OURS = re.compile(r"dnworker-(\d+)-[0-9a-f]+")


class Cgroups:
    """Makes cgroups below one of its own, from the first run that wants one.

    Args:
        own: the cgroup of this process; None where there is none, or `own_cgroup()` where it is left out.
    """

    def __init__(self, own: Path | str | None = "") -> None:
        self.problem: str | None = None
        """Why there are none; None while there may be some."""
        self._own = own_cgroup() if isinstance(own, str) else own
        self._base: Path | None = None
        if self._own is None:
            self.problem = "there is no cgroup of version 2"

    def make(self, label: str) -> str | None:
        """Return a fresh cgroup for a run; None where that is not possible."""
        if self._own is None or self.problem is not None:
            return None
        run = f"{_UNSAFE.sub('_', label)[:100]}-{secrets.token_hex(4)}"
        try:
            if self._base is None or not self._base.is_dir():
                self._base = self._make_base(self._own)
            (self._base / run).mkdir()
        except OSError as exc:
            self._give_up(exc)
            return None
        if not (self._base / run / "cgroup.procs").exists():
            self._give_up("it is no cgroup")
            remove_cgroup(str(self._base))
            return None
        return str(self._base / run)

    def enter(self, cgroup: str | None, pid: int) -> str | None:
        """Move a process into a cgroup; returns the cgroup, or None where that is not possible."""
        if cgroup is None:
            return None
        try:
            write_control(cgroup, "cgroup.procs", str(pid))
        except ProcessLookupError:  # it has ended; what it started may be there by other ways
            return cgroup
        except OSError as exc:
            self._give_up(exc)
            self.remove(cgroup)
            return None
        return cgroup

    def remove(self, cgroup: str | None) -> None:
        """Remove a cgroup, and that of the runtime with the last one."""
        if cgroup is not None:
            remove_cgroup(cgroup)
            with suppress(OSError):
                Path(cgroup).parent.rmdir()

    def _make_base(self, own: Path) -> Path:
        base = own / f"dnworker-{os.getpid()}-{secrets.token_hex(4)}"
        base.mkdir()
        for other in own.glob("dnworker-*"):  # of runtimes that were killed together with their guards
            found = _OURS.fullmatch(other.name)
            if found is not None and not Path(f"/proc/{found[1]}").exists():
                remove_cgroup(str(other))
        return base

    def _give_up(self, why: object) -> None:
        """Do without, for good where we may not, and for this run where there just was no room."""
        if isinstance(why, OSError) and why.errno not in _NOT_ALLOWED:
            log.warning("a worker process gets no cgroup of its own this time: %s", why)
            return
        self.problem = str(why)
        log.info("worker processes get no cgroup of their own: %s", why)


def own_cgroup(proc: Path = Path("/proc/self")) -> Path | None:
    """Return the directory of this process's cgroup of version 2; None where none is mounted."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
        path = next((line[3:] for line in lines if line.startswith("0::")), None)
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return None
    for fields in mounts if path is not None else ():
        if "-" not in fields or fields[fields.index("-") + 1] != "cgroup2":
            continue
        root, point = fields[3], fields[4].replace("\\040", " ")
        inside = os.path.relpath(str(path), root)
        if not inside.startswith(".."):
            return Path(os.path.normpath(Path(point, inside)))
    return None
