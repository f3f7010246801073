"""Replaces one directory by another in a single step, where the system has such a step; used by write."""

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
"""Follows the directory's name in the name of its successor: `.NAME.dnworker-...`."""

STALE_SECONDS = 3600.0
"""The age at which a directory counts as left behind by an export that was killed."""

log = logging.getLogger("dnworker.export")

ASIDE = ".{name}.dnworker-aside"
"""The name of the old directory, for a moment, on systems without an exchange of names."""


def put_in_place(fresh: Path, directory: Path) -> Path | None:
    """Rename `fresh` to `directory`; returns the new path of the old directory, for the caller to remove.

    Where the system exchanges names, a crash leaves either directory whole. Elsewhere there are two
    renames, and `recover` puts the old directory back if a crash prevents the second.

    Raises:
        OSError: the system refuses; nothing has changed.
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
    """Put the old directory back after a crash between two renames; remove it after a crash behind both."""
    aside = _aside(directory)
    if aside.is_dir() and not directory.exists():
        aside.rename(directory)
    elif aside.is_dir():
        shutil.rmtree(aside)


def sweep(directory: Path) -> None:
    """Remove what exports that were killed left beside a directory, once it is older than STALE_SECONDS."""
    for stale in directory.parent.glob(f".{glob.escape(directory.name)}{STAGING}*"):
        with contextlib.suppress(FileNotFoundError):  # another export may remove it first
            if stale.is_dir() and time.time() - stale.stat().st_mtime > STALE_SECONDS:
                remove(stale)


def remove(directory: Path) -> None:
    """Remove a directory of ours; log a warning where that is impossible."""
    try:
        shutil.rmtree(directory)
    except OSError as exc:
        log.warning("%s is not needed any more, and could not be removed: %s", directory, exc)


def sync(directory: Path) -> None:
    """Flush the names in a directory to the disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no directories
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _aside(directory: Path) -> Path:
    return directory.with_name(ASIDE.format(name=directory.name))


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names; returns False where the system, or the file system, cannot."""
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
