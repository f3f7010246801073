"""Hashes the files of a directory to which an archive was unpacked; used by verifying."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dnworker.archive.found import Found
from dnworker.archive.paths import LIST, MOST_BYTES, MOST_FILES
from dnworker.archive.sums import CHUNK, LONGEST_LIST
from dnworker.capability.reading import DEEPEST, UnreadableFile, read_bytes, shown


def sums_of_directory(root: Path, found: Found) -> None:
    """Add to `found` what lies in a directory; links are not followed, and pipes not waited for.

    Raises:
        OSError: a directory cannot be read.
    """
    try:
        found.listed = read_bytes(root / LIST, LONGEST_LIST)
    except UnreadableFile as exc:
        if os.path.lexists(root / LIST):
            found.problems.append(f"{LIST}: {exc.why}")
        return
    found.list_digest = hashlib.sha256(found.listed).hexdigest()
    left = MOST_BYTES
    for number, (path, entry) in enumerate(_walk(root, found), 1):
        if number > MOST_FILES + 1:
            found.problems.append(f"holds more than {MOST_FILES:,} files; the others were not looked at")
            found.is_whole = False
            return
        found.paths.append(path)
        if path == LIST:
            if entry.is_symlink():
                found.problems.append(f"{LIST}: is a link")
            continue
        if not entry.is_file(follow_symlinks=False):
            found.problems.append(
                f"{shown(path)}: is {'a link' if entry.is_symlink() else 'no regular file'}"
            )
            found.sums[path] = ""
            continue
        found.sums[path], size = _digest(Path(entry.path), left)
        left -= size
        if left < 0:
            found.problems.append(f"holds more than {MOST_BYTES:,} bytes; the others were not looked at")
            found.is_whole = False
            return


def _walk(root: Path, found: Found) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below a directory that is no directory, with its path."""
    waiting = [(str(root), "")]
    while waiting:
        directory, above = waiting.pop()
        if above.count("/") > DEEPEST:
            found.problems.append(f"{shown(above)}: is nested deeper than {DEEPEST} directories")
            continue
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{above}{entry.name}/"))
                else:
                    yield f"{above}{entry.name}", entry


def _digest(file: Path, left: int) -> tuple[str, int]:
    """Return the SHA-256 of a regular file, and its bytes: at most one chunk more than are left."""
    digest, size = hashlib.sha256(), 0
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return "", 0
        while size <= left and (chunk := stream.read(CHUNK)):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
