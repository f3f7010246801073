"""The list of an archive's files with their SHA-256, as `sha256sum` reads it; for packing and verifying."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import BinaryIO

from dnworker.archive.paths import LIST, MOST_FILES, path_problem

LONGEST_LIST = 32_000_000
"""Bytes of a list."""

CHUNK = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class BadList(ValueError):
    """A list is not as packing writes it; the message says in which line."""


def render(sums: Mapping[str, str]) -> bytes:
    """Return the list of hashes by path."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def parse(data: bytes) -> dict[str, str]:
    """Return the hashes of a list by path.

    Raises:
        BadList: it is no list that packing has written.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise BadList(f"{LIST}: is not UTF-8 text") from exc
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        if match is None or path_problem(match[2]) is not None or match[2] == LIST:
            raise BadList(f"{LIST}: line {number} is no hash with two spaces and a path behind it")
        found[match[2]] = match[1]
        if len(found) > MOST_FILES:
            raise BadList(f"{LIST}: lists more than {MOST_FILES:,} files")
    if render(found) != data:
        raise BadList(f"{LIST}: is not sorted, has a line twice, or its last line has no end")
    return found


def digest_of(stream: BinaryIO) -> str:
    """Return the SHA-256 of what a stream has left."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
