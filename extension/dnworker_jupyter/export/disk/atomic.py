"""Puts one directory in the place of another in a single step, as far as the system has such a step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import logging
import os
import shutil
import sys
import time
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # renameat2(2), Linux 3.15
_RENAME_SWAP = 2  # renamex_np(2), macOS 10.12
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

STAGING = ".dnworker-"
"""After the directory's name with a dot before it: the name of one that is being written."""

STALE_SECONDS = 3600.0
"""An export takes seconds; what is older than this was left behind."""

log = logging.getLogger("dnworker.export")

ASIDE = ".{name}.dnworker-aside"
"""Where the old directory stands for a moment on systems without the step."""


def put_in_place(fresh: Path, directory: Path) -> Path | None:
    """Rename `fresh` to `directory`; returns where what was there is now, for the caller to remove.

    Where the system exchanges names, a crash leaves either directory whole. Elsewhere there are two
    renames, and `recover` puts the old directory back when the second did not come.

    Raises:
        OSError: it cannot be done; nothing has changed.
    """
    if not directory.exists():
        fresh.rename(directory)
        return None
    if _exchange(fresh, directory):
        return fresh
    aside = _aside(directory)
    directory.rename(aside)
    try:
        fresh.rename(directory)
    except BaseException:
        aside.rename(directory)
        raise
    return aside


def recover(directory: Path) -> None:
    """Put back what a crash between two renames left aside, or remove it where the second had come."""
    aside = _aside(directory)
    if aside.is_dir() and not directory.exists():
        aside.rename(directory)
    elif aside.is_dir():
        shutil.rmtree(aside)


def sweep(directory: Path) -> None:
    """Remove what exports that were killed left beside a directory: by its name, and an hour old or older."""
    for stale in directory.parent.glob(f".{glob.escape(directory.name)}{STAGING}*"):
        with contextlib.suppress(FileNotFoundError):  # another export sweeps too
            if stale.is_dir() and time.time() - stale.stat().st_mtime > STALE_SECONDS:
                remove(stale)


def remove(directory: Path) -> None:
    """Remove a directory of ours; where that cannot be, say so and leave it."""
    try:
        shutil.rmtree(directory)
    except OSError as exc:
        log.warning("%s is of no use any more, and could not be removed: %s", directory, exc)


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk, where the system does that."""
    with contextlib.suppress(OSError):  # Windows opens no directories
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _aside(directory: Path) -> Path:
    return directory.with_name(ASIDE.format(name=directory.name))


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names; False where the system, or the file system, cannot."""
    if sys.platform not in ("linux", "darwin"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(first, second, _RENAME_SWAP)
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))
