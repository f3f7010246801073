"""Reads an archive to its end without unpacking it, and hashes what it holds; used by verifying.

The archive may be hostile: what it decompresses to is bounded, and is compared with the one form that packing
writes, so that nothing hides between the files.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dnworker.archive.found import Found
from dnworker.archive.paths import LIST, MOST_BYTES, MOST_FILES
from dnworker.archive.sums import CHUNK, LONGEST_LIST
from dnworker.archive.tar import GZIP_HEADER, LATEST, MODES, ending, header, padding
from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError

_MOST_TAR = MOST_BYTES + MOST_FILES * 4 * tarfile.BLOCKSIZE
"""Bytes of an archive that is decompressed: its files, with what stands around them."""


_LONGEST_READ = 4 * CHUNK
"""Bytes that are read at once: a header that claims to be longer is not read into memory."""


class _BadArchive(Exception):
    """An archive cannot be read further; the message says why."""


class _Bounded:
    """A file of which nobody reads much at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read some bytes.

        Raises:
            _BadArchive: they are too many.
        """
        if not 0 <= size <= _LONGEST_READ:
            raise _BadArchive("has a header that is longer than any that is needed; the rest was not read")
        return self._file.read(size)


def sums_of_archive(file: Path, found: Found) -> None:
    """Add to `found` what an archive holds.

    Raises:
        UsageError: it is no .tar.gz.
        OSError: it cannot be read, or there is no room for a temporary file.
    """
    with file.open("rb") as source, tempfile.TemporaryFile(prefix="dnworker-verify-") as plain:
        begin = source.read(len(GZIP_HEADER))
        if not begin.startswith(GZIP_HEADER[:3]):
            raise UsageError(
                f"{file} is no .tar.gz; name an archive of `dnworker pack`, or a directory", code="DN520"
            )
        if begin != GZIP_HEADER:
            found.problems.append("its header is not as `dnworker pack` writes it")
        source.seek(0)
        try:
            digest = _decompress(source, plain)
            plain.seek(0)
            _read(plain, digest, found)
        except _BadArchive as exc:
            found.problems.append(str(exc))
            found.is_whole = False


def _decompress(source: IO[bytes], plain: IO[bytes]) -> str:
    """Decompress a whole file of gzip; returns the SHA-256 of what comes out."""
    unpacker, digest, size = zlib.decompressobj(zlib.MAX_WBITS | 16), hashlib.sha256(), 0
    try:
        while not unpacker.eof:
            packed = unpacker.unconsumed_tail or source.read(CHUNK)
            if not packed:
                raise _BadArchive("is cut off: its end is missing")
            data = unpacker.decompress(packed, CHUNK)
            size += len(data)
            if size > _MOST_TAR:
                raise _BadArchive(f"holds more than {MOST_BYTES:,} bytes; it was not read to its end")
            digest.update(data)
            plain.write(data)
    except zlib.error as exc:
        raise _BadArchive(f"is damaged: {shown(str(exc))}") from exc
    if unpacker.unused_data or source.read(1):
        raise _BadArchive("has bytes behind its end")
    return digest.hexdigest()


def _read(plain: IO[bytes], digest: str, found: Found) -> None:
    """Hash every file, and compare the whole with what packing would have written of them."""
    canonical, size, time = hashlib.sha256(), 0, -1
    for info, chunks in _members(plain, found):
        time = int(info.mtime) if time < 0 else time
        try:
            head = header(info.name, info.size, is_program=info.mode == MODES[1], time=time)
        except (ValueError, OverflowError) as exc:
            raise _BadArchive(f"{shown(info.name)}: is not as `dnworker pack` writes it") from exc
        canonical.update(head)
        own, kept = hashlib.sha256(), bytearray()
        for chunk in chunks:
            canonical.update(chunk)
            own.update(chunk)
            if info.name == LIST and len(kept) <= LONGEST_LIST:
                kept += chunk
        canonical.update(padding(info.size))
        size += len(head) + info.size + len(padding(info.size))
        if info.name == LIST and found.listed is None:
            found.listed, found.list_digest = bytes(kept[:LONGEST_LIST]), own.hexdigest()
        else:
            found.sums[info.name] = own.hexdigest()
    canonical.update(ending(size))
    if found.paths != [*found.paths[:1], *sorted(found.paths[1:])] or found.paths[:1] != [LIST]:
        found.problems.append(f"its files are not in order: {LIST} first, then by name")
    elif canonical.hexdigest() != digest:
        found.problems.append("has other bytes around its files than `dnworker pack` writes")


def _members(plain: IO[bytes], found: Found) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Yield the files of an archive with their bytes."""
    try:
        with tarfile.open(fileobj=_Bounded(plain), mode="r:") as archive:  # type: ignore[call-overload]
            while (info := archive.next()) is not None:
                archive.members.clear()
                found.paths.append(info.name)
                _check(info, len(found.paths))
                yield info, _chunks(archive, info)
    except (
        tarfile.TarError,
        EOFError,
        ValueError,
        OverflowError,
        IndexError,
        KeyError,
        RecursionError,
    ) as exc:
        raise _BadArchive(f"is damaged, or no archive: {shown(str(exc))}") from exc


def _check(info: tarfile.TarInfo, number: int) -> None:
    if not (info.type == tarfile.REGTYPE and not info.issparse()):
        what = "a link" if info.issym() or info.islnk() else "no regular file"
        raise _BadArchive(f"{shown(info.name)}: is {what}; the rest was not read")
    if number > MOST_FILES + 1:
        raise _BadArchive(f"holds more than {MOST_FILES:,} files; the rest was not read")
    if info.mode not in MODES:
        raise _BadArchive(f"{shown(info.name)}: has the mode {info.mode:o}; the rest was not read")
    if not 0 <= info.size <= MOST_BYTES or not 0 <= info.mtime <= LATEST:
        raise _BadArchive(f"{shown(info.name)}: has no size or time that is possible; the rest was not read")


def _chunks(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.extractfile(info)
    if stream is None:
        raise _BadArchive(f"{shown(info.name)}: is no regular file")
    left = info.size
    while left:
        try:
            chunk = stream.read(min(left, CHUNK))
        except tarfile.TarError:
            chunk = b""
        if not chunk:
            raise _BadArchive(f"{shown(info.name)}: is cut off")
        left -= len(chunk)
        yield chunk
