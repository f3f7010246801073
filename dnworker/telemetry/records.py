"""What the loop hands to the thread that sends: plain records, without payloads."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

from dnworker.core.invocation import Invocation
from dnworker.core.logs import LogLine
from dnworker.core.span_contexts import Context
from dnworker.engine.measuring import Measure


class Sent(NamedTuple):
    """An event that was published; `at` is in nanoseconds of the machine's clock since its start."""

    kind: str
    event_id: str
    seq: int
    session_id: str | None
    context: Context
    parent: str | None
    link: Context | None
    size: int
    at: int


class Ran(NamedTuple):
    """An invocation that has ended; `parent` sent its event."""

    invocation: Invocation
    trace_id: str
    parent: Context | None


class Piece(NamedTuple):
    """Something that a turn did, such as a call of a tool: the JSON of its event."""

    turn_id: str
    payload: bytes
    at: int


class Line(NamedTuple):
    """A line of a worker's log, and the trace that it belongs to."""

    line: LogLine
    text: str
    trace_id: str | None
    span_id: str | None
    is_sampled: bool


class Measured(NamedTuple):
    """How the runtime stands."""

    measure: Measure
    at: int


PIECES_BYTES = 16_000_000
"""Bytes of pieces of turns that wait for the thread at most."""


class Queue:
    """Records on their way to the thread; a full one takes no more, and counts what it has not taken.

    `append` and `take` may be called on different threads; pieces of turns are appended on one thread only.
    """

    def __init__(self, limit: int) -> None:
        self._records: collections.deque[Any] = collections.deque()
        self._limit = limit
        self._appended = self._taken = 0  # bytes of pieces so far, each written by one thread
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Any) -> None:
        """Hand over a record."""
        size = len(record.payload) if record.__class__ is Piece else 0
        if len(self._records) >= self._limit or self._appended - self._taken + size > PIECES_BYTES:
            self.dropped += 1
        else:
            self._appended += size
            self._records.append(record)

    def take(self, most: int) -> list[Any]:
        """Return the oldest records, and keep them no more."""
        found: list[Any] = []
        while len(found) < most:
            try:
                record = self._records.popleft()
            except IndexError:
                break
            if record.__class__ is Piece:
                self._taken += len(record.payload)
            found.append(record)
        return found

    def clear(self) -> None:
        """Forget all, and count it."""
        self.dropped += len(self.take(len(self._records)))
