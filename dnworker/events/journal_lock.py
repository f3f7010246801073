"""`Lock`: the one process that may work on a broker's file; the kernel frees it when that dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dnworker.core.errors import BrokerError

_held: set[int] = set()


class Lock:
    """The right to work on a file, until it is released.

    Raises:
        BrokerError: another has it; names its process. Or the file has several names.
    """

    def __init__(self, path: Path) -> None:
        if (why := why_not_one(path)) is not None:
            raise BrokerError(why, code="DN707")
        place = _place(path)
        try:
            self._descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise BrokerError(
                f"{place} cannot be written: {exc.strerror}; name another file", code="DN707"
            ) from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner = _owner(self._descriptor)
            os.close(self._descriptor)
            whose = "this process" if owner == str(os.getpid()) else f"process {owner}"
            raise BrokerError(
                f"{path} is in use by {whose}; stop the runtime there, or name another file", code="DN706"
            ) from exc
        except OSError as exc:
            os.close(self._descriptor)
            raise BrokerError(
                f"{place} cannot be locked: {exc.strerror}; name a file on another disk", code="DN707"
            ) from exc
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(self._descriptor)

    def release(self) -> None:
        """Let others have it."""
        _held.discard(self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also where a child has not let go of it yet
        os.close(self._descriptor)


def owner_of(path: Path) -> str | None:
    """Return the process that has the right to a file; None where nobody has it."""
    try:
        descriptor = os.open(_place(path), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor)
    except OSError:  # on a disk where nobody can have it
        return None
    finally:
        os.close(descriptor)
    return None


def why_not_one(path: Path) -> str | None:
    """Return why a file must not be written that has several names (hard links); None where it has one.

    SQLite keeps what is not in the file yet, and we the lock, beside it under the name by which it is opened:
    by another name, accepted events would be missing, and two runtimes could write it.
    """
    try:
        names = path.stat().st_nlink
    except OSError:  # it is not there yet, or whoever opens it says what is wrong
        return None
    if names <= 1 or not path.is_file():
        return None
    return (
        f"{path} has {names} names (hard links), by which two runtimes could write it; remove the others, "
        f"which `find / -samefile {path}` shows, or name another file"
    )


def _place(path: Path) -> Path:
    """Return the file that is locked: one for all names that lead to the same file."""
    path = Path(os.path.realpath(path))
    return path.with_name(f"{path.name}-lock")


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _let_go() -> None:
    """Let a child that outlives this process not keep what it has locked."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
