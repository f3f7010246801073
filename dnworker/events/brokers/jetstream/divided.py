"""`Divided`: the part of the broker that divides the events of a worker among its members; decision 0047."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import BrokerError, Conflict, NotStored
from dnworker.core.ids import new_id
from dnworker.core.members import ALONE, Partition, Share, family_of, index_of, member_name
from dnworker.events.brokers.base import Entry
from dnworker.events.brokers.jetstream.connecting import Connected
from dnworker.events.brokers.jetstream.cursors import FORMAT, CursorStore, StoredCursor, pack, unpack
from dnworker.events.brokers.jetstream.mirror import VALUES, WORKERS, Mirror
from dnworker.events.brokers.jetstream.names import token
from dnworker.events.brokers.jetstream.values import Bucket
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.kept.dividing import Moved, divided, passed_over, plan_of, prepare
from dnworker.events.brokers.kept.former import FormerKinds, joined
from dnworker.events.brokers.kept.pages import Page, Stored

log = logging.getLogger("dnworker.broker")

PREFIX = "replicas."
"""How the keys begin under which it stands how workers are divided."""

MOST_MOVED = 50_000
"""Events that one change gives to other members one by one; what no member has read is not among them."""

PAGE_EVENTS, PAGE_BYTES, AT_ONCE = 1_000, 8_000_000, 500
ATTEMPTS = 5
"""How often a cursor is taken that somebody writes meanwhile."""


class _Begin(msgspec.Struct, array_like=True):
    """From where one member goes on."""

    kinds: list[tuple[str | None, int]]
    handled_to: int
    taken_to: int
    outstanding: bytes
    former: FormerKinds | None = None


class _Division(msgspec.Struct, array_like=True):
    """How a worker is divided, as it is written: with it, all of its cursors change in one step."""

    format: int
    turn: int
    of: int
    by_session: bool
    stream: str
    """When the stream was made that the numbers are of."""
    begins: list[_Begin]

    @property
    def partition(self) -> Partition:
        return Partition(self.of, self.by_session)


class Divided:
    """Shares of members, and how they change."""

    clock: Clock
    connected: Connected
    store: CursorStore
    created: str
    start: int
    _bucket: Bucket | None
    _mirror: Mirror | None

    # -- of the other parts ----------------------------------------------------------------------------

    def seq_of(self, start: int) -> int:
        """Return the `seq` after which a worker begins."""
        raise NotImplementedError

    async def page(
        self, kinds: dict[str | None, int], after: int, upto: int, *, most: int, max_bytes: int, worker: str
    ) -> Page:
        """Return the next events of some kinds."""
        raise NotImplementedError

    async def by_seq(self, numbers: Sequence[int]) -> list[Stored]:
        """Return those events of some numbers that are kept."""
        raise NotImplementedError

    async def get(self, key: str) -> Entry | None:
        """Return a value."""
        raise NotImplementedError

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value."""
        raise NotImplementedError

    # -- how it is divided -----------------------------------------------------------------------------

    async def share(self, worker: str, index: int) -> Share:
        """Return the share of a member as all runtimes have agreed.

        Raises:
            BrokerError: the server does not answer, or what was agreed cannot be read.
        """
        division, _ = await self._division(worker)
        if division is None:
            return Share(index)
        begin = division.begins[index] if index < division.of else None
        start = None if begin is None or begin.kinds else begin.handled_to
        return Share(index, division.partition, division.turn, start)

    async def begin_of(self, cursor: Cursor, stored: StoredCursor | None) -> StoredCursor | None:
        """Return from where a cursor goes on: what was written, or where the worker was divided anew.

        Raises:
            NotStored: it was divided anew since this runtime was told how.
            BrokerError: the server does not answer.
        """
        division, _ = await self._division(cursor.family)
        turn = 0 if division is None else division.turn
        if turn != cursor.share.turn:
            raise NotStored(
                f"{cursor.worker}: its events were divided anew by another node; this one gives it none: "
                "restart it",
                code="DN810",
            )
        return stored if division is None else self._of_turn(cursor.worker, division, stored)

    def _of_turn(self, member: str, division: _Division, stored: StoredCursor | None) -> StoredCursor | None:
        """Return the cursor of a member in a turn; None for one that the worker does not have."""
        if stored is not None and stored.turn == division.turn:
            return stored
        index = index_of(member)
        if index >= division.of:
            return None
        begin = division.begins[index]
        return StoredCursor(
            FORMAT,
            member,
            division.stream,
            new_id(),
            self.connected.settings.node,
            False,
            begin.kinds,
            begin.handled_to,
            begin.taken_to,
            False,
            self.clock.now().isoformat() if stored is None else stored.seen_at,
            outstanding=begin.outstanding,
            turn=division.turn,
            former=begin.former,
        )

    def as_divided(self, stored: StoredCursor) -> StoredCursor | None:
        """Return a cursor that was read as it counts now, as is known here; None for one of no member."""
        seen = None if self._mirror is None else self._mirror.get(VALUES, token(_key(stored.worker)))
        return stored if seen is None else self._of_turn(stored.worker, _decode(seen.value), stored)

    async def count_own(self, cursor: Cursor, waiting: int, upto: int) -> int:
        """Return how many of the events behind a cursor are its own; an estimate where it is far behind."""
        seen = None if self._mirror is None else self._mirror.get(VALUES, token(_key(cursor.worker)))
        partition = ALONE if seen is None else _decode(seen.value).partition
        if partition.of == 1 or waiting > PAGE_EVENTS:
            return -(-waiting // partition.of)
        found = await self.page(
            cursor.kinds,
            cursor.handled_to,
            upto,
            most=PAGE_EVENTS,
            max_bytes=PAGE_BYTES,
            worker=cursor.family,
        )
        share, events = Share(index_of(cursor.worker), partition), (one.envelope for one in found.events)
        return sum(cursor.wants(one.kind, one.seq) and share.has(one) for one in events)

    async def _division(self, worker: str) -> tuple[_Division | None, int]:
        entry = await self.get(_key(worker))
        return (None, 0) if entry is None else (_decode(entry.value), entry.revision)

    # -- to divide it anew -----------------------------------------------------------------------------

    async def divide(self, worker: str, partition: Partition, may: Callable[[], bool]) -> None:
        """Divide the events of a worker anew, in one step; see `Partitions`.

        Raises:
            Conflict: too many events wait; or another node comes before.
            BrokerError, NotStored: the server does not answer, or does not keep it.
        """
        before, revision = await self._division(worker)
        names = [member_name(worker, n) for n in range(ALONE.of if before is None else before.of)]
        cursors = [found for name in names if (found := await self._taken(name, before)) is not None]
        begins = await self._begins(worker, cursors, partition)
        turn = 1 if before is None else before.turn + 1
        division = _Division(FORMAT, turn, partition.of, partition.by_session, self.created, begins)
        data = msgspec.msgpack.encode(division)
        if len(data) > self.connected.largest // 2:
            _check_count(worker, sum(len(unpack(one.outstanding)) for one in begins), most=0)
        if not may():
            raise Conflict(
                f"a lease of {worker} was lost while its events were divided; it is tried again", code="DN810"
            )
        if await self.put(_key(worker), data, revision=revision) is None:
            raise Conflict(
                f"another node divides the events of {worker} at this moment; try again", code="DN810"
            )
        for name in names[partition.of :]:
            await self._remove(name)

    async def _taken(self, member: str, division: _Division | None) -> Cursor | None:
        """Return a cursor that nobody else writes from now on; None where there is none."""
        for _ in range(ATTEMPTS):
            stored, revision = await self.store.read(member)
            current = stored if division is None else self._of_turn(member, division, stored)
            cursor = Cursor(member, {}, 0, "")
            if current is not None:
                current.put_into(cursor)
                if current.stream != self.created:  # its numbers are those of a stream that is gone
                    cursor.reset(0)
            if stored is not None:
                stored.claim, stored.is_open, stored.parts, stored.parts_of = new_id(), False, 0, ""
                if await self.store.write(stored, revision) is None:
                    continue
            cursor.share = Share(index_of(member), ALONE if division is None else division.partition)
            return None if current is None else cursor
        raise Conflict(f"{member} runs on another node; stop it there first", code="DN810")

    async def _begins(self, worker: str, cursors: list[Cursor], partition: Partition) -> list[_Begin]:
        if not cursors:
            seq = self.seq_of(self.start)
            return [_Begin([], seq, seq, b"") for _ in range(partition.of)]
        info = await self.connected.api.info(self.connected.names.events)
        if info is None:
            raise BrokerError("the stream of events is gone", code="DN805")
        prepare(cursors, info.last_seq)
        plan = plan_of(cursors)
        outstanding = divided(plan, partition, await self._moved(worker, cursors, plan.handled_to))
        kinds = [*plan.kinds.items()]
        former = joined(cursor.former for cursor in cursors) or None
        return [_Begin(kinds, plan.handled_to, plan.taken_to, pack(own), former) for own in outstanding]

    async def _moved(self, worker: str, cursors: list[Cursor], upto: int) -> dict[int, Moved]:
        """Return what is not handled up to a `seq`, and what is noted of events behind it."""
        moved: dict[int, Moved] = {}
        async for stored in self._pages(worker, cursors, upto):
            if (entry := passed_over(cursors, stored.envelope)) is not None:
                moved[stored.envelope.seq] = Moved(stored.envelope, entry)
                _check_count(worker, len(moved))
        noted = {seq: entry for cursor in cursors for seq, entry in cursor.outstanding.items()}
        left = sorted(noted.keys() - moved.keys())
        _check_count(worker, len(moved) + len(left))
        for begin in range(0, len(left), AT_ONCE):
            for stored in await self.by_seq(left[begin : begin + AT_ONCE]):
                moved[stored.envelope.seq] = Moved(stored.envelope, noted[stored.envelope.seq])
        return moved

    async def _pages(self, worker: str, cursors: list[Cursor], upto: int) -> AsyncIterator[Stored]:
        """Yield the events behind the cursor that is last, up to a `seq`."""
        kinds: dict[str | None, int] = {}
        for cursor in cursors:
            for kind, since in cursor.kinds.items():
                kinds[kind] = min(since, kinds.get(kind, since))
        reached = min(cursor.handled_to for cursor in cursors)
        while reached < upto:
            found = await self.page(
                kinds, reached, upto, most=PAGE_EVENTS, max_bytes=PAGE_BYTES, worker=worker
            )
            for stored in found.events:
                if stored.only in (None, worker):
                    yield stored
            reached = found.reached

    async def _remove(self, member: str) -> None:
        """Forget a member that the worker has no more; where that fails, it is not counted all the same."""
        try:
            stored, revision = await self.store.read(member)
            if stored is not None:
                await self.store.remove(member, revision)
            if self._bucket is not None:
                await self._bucket.write(WORKERS, member, b"", is_removal=True)
        except (BrokerError, NotStored) as exc:
            log.info("the cursor of %s, which its worker has no more, stays for now: %s", member, exc)


def _key(member: str) -> str:
    return f"{PREFIX}{family_of(member)}"


def _decode(data: bytes) -> _Division:
    """Return how a worker is divided.

    Raises:
        BrokerError: it cannot be read.
    """
    try:
        division = _division.decode(data)
    except msgspec.MsgspecError as exc:
        raise BrokerError(
            f"how the events of a worker are divided cannot be read ({exc})", code="DN813"
        ) from exc
    if division.format != FORMAT or not 0 < division.of == len(division.begins):
        raise BrokerError("how a worker is divided was written by another version of dnworker", code="DN813")
    return division


_division = msgspec.msgpack.Decoder(_Division)


def _check_count(worker: str, count: int, most: int = MOST_MOVED) -> None:
    """Raise Conflict where more events would have to be given to other members than may be."""
    if count > most:
        raise Conflict(
            f"{count:,} events of {worker} wait behind others that are handled: start it with as many "
            "members as before, and change that once they are handled",
            code="DN810",
        )
