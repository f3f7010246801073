"""`OwnDirectory`: a directory of one process, for its token; those of killed processes are removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "dnworker-mcp-"
LOCK = "lock"

YOUNG_SECONDS = 60.0
"""A directory without a lock that is younger is being made."""


class OwnDirectory:
    """A directory that only its user can enter; it holds a lock for as long as this process lives.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self) -> None:
        remove_dead()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock: int | None = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove it with all that is in it; may be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def remove_dead() -> int:
    """Remove directories of this user whose process was killed; returns how many there were."""
    count = 0
    with suppress(OSError):
        for one in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError):  # it is being removed by its owner, or is another's
                count += _remove(one)
    return count


def _remove(directory: Path) -> bool:
    status = directory.lstat()
    if status.st_uid != os.getuid() or directory.is_symlink() or not directory.is_dir():
        return False
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - status.st_mtime < YOUNG_SECONDS:
            return False
        shutil.rmtree(directory)
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(lock).st_mtime < 1.0:  # made, and not locked yet
            return False
        shutil.rmtree(directory)
        return True
    except BlockingIOError:  # its process lives
        return False
    finally:
        os.close(lock)
