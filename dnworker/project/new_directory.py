"""`new_directory`: makes a directory whole or not at all; used by `dnworker init`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dnworker.capability.reading import UnreadableFile, resolved, shown
from dnworker.core.errors import UsageError

T = TypeVar("T")

LAST = "capability.yaml"
"""What makes a directory a capability: it comes last where files come one by one."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_LONGEST_NAME = 128


def check_name(name: str) -> str:
    """Return the name of a capability.

    Raises:
        UsageError: it breaks the rule; names the rule, and the nearest good name.
    """
    if _NAME.fullmatch(name):
        return name
    near = re.sub(r"[^a-z0-9]+", "-", name.lower())[: _LONGEST_NAME + 1].strip("-")[:_LONGEST_NAME]
    way_out = f"use {near}" if near else "use another, such as demo"
    raise UsageError(
        f"the name {shown(name, 160)!r} is not allowed: lower-case letters, digits and dashes, starting with "
        f"a letter or digit, at most {_LONGEST_NAME}; {way_out}",
        code="DN521",
    )


def free_directory(directory: Path) -> Path:
    """Return the absolute path of a directory that is empty or not there.

    Raises:
        UsageError: it has something in it, or is no directory.
    """
    try:
        directory = resolved(directory.absolute())
        there = sorted(entry.name for entry in directory.iterdir()) if os.path.lexists(directory) else []
    except UnreadableFile as exc:
        raise UsageError(str(exc), code="DN522") from exc
    except NotADirectoryError as exc:
        raise UsageError(
            f"{directory} is no directory; name one that is empty, or not there yet", code="DN522"
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"{directory} cannot be read: {exc.strerror or exc}; name another directory",
            code="DN522",
        ) from exc
    if there:
        some = ", ".join(shown(name, 40) for name in there[:3]) + (", ..." if len(there) > 3 else "")
        raise UsageError(
            f"{directory} is not empty: it has {some}; name a directory that is, or none yet", code="DN522"
        )
    return directory


def new_directory(directory: Path, fill: Callable[[Path], T]) -> T:
    """Make a directory with what `fill` writes into one beside it; on any error it is as it was.

    Args:
        directory: one of `free_directory`.
        fill: writes into the directory that it is given, which takes the place of `directory` afterwards.

    Raises:
        UsageError: it cannot be made.
    """
    made: list[Path] = []
    try:
        made = _make_parents(directory.parent)
        stays = directory.exists() and Path.cwd() == directory  # a shell stands in it
        staging = Path(
            tempfile.mkdtemp(
                prefix=f".{directory.name}.dnworker-", dir=directory if stays else directory.parent
            )
        )
        try:
            fresh = staging / directory.name
            fresh.mkdir()
            result = fill(fresh)
            if stays:
                _move_entries(fresh, directory)
            else:
                if directory.exists():
                    shutil.copymode(directory, fresh)
                fresh.rename(directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException as exc:
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(exc, OSError) and not isinstance(exc, UsageError):
            why = exc.strerror or exc
            raise UsageError(
                f"{directory} could not be made: {why}; nothing was written", code="DN522"
            ) from exc
        raise
    return result


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """Write files by their paths below a directory.

    Raises:
        OSError: the disk refuses.
    """
    for name, data in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _make_parents(directory: Path) -> list[Path]:
    """Make a directory with those above it; returns those that were made, the outermost first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for one in reversed(missing):
        one.mkdir()
    return missing[::-1]


def _move_entries(fresh: Path, directory: Path) -> None:
    """Move what is in one directory into another, all of it or nothing."""
    moved: list[Path] = []
    try:
        for entry in sorted(fresh.iterdir(), key=lambda one: (one.name == LAST, one.name)):
            entry.rename(directory / entry.name)
            moved.append(entry)
    except BaseException:
        for entry in moved:
            (directory / entry.name).rename(entry)
        raise
