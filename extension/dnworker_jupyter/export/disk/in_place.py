"""Replaces files of a directory one by one, where a process works in it and it must stay; used by write.

A shell or a kernel that stands in a directory would be left in one that is gone, were another put in its
place. After a crash some files are the new ones. The record, which is the last, is then the old one, and the
same export completes the rest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dnworker_jupyter.export.disk.atomic import STALE_SECONDS, remove, sync

PREFIX = ".dnworker-staging-"
"""Begins the name of the directory, inside of the one that is changed, in which files wait."""


def replace_files(directory: Path, names: Sequence[str], put: Callable[[Path, str], bool]) -> None:
    """Replace files in the order of their names; each is the old one or the new one at any time.

    Args:
        directory: what holds them.
        names: their paths in it, the last one last.
        put: writes the new file of a name below a directory; returns False for one that is removed.

    Raises:
        OSError: the system refuses; the files are as they were.
    """
    _sweep(directory)
    staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
    try:
        fresh = [put(staging / "new", name) for name in names]
        undo: list[tuple[Path, Path | None]] = []
        try:
            for name, is_fresh in zip(names, fresh, strict=True):
                old = _keep(directory / name, staging / "old" / name)
                undo.append((directory / name, old))
                _exchange(staging / "new" / name if is_fresh else None, directory / name)
        except BaseException:
            _put_back(undo)
            raise
        sync(directory)
    finally:
        remove(staging)


def _keep(file: Path, old: Path) -> Path | None:
    """Give a file a second name; returns None where there is no file."""
    if not file.exists():
        return None
    old.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, old)
    except OSError:  # a file system without hard links
        shutil.copy2(file, old)
    return old


def _exchange(new: Path | None, file: Path) -> None:
    if new is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.replace(file)
        return
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others have files there
        file.parent.rmdir()


def _put_back(undo: Sequence[tuple[Path, Path | None]]) -> None:
    for file, old in reversed(undo):
        if old is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            old.replace(file)


def _sweep(directory: Path) -> None:
    """Remove what an export that was killed left, once it is old."""
    for stale in directory.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if stale.is_dir() and time.time() - stale.stat().st_mtime > STALE_SECONDS:
                remove(stale)
