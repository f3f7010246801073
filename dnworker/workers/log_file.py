"""`LogFile`: the file of a worker process's output; `LogFiles`: all of a runtime (contract 3.3, 13.7).

The first runtime of a home has `worker-<capability>-<worker>.log`; another one that runs at the same time
gets `...-2.log`. The file itself is locked (flock), so that a name is free again when its runtime has died.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from dnworker.core.files import home_directory

log = logging.getLogger("dnworker.process")

LONGEST_NAME = 240
"""Bytes of a file's name, without `.prev` and the number of a runtime; file systems allow 255."""

RUNTIMES = 100
"""Names that are tried: runtimes of one home that run the same worker at a time."""

IDLE_KEPT = 64
"""Names that are kept for workers that do not run now."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class LogFile:
    """Where the output of one worker goes, run after run; owns its name as long as it is open.

    Nothing here raises: a worker runs on whatever its disk does. What could not be written is counted, and
    the file says how much is missing as soon as it can be written again.

    Args:
        path: the name that it would like to have.
        limit: bytes after which the file becomes `.prev`, and a new one begins.
        label: names the worker in warnings.
    """

    def __init__(self, path: Path, limit: int, label: str) -> None:
        self.path = path
        """The file, or the one that was wanted while there is none."""
        self.problem: OSError | None = None
        """Why it cannot be written now."""
        self.missing = 0
        """Bytes that could not be written since it could."""
        self.on_problem: Callable[[LogFile], None] | None = None
        """Called when it cannot be opened, in the place of a warning."""
        self.print_line: Callable[[str, str], None] | None = None
        """Gets the worker and every line while there is no file."""
        self._wanted = path
        self._limit = limit
        self._label = label
        self.is_running = False
        """Whether a run writes to it now."""
        self._descriptor: int | None = None
        self._is_closed = False
        self._size = 0
        self._ends_line = True

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return self._descriptor is not None

    def begin(self) -> None:
        """Begin the file of a run; that of the run before becomes `.prev`."""
        self.missing, self.problem, self.is_running, self._is_closed = 0, None, True, False
        try:
            if self._descriptor is None or not self._is_in_place():
                self._open()
            else:
                self._rotate()
        except OSError as exc:
            self._fail(exc)

    def write(self, data: bytes) -> None:
        """Append output; where that fails, note what is missing, and try again with the next.

        Once it is closed, nothing is written until a run begins: the name may be another runtime's by then.
        """
        if not data or self._is_closed:
            return
        try:
            if self._descriptor is None or not self._is_in_place():
                self._open()
            self._say_what_is_missing()
            if (self._size >= self._limit and self._ends_line) or self._size >= self._limit + 65_536:
                self._rotate()
            while data:
                data = data[self._append(data) :]
        except OSError as exc:
            self.missing += len(data)
            self._fail(exc)

    def print(self, line: str) -> None:
        """Pass on a line of the output, if there is no file that has it."""
        if self._descriptor is None and self.print_line is not None:
            self.print_line(self._label, line)

    def end(self) -> None:
        """Say what is missing, if that is possible now; called at the end of a run, which keeps the name."""
        self.is_running = False
        if self.missing and self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._say_what_is_missing()

    def close(self) -> None:
        """Let go of the file and of its name."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    # -- writing ---------------------------------------------------------------------------------------

    def _append(self, data: bytes) -> int:
        assert self._descriptor is not None
        written = os.write(self._descriptor, data)
        if written:
            self._size += written
            self._ends_line = data[written - 1 : written] == b"\n"
        return written

    def _say_what_is_missing(self) -> None:
        if not self.missing:
            return
        assert self._descriptor is not None
        why = self.problem.strerror if self.problem is not None else "it could not be written"
        note = f"[dnworker: {self.missing} bytes are missing here: {why}]\n".encode()
        note = note if self._ends_line else b"\n" + note
        before, ended = self._size, self._ends_line
        try:
            while note:
                note = note[self._append(note) :]
        except OSError:  # half a note is none
            os.ftruncate(self._descriptor, before)
            self._size, self._ends_line = before, ended
            raise
        log.warning(
            "%s: its log %s can be written again; %d bytes are missing", self._label, self.path, self.missing
        )
        self.missing, self.problem = 0, None

    def _fail(self, exc: OSError) -> None:
        is_first, self.problem = self.problem is None, exc
        if not is_first:
            return
        if self._descriptor is None and self.on_problem is not None:
            self.on_problem(self)
            return
        what = "written" if self._descriptor is not None else "opened"
        log.warning("%s: its log %s cannot be %s: %s", self._label, self.path, what, exc)

    # -- the name --------------------------------------------------------------------------------------

    def _is_in_place(self) -> bool:
        """Return whether the path still leads to the open file: somebody may have moved or removed that."""
        assert self._descriptor is not None
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def _open(self) -> None:
        """Open the first name that is free, the wanted one first.

        Raises:
            OSError: none can be opened.
        """
        self._let_go()
        self._wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, RUNTIMES + 1):
            suffix = "" if number == 1 else f"-{number}"
            self.path = self._wanted.with_name(f"{self._wanted.stem}{suffix}{self._wanted.suffix}")
            if (taken := _take(self.path)) is not None:
                self._descriptor, is_old = taken
                self._size, self._ends_line = 0, True
                if is_old:
                    self._rotate()
                return
        self.path = self._wanted
        raise OSError(errno.EEXIST, "other runtimes hold all its names", str(self._wanted))

    def _rotate(self) -> None:
        """Make the file `.prev`, and begin another; where that fails, the same file is emptied.

        Raises:
            OSError: that fails too.
        """
        assert self._descriptor is not None
        fresh = None
        with contextlib.suppress(OSError):  # rotation errors are ignored (contract 3.3)
            self.path.replace(self.path.with_name(self.path.name + ".prev"))
            fresh = _create(self.path)
        if fresh is not None:
            os.close(self._descriptor)
            self._descriptor = fresh
        elif not self._is_in_place():  # it was moved, and the name could not be taken again
            self._open()
        else:
            os.ftruncate(self._descriptor, 0)
        self._size, self._ends_line = 0, True


def _take(path: Path) -> tuple[int, bool] | None:
    """Open and lock a file of this name, and return whether it is an old one; None if the name is not free.

    It is not free while another runtime holds it, or something stands there that is no file of ours. A link
    is not followed: it becomes `.prev`, as any old log.

    Raises:
        OSError: the file cannot be opened for another reason.
    """
    for _ in range(3):  # another runtime may take or move it at any moment
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            if (made := _create(path)) is not None:
                return made, False
            continue
        if stat.S_ISLNK(there.st_mode):
            path.replace(path.with_name(path.name + ".prev"))
            continue
        if not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid() or there.st_nlink != 1:
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                os.fchmod(descriptor, 0o600)  # an older version made it for everybody
                return descriptor, True
        os.close(descriptor)
    return None


def _create(path: Path) -> int | None:
    """Create and lock a file for its owner only; None if somebody was faster.

    Raises:
        OSError: it cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return None
    if _lock(descriptor) and _is_at(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file; False if another has it. Where locks are unknown (some NFS), all may write."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        log.debug("files cannot be locked here: %s", exc)
    return True


class LogFiles:
    """The log files of one runtime, by worker.

    Args:
        limit: bytes of one file, as of `Limits.log_file`.
    """

    def __init__(self, limit: int) -> None:
        self.print_line: Callable[[str, str], None] | None = None
        """Gets the lines of workers whose file cannot be opened: worker and line. `serve` sets it."""
        self.is_announced = False
        """Whether it was said already that nothing may be kept."""
        self._limit = limit
        self._files: dict[str, LogFile] = {}
        self._said: set[str] = set()

    def of(self, capability: str, worker: str, kind: str = "worker") -> LogFile:
        """Return the file of a worker, or of an MCP server (`mcp`), the same one for all its runs."""
        label = f"{capability}:{worker}"
        name = label if kind == "worker" else f"{kind} {label}"
        file = self._files.pop(name, None)
        if file is None:
            file = LogFile(log_path(capability, worker, kind), self._limit, label)
            file.on_problem = self._note_problem
        file.print_line, file.is_running = self.print_line, True
        self._files[name] = file  # the newest last
        idle = [name for name, file in self._files.items() if not file.is_running]
        for name in idle[:-IDLE_KEPT]:
            self._files.pop(name).close()
        return file

    def path_of(self, capability: str, worker: str, kind: str = "worker") -> Path:
        """Return where the log of a worker or MCP server is, or would be."""
        label = f"{capability}:{worker}"
        file = self._files.get(label if kind == "worker" else f"{kind} {label}")
        return log_path(capability, worker, kind) if file is None else file.path

    def close(self) -> None:
        """Let go of all names."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _note_problem(self, file: LogFile) -> None:
        """Say once for a directory and reason that nothing is kept there."""
        reason = file.problem.strerror if file.problem is not None else ""
        where = f"{file.path.parent}: {reason}"
        if where in self._said or self.is_announced:
            return
        self._said.add(where)
        instead = "go to standard error" if self.print_line is not None else "are kept in memory only"
        log.warning("logs of workers cannot be kept in %s; their lines %s", where, instead)


def log_path(capability: str, worker: str, kind: str = "worker") -> Path:
    """Return the log's path of contract 3.3; a name that no file can have, or a longer one, is replaced."""
    name = f"{kind}-{capability}-{worker}"
    if _UNSAFE.search(name) or len(name) > LONGEST_NAME:
        digest = hashlib.sha256(f"{capability}:{worker}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
        name = f"{_UNSAFE.sub('_', name)[: LONGEST_NAME - 20]}-{digest}"
    return home_directory() / ".dreadnode" / "logs" / f"{name}.log"
