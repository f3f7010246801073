"""Chooses the files of a capability that are packed, and copies them; used by packing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.archive.paths import MOST_BYTES, MOST_FILES, path_problem
from dnworker.archive.tar import GZIP_HEADER
from dnworker.capability.mcp_entries import MCP_FILES
from dnworker.capability.reading import DEEPEST, shown
from dnworker.core.errors import UsageError

LEFT_OUT_DIRECTORIES = ("__pycache__",)
LEFT_OUT_ENDINGS = (".pyc", ".ipynb")
"""Notebooks are where a capability is written; their outputs may hold anything."""


@dataclass
class Contents:
    """The files of one capability."""

    root: Path
    files: list[str] = field(default_factory=list)
    """Their paths below the root, sorted."""
    left_out: list[str] = field(default_factory=list)
    """What lies there and is not packed; directories end in a slash."""


def contents_of(root: Path, leave: Path | None = None) -> Contents:
    """Return the files of a capability that are packed.

    Left out are hidden files, Python's caches and environments, notebooks, archives of `pack`, and `leave`:
    the archive itself.

    Raises:
        UsageError: something is a link, a pipe or a device, or there is too much of it.
        OSError: a directory cannot be read.
    """
    found = Contents(root)
    for entry, path in _walk(root, found):
        if leave is not None and entry.name == leave.name and os.path.realpath(entry.path) == str(leave):
            found.left_out.append(path)
            continue
        if not entry.is_file(follow_symlinks=False):
            what = "a link" if entry.is_symlink() else "no regular file"
            raise UsageError(
                f"{shown(entry.path)} is {what}, and an archive holds files only; put a file there, or move "
                "it away",
                code="DN516",
            )
        if (problem := path_problem(path)) is not None:
            raise UsageError(f"{shown(entry.path)} {problem}; rename it", code="DN516")
        found.files.append(path)
        if len(found.files) >= MOST_FILES:
            raise UsageError(
                f"{root} has more than {MOST_FILES:,} files; move away what is not part of it", code="DN516"
            )
    found.files.sort()
    found.left_out.sort()
    return found


def _walk(root: Path, found: Contents) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield what is neither a directory nor left out, with its path."""
    waiting = [(root, "")]
    while waiting:
        directory, above = waiting.pop()
        if above.count("/") > DEEPEST:
            raise UsageError(f"{root} is nested deeper than {DEEPEST} directories", code="DN516")
        with os.scandir(directory) as entries:
            for entry in entries:
                path = f"{above}{entry.name}"
                is_directory = entry.is_dir(follow_symlinks=False)
                if _is_left_out(entry, is_directory):
                    found.left_out.append(f"{path}/" if is_directory else path)
                elif is_directory:
                    waiting.append((directory / entry.name, f"{path}/"))
                else:
                    yield entry, path


def _is_left_out(entry: os.DirEntry[str], is_directory: bool) -> bool:
    if entry.name.startswith("."):
        return entry.name not in MCP_FILES
    if is_directory:
        return entry.name in LEFT_OUT_DIRECTORIES or os.path.lexists(os.path.join(entry.path, "pyvenv.cfg"))  # noqa: PTH118
    return entry.name.endswith(LEFT_OUT_ENDINGS) or _is_archive(entry)


def _is_archive(entry: os.DirEntry[str]) -> bool:
    """Return whether `pack` wrote a file: one that lies in its capability is part of no other."""
    if not entry.name.endswith(".tar.gz") or not entry.is_file(follow_symlinks=False):
        return False
    with Path(entry.path).open("rb") as stream:
        return stream.read(len(GZIP_HEADER)) == GZIP_HEADER


def copy_contents(contents: Contents, to: Path, left: int = MOST_BYTES) -> int:
    """Copy the files, so that what is hashed is what is packed; returns the bytes that are left.

    Raises:
        UsageError: they have more bytes than are left.
        OSError: a file cannot be read or written.
    """
    for path in contents.files:
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Neither a link nor a pipe that took the file's place is followed or waited for.
        source = os.open(contents.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(source, "rb") as stream, target.open("wb") as copy:
            mode = os.fstat(source).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(
                    f"{contents.root / path} is no regular file any more; pack again", code="DN516"
                )
            while chunk := stream.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise UsageError(
                        f"{contents.root} has more than {MOST_BYTES:,} bytes; move away what is not part "
                        "of it",
                        code="DN516",
                    )
                copy.write(chunk)
        target.chmod(0o755 if mode & 0o100 else 0o644)
    return left
