"""The one form of an archive: the same files give the same bytes; packing writes it, verifying compares.

Regular files only, the list first and the others sorted; one time, no owner, and a mode that says whether a
file is a program.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

TIME = 315_532_800
"""The time of all files, in seconds since 1970: the first day that all formats of archives know."""

LATEST = 8**11 - 1
"""The last time that the header of a file has room for."""

MODES = (0o644, 0o755)

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
"""Deflated, no name, no time, the best compression, no system."""


def header(path: str, size: int, *, is_program: bool, time: int) -> bytes:
    """Return what stands before the bytes of a file, in blocks of 512 bytes."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, time
    info.mode = MODES[is_program]
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of so many bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


def ending(size: int) -> bytes:
    """Return what stands behind the last file of an archive of so many bytes."""
    size += 2 * tarfile.BLOCKSIZE
    return bytes(2 * tarfile.BLOCKSIZE + -size % tarfile.RECORDSIZE)


def write_archive(stream: IO[bytes], root: Path, paths: Iterable[str], *, time: int) -> None:
    """Write files below a directory as an archive, in this order.

    Raises:
        OSError: a file cannot be read, or the stream not be written.
    """
    written = 0
    with gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
        for path in paths:
            file = root / path
            with file.open("rb") as source:
                facts = file.stat()
                head = header(path, facts.st_size, is_program=bool(facts.st_mode & 0o100), time=time)
                packed.write(head)
                _copy(source, packed, facts.st_size)
                packed.write(padding(facts.st_size))
                written += len(head) + facts.st_size + len(padding(facts.st_size))
        packed.write(ending(written))


def _copy(source: BinaryIO, target: gzip.GzipFile, size: int) -> None:
    while size:
        chunk = source.read(min(size, 1 << 20))
        if not chunk:
            raise OSError("a file became shorter while it was packed")
        target.write(chunk)
        size -= len(chunk)
