"""`Directory`: a temporary directory of a kernel, for the files of worker processes or for large displays.

A kernel that is killed leaves its own behind. It is locked (flock) as long as its kernel lives, so the next
kernel of the user that makes one removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("dnworker.notebook")

PREFIX = "dnworker-"

LOCK = ".lock"
"""The file in it that its kernel has locked."""


class Directory:
    """A new temporary directory, which is ours until it is removed.

    Args:
        what: is in it, such as `workers`; a part of its name.
    """

    def __init__(self, what: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-"))
        self._process = os.getpid()
        # Locked before it has its name: who finds it unlocked knows that its kernel is gone.
        unnamed = self.path / f"{LOCK}-{os.getpid()}"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: then none is ever removed
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(self.path / LOCK)

    def remove(self) -> None:
        """Remove it with all that is in it; a process that this one has forked leaves it alone."""
        if os.getpid() != self._process:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_left() -> threading.Thread:
    """Remove what killed kernels of this user have left, on a thread, which is returned."""
    thread = threading.Thread(target=_remove_left, name="dnworker left directories", daemon=True)
    thread.start()
    return thread


def _remove_left() -> None:
    try:
        found = [*Path(tempfile.gettempdir()).glob(f"{PREFIX}*")]
    except OSError as exc:
        log.debug("directories of killed kernels cannot be looked for: %s", exc)
        return
    for path in found:
        with suppress(OSError):  # another user's, gone by now, or one that a kernel holds
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Remove a directory whose kernel is gone.

    Raises:
        OSError: its kernel lives, or it is none of ours.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    lock = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        log.info("%s was left by a kernel that was killed; it is removed", path)
    finally:
        os.close(lock)
