"""`LineSplitter`: takes what a server writes apart into lines, each bounded; for `stdio`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

EDGE = 4096
"""Bytes that are kept of the beginning and of the end of a line that is too long."""

_FIRST_ID = re.compile(rb'^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*,')
_LAST_ID = re.compile(rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


@dataclass(frozen=True)
class TooLong:
    """A line that is not kept: its size, and the id of the request that it answers, where that is seen."""

    size: int
    id: int | None


class LineSplitter:
    """Splits bytes at newlines and keeps no line that is longer than a limit.

    Args:
        limit: bytes of a line.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line = bytearray()
        self._size = 0
        """Bytes of the line so far, also of one that is too long."""
        self._tail = b""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """Take what was read and yield each line that has ended, without its newline."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start:end])
            yield self._end()
            start = end + 1
        self._add(chunk[start:])

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._line += piece
            return
        if not self._tail:  # it has just become too long
            piece = bytes(self._line) + piece
        self._tail = (self._tail + piece)[-EDGE:]
        del self._line[EDGE:]
        if len(self._line) < EDGE:
            self._line += piece[: EDGE - len(self._line)]

    def _end(self) -> bytes | TooLong:
        line, tail, size = bytes(self._line), self._tail, self._size
        self._line.clear()
        self._tail, self._size = b"", 0
        if size <= self._limit:
            return line
        return TooLong(size, id_in(line, tail))


def id_in(line: bytes, tail: bytes | None = None) -> int | None:
    """Return the id of the request that a line answers, where it stands at the beginning or the end."""
    found = _FIRST_ID.search(line[:EDGE]) or _LAST_ID.search((line if tail is None else tail)[-EDGE:])
    return int(found[1]) if found else None
