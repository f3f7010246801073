"""Cursors of workers in the bucket: how they are written, in parts where they are long, and read again."""

from __future__ import annotations

import asyncio
import logging
import zlib
from itertools import accumulate
from operator import itemgetter

import msgspec

from dnworker.core.errors import BrokerError, NotStored
from dnworker.core.ids import new_id
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.mirror import CURSORS, PARTS, is_removal
from dnworker.events.brokers.jetstream.values import Bucket
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.former import FormerKinds

log = logging.getLogger("dnworker.broker")

KEPT_SECONDS = 30 * 24 * 3600.0
"""Seconds for which a worker is known that is nowhere."""

PART_BYTES = 500_000
"""Bytes of what is outstanding that are one message."""

ATTEMPTS = 5
"""How often a cursor is read whose parts are written anew meanwhile."""

FORMAT = 1


class StoredCursor(msgspec.Struct, array_like=True):
    """A cursor as it is written, with whose it is."""

    format: int
    worker: str
    stream: str
    """When the stream was made that its numbers are of."""
    claim: str
    """The consumer that writes it; another one's writes are refused."""
    node: str
    """The runtime of that consumer."""
    is_open: bool
    """Whether that consumer has not been closed."""
    kinds: list[tuple[str | None, int]]
    handled_to: int
    taken_to: int
    is_live: bool
    seen_at: str
    parts: int = 0
    parts_of: str = ""
    """How many parts there are of what is outstanding, and what they are called; with none, it is here."""
    outstanding: bytes = b""
    turn: int = 0
    """How often the worker was divided anew by then; of another turn, it counts no more (`divided.py`)."""
    former: FormerKinds | None = None
    """Kinds that the worker names no more; None where there are none."""

    def put_into(self, cursor: Cursor) -> None:
        """Have a cursor be what is written here."""
        cursor.kinds = dict(self.kinds)
        cursor.handled_to, cursor.taken_to = self.handled_to, self.taken_to
        cursor.is_live, cursor.seen_at = self.is_live, self.seen_at
        cursor.outstanding = unpack(self.outstanding)
        cursor.former = self.former or FormerKinds()
        cursor.forget_additions()


class _Columns(msgspec.Struct, array_like=True):
    """Outstanding events: tens of thousands are as many small numbers."""

    steps: list[int]
    deliveries: list[int]
    not_before: dict[int, float]
    ended: dict[int, list[str]]
    passed: list[int]
    kinds: dict[int, str] = {}


_columns = msgspec.msgpack.Decoder(_Columns)
_stored = msgspec.msgpack.Decoder(StoredCursor)


def pack(outstanding: dict[int, Outstanding]) -> bytes:
    """Return what is outstanding as few bytes."""
    if not outstanding:
        return b""
    entries = sorted(outstanding.items(), key=itemgetter(0))
    seqs = [seq for seq, _ in entries]
    columns = _Columns(
        [second - first for first, second in zip([0, *seqs], seqs, strict=False)],
        [entry.deliveries for _, entry in entries],
        {seq: entry.not_before for seq, entry in entries if entry.not_before is not None},
        {seq: entry.ended for seq, entry in entries if entry.ended},
        [seq for seq, entry in entries if entry.is_passed],
        {seq: entry.kind for seq, entry in entries if entry.kind},
    )
    return zlib.compress(msgspec.msgpack.encode(columns), 1)


def unpack(packed: bytes) -> dict[int, Outstanding]:
    """Return what `pack` was given.

    Raises:
        BrokerError: it cannot be read.
    """
    if not packed:
        return {}
    try:
        columns = _columns.decode(zlib.decompress(packed))
    except (zlib.error, msgspec.MsgspecError) as exc:
        raise BrokerError(f"what a worker has not handled cannot be read ({exc})", code="DN813") from exc
    passed = set(columns.passed)
    return {
        seq: Outstanding(
            deliveries,
            columns.not_before.get(seq),
            columns.ended.get(seq, []),
            seq in passed,
            columns.kinds.get(seq, ""),
        )
        for seq, deliveries in zip(accumulate(columns.steps), columns.deliveries, strict=True)
    }


class CursorStore:
    """Reads and writes cursors, each over the revision that is known.

    Args:
        connected: the server.
        bucket: where they are.
    """

    def __init__(self, connected: Connected, bucket: Bucket) -> None:
        self._connected = connected
        self._bucket = bucket
        self._parts: dict[str, tuple[str, int]] = {}
        """Of the workers whose cursors have parts: what these are called, and how many there are."""

    async def read(self, worker: str) -> tuple[StoredCursor | None, int]:
        """Return the cursor of a worker, and its revision; 0 where there never was one.

        Raises:
            BrokerError: the server does not answer, or it cannot be read.
        """
        for attempt in range(ATTEMPTS):
            last = await self._bucket.last(CURSORS, worker)
            if last is None or is_removal(last.headers):
                return None, 0 if last is None else last.seq
            stored = decode(last.data, worker)
            pieces = [await self._bucket.last(PARTS, key) for key in _part_keys(worker, stored)]
            there = [piece.data for piece in pieces if piece is not None and not is_removal(piece.headers)]
            if len(there) == len(pieces):
                stored.outstanding = b"".join(there) or stored.outstanding
                return stored, last.seq
            await asyncio.sleep(0.05 * attempt)  # it was written anew in between
        raise BrokerError(f"how far {worker} is cannot be read: parts of it are gone", code="DN813")

    async def write(self, stored: StoredCursor, revision: int) -> int | None:
        """Write a cursor over a revision, and return the new one; None where another has come before.

        What is too long for one message is written in parts before, under names that were never used; so what
        the present cursor names is whole at any moment.

        Raises:
            NotStored: it is not written, or no answer says that it is.
        """
        worker, packed = stored.worker, stored.outstanding
        length = min(PART_BYTES, self._connected.largest // 2)
        if len(packed) > length:
            pieces = [packed[start : start + length] for start in range(0, len(packed), length)]
            stored.parts, stored.parts_of, stored.outstanding = len(pieces), new_id(), b""
            for key, piece in zip(_part_keys(worker, stored), pieces, strict=True):
                await self._bucket.write(PARTS, key, piece, seconds=KEPT_SECONDS)
        written = await self._bucket.write(
            CURSORS, worker, msgspec.msgpack.encode(stored), revision=revision, seconds=KEPT_SECONDS
        )
        await self._tidy(worker, stored, is_written=written is not None)
        return written

    async def _tidy(self, worker: str, stored: StoredCursor, *, is_written: bool) -> None:
        """Remove the parts that no cursor names any more; what is forgotten here ends by itself."""
        of, count = stored.parts_of, stored.parts
        if is_written:
            of, count = self._parts.pop(worker, ("", 0))
            if stored.parts:
                self._parts[worker] = stored.parts_of, stored.parts
        for key in part_keys(worker, of, count):
            try:
                await self._bucket.write(PARTS, key, b"", is_removal=True)
            except NotStored as exc:
                log.debug("a part of an old cursor stays until its time is over: %s", exc)
                return

    async def remove(self, worker: str, revision: int) -> bool:
        """Forget a worker; return whether its cursor was still of that revision.

        Raises:
            NotStored: it is not removed, or no answer says that it is.
        """
        removed = await self._bucket.write(CURSORS, worker, b"", revision=revision, is_removal=True)
        return removed is not None


def _part_keys(worker: str, stored: StoredCursor) -> list[str]:
    return part_keys(worker, stored.parts_of, stored.parts)


def part_keys(worker: str, of: str, count: int) -> list[str]:
    """Return the keys of the parts of a cursor."""
    return [f"{worker}.{of}.{number}" for number in range(count)]


def decode(data: bytes, worker: str) -> StoredCursor:
    """Return a cursor that was written.

    Raises:
        BrokerError: it cannot be read.
    """
    try:
        stored = _stored.decode(data)
    except msgspec.MsgspecError as exc:
        raise BrokerError(f"how far {worker} is cannot be read ({exc})", code="DN813") from exc
    if stored.format != FORMAT:
        raise BrokerError(f"how far {worker} is was written by another version of dnworker", code="DN813")
    return stored


class Known(msgspec.Struct, frozen=True):
    """What all runtimes know of a worker at any time."""

    kinds: list[str | None]
    start: int
