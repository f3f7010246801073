"""Which paths an archive may hold, and how much; packing and verifying hold the same rules."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from dnworker.core.text import is_valid_text

LIST = "SHA256SUMS"
"""The file that lists all others with their hashes, as `sha256sum -c` reads it."""

MOST_FILES = 20_000
MOST_BYTES = 1_000_000_000
"""Bytes of all files of an archive together, and of an archive."""

LONGEST_PATH, LONGEST_NAME = 1_000, 255
"""Bytes of a path in UTF-8, and of each of its parts."""

_DRIVE = re.compile(r"[A-Za-z]:")


def path_problem(path: str) -> str | None:
    """Return why an archive may not hold a path; None where it may."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or _DRIVE.match(path):
        return "leads out of the archive, or not straight to a file in it"
    if not is_valid_text(path) or "\\" in path or not path.isprintable():
        return "has a character that is not for names of files: a control character or a backslash"
    if len(path.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in parts):
        return f"is longer than {LONGEST_PATH} bytes, or a part of it than {LONGEST_NAME}"
    return None


def clashes(paths: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with paths beside each other: twice, as file and directory, or by case alone."""
    files: set[str] = set()
    spelled: dict[str, str] = {}
    """By what file systems that ignore case see: how it is spelled, of files and of directories."""
    directories: set[str] = set()
    for path in paths:
        if path in files:
            yield f"{path}: is there twice"
            continue
        files.add(path)
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            part = "/".join(parts[:depth])
            seen = spelled.setdefault(unicodedata.normalize("NFC", part).casefold(), part)
            if seen != part:
                yield f"{path}: differs from {seen} by upper and lower case only"
                break
            if depth < len(parts):
                directories.add(part)
    yield from (f"{path}: is a file and a directory" for path in sorted(files & directories))
