"""`KeptConsumer`: the events of one worker, from where they are kept and live, in one order."""

from __future__ import annotations

import asyncio
import bisect
import enum
import logging
from collections import deque
from collections.abc import Collection, Sized

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, NotStored
from dnworker.events.brokers.base import NOW, BacklogWatcher
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.given import Desk, Given
from dnworker.events.brokers.kept.leaving import Leaving
from dnworker.events.brokers.kept.pages import Stored
from dnworker.events.brokers.kept.queued import QueuedEvents
from dnworker.events.brokers.kept.watched import Watched

log = logging.getLogger("dnworker.broker")

MOST_EVENTS = 1_000
MOST_BYTES = 16_000_000
"""Events and bytes that a consumer keeps of those that its reader has not taken; twice that for a moment,
while those of the file are joined to those that came meanwhile."""

RETRY_SECONDS = 1.0
"""Seconds after which a file that could not be read is tried again."""


class _Mode(enum.Enum):
    """Where the next events come from."""

    LIVE = enum.auto()
    """From the bus."""
    CATCHING_UP = enum.auto()
    """From the file, to where those from the bus begin that wait behind."""
    BEHIND = enum.auto()
    """From the file; what comes from the bus is left there."""


class KeptConsumer(QueuedEvents):
    """The events of one worker that it has not handled, then those that are published.

    What its reader is too slow for stays in the file, and is read from there in pages. Before a page is given
    out, it is on disk that it was.
    """

    counts_ends = True

    def __init__(
        self, desk: Desk, cursor: Cursor, watcher: BacklogWatcher | None, *, is_new: bool = False
    ) -> None:
        super().__init__(desk, cursor)
        # What it wants, and for whom.
        self.kinds = cursor.names
        self.session_id: str | None = None
        self.goes_by_seq = False
        self._watched = Watched(watcher)
        # Where it is: all events up to `_seen` were queued, or are not for it.
        self._seen = cursor.handled_to
        self._replay_to = desk.latest_seq
        self._mode = _Mode.LIVE if is_new else _Mode.CATCHING_UP
        self._upto = desk.delivered_seq
        self._tail: deque[tuple[EventEnvelope, int]] = deque()
        self._tail_bytes = 0
        self._left: EventEnvelope | None = None
        """The newest event that was left in the file."""
        self._turn = 0
        """How often it has gone back to an earlier event."""
        # What comes again, and what does once it is let go.
        self._due: deque[int] = deque()
        self._held: set[int] = set()
        self._filling: asyncio.Task[None] | None = None
        self._leaving = Leaving(desk, cursor, self._open, self.get_ready)
        self._sort_aside()
        if not is_new:
            self._leaving.look()
            self._watched.note_reading(is_reading=True)
            self._fill()

    def _sort_aside(self) -> None:
        """See when the events come again that are outstanding; those after `_seen` come with the others."""
        now = self._desk.clock.now().timestamp()
        for seq in sorted(self._aside):
            when = self._aside[seq].not_before
            if self._cursor.is_left(seq, self._aside[seq]):
                continue
            if when is not None and when > now:
                self._delayed.add(seq)
                self._delays.add(when, seq)
            elif seq <= self._seen or self._aside[seq].is_passed:
                self._due.append(seq)

    # -- what comes ------------------------------------------------------------------------------------

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Take one event from the bus; False where it is not for the worker, or the worker has had it."""
        seq = envelope.seq
        if self._closed:
            return False
        is_for_it = self._cursor.gets(envelope)
        if seq in self._held:  # let go by the storm
            self._held.discard(seq)
            if seq <= self._seen or not is_for_it:
                self._due.append(seq)
                self._fill()
                return True
        if not is_for_it or seq <= self._seen:
            return False
        if self._mode is _Mode.CATCHING_UP and (seq <= self._upto or self._tail_passes(seq)):
            return self._put_in_place(envelope, size)
        if self._mode is _Mode.LIVE and _has_room(self._queue, self._bytes):
            self._seen = seq
            self._watched.expect(envelope)
            self._enqueue(self._give(envelope, size))
        elif self._mode is _Mode.CATCHING_UP and _has_room(self._tail, self._tail_bytes) and not self._left:
            self._watched.expect(envelope)
            self._tail.append((envelope, size))
            self._tail_bytes += size
        else:
            self._leave(envelope)
        return True

    def _tail_passes(self, seq: int) -> bool:
        return bool(self._tail) and seq < self._tail[-1][0].seq

    def _put_in_place(self, envelope: EventEnvelope, size: int) -> bool:
        """Take an event that a storm lets go: before later ones waiting, where the file does not have it."""
        if envelope.seq <= self._upto:
            return False  # it comes with those of the file
        self._watched.expect(envelope)
        bisect.insort(self._tail, (envelope, size), key=lambda waiting: waiting[0].seq)
        self._tail_bytes += size
        return True

    def note_held(self, envelope: EventEnvelope) -> None:
        """Note an event that is held back from workers: it stays outstanding until it is let go."""
        if not self._closed and self._cursor.gets(envelope):
            self._held.add(envelope.seq)
            if self._mode is _Mode.LIVE:
                self._seen = envelope.seq
            self._aside[envelope.seq] = Outstanding(0)
            self._desk.mark(self._cursor)

    def let_go(self, held: Collection[int]) -> None:
        """Never get these events, by `seq`, which are held back."""
        self.note_position()
        for seq in self._held.intersection(held):
            self._aside.pop(seq, None)
            if seq <= self._seen:  # else a page that is being read may have it
                self._held.discard(seq)

    def _leave(self, envelope: EventEnvelope) -> None:
        """Leave an event in the file for now."""
        if self._mode is _Mode.LIVE:
            self._mode = _Mode.BEHIND
        self._left = envelope
        self._watched.promise(envelope)

    def _take_back(self, untaken: list[Given]) -> None:
        events = [*(one.envelope for one in untaken), *(envelope for envelope, _ in self._tail)]
        self._watched.take_back(events)
        self._watched.break_promise()

    def _clear_tail(self) -> None:
        self._tail.clear()
        self._tail_bytes = 0

    # -- what is in the file ---------------------------------------------------------------------------

    def _fill(self) -> None:
        """Read on, where there is something to read and room for it."""
        if self._filling is None and self._is_to_read():
            self._filling = asyncio.get_running_loop().create_task(self._read(), name="dnworker broker pages")

    def _is_to_read(self) -> bool:
        is_low = len(self._queue) <= MOST_EVENTS // 2 and self._bytes <= MOST_BYTES // 2
        return not self._closed and is_low and (bool(self._due) or self._mode is not _Mode.LIVE)

    async def _read(self) -> None:
        try:
            await self.get_ready()
            while self._is_to_read():
                try:
                    await (self._read_due() if self._due else self._read_page())
                except NotStored:
                    raise
                except Exception as exc:  # whatever it is: who gets nothing for ever would seem to run
                    is_bug = not isinstance(exc, BrokerError)
                    log.error("%s waits for its events: %s", self.owner, exc, exc_info=is_bug)
                    await asyncio.sleep(RETRY_SECONDS)
        except NotStored as exc:  # and never will be
            log.error("%s gets no more events: %s", self.owner, exc)
            self._watched.note_reading(is_reading=False)
        finally:
            self._filling = None
        if self._waiter is not None:
            self._notify_empty()

    async def _read_due(self) -> None:
        """Give the worker again what is due."""
        seqs = [self._due.popleft() for _ in range(min(len(self._due), MOST_EVENTS // 2))]
        turn = self._turn
        try:
            rows = await self._desk.by_seq(seqs)
        except Exception:
            self._due.extendleft(reversed(seqs))
            raise
        if turn != self._turn:  # it begins earlier since
            self._due.extendleft(reversed(seqs))
            self._leave_to_pages()
            return
        wanted, kept = [], set[int]()
        for one in rows:
            kind, seq = one.envelope.kind, one.envelope.seq
            if seq in self._aside and self._cursor.keep_aside(kind, seq):
                self._aside[seq].kind = kind
                kept.add(seq)
                self._leaving.look_again(kind)
            elif self._cursor.hears(kind):
                kept.add(seq)
                if self._is_ahead(one.envelope) and seq in self._aside:
                    self._aside[seq].is_passed = False  # its kind was not known when that was noted
                else:
                    wanted.append(one)
        for seq in set(seqs) - kept:  # gone, let go, or not listened to
            self._aside.pop(seq, None)
        await self._give_out(wanted, out_of_order=True)

    async def _read_page(self) -> None:
        """Give the worker the next events of the file; behind the last of them those that came meanwhile."""
        if self._mode is _Mode.BEHIND:
            self._mode, self._left, self._upto = _Mode.CATCHING_UP, None, self._desk.delivered_seq
            self._clear_tail()
        room = MOST_EVENTS - len(self._queue)
        turn = self._turn
        found = await self._desk.page(
            self._cursor.kinds,
            self._seen,
            self._upto,
            most=room,
            max_bytes=MOST_BYTES // 2,
            worker=self._cursor.family,
        )
        if turn != self._turn:
            return  # it begins earlier since
        self._seen = found.reached
        waiting = self._held.union(self._delayed, self._due)
        rows = [one for one in found.events if self._cursor.gets(one.envelope)]
        await self._give_out(
            [one for one in rows if one.envelope.seq not in waiting and one.envelope.seq not in self._open]
        )
        if turn != self._turn:
            return
        if found.reached >= self._upto and not self._closed:
            for envelope, size in self._tail:
                if envelope.seq <= self._seen:  # it was handled elsewhere, as is known by now
                    self._watched.take_back([envelope])
                    continue
                self._seen = envelope.seq
                self._enqueue(self._give(envelope, size))
            self._clear_tail()
            self._mode = _Mode.BEHIND if self._left else _Mode.LIVE
        if self._mode is _Mode.LIVE:
            self._watched.note_reading(is_reading=False)
            self._watched.break_promise()  # of a kind that it listens to no more
        if self._left is not None and self._left.seq > self._seen:
            self._watched.promise(self._left)

    async def _give_out(self, rows: list[Stored], *, out_of_order: bool = False) -> None:
        """Give events to the worker once it is on disk that they were."""
        if self._closed:
            return
        given = []
        for stored in rows:
            if stored.only not in (None, self._cursor.family):
                continue
            envelope = stored.envelope
            if envelope.seq <= self._replay_to:
                envelope = replace(envelope, replay=True)
            self._watched.expect(envelope)
            given.append(self._give(envelope, stored.size))
            given[-1].is_out_of_order = out_of_order
        await asyncio.shield(self._desk.write(self._cursor))
        for one in given:
            if self._open.get(one.seq) is one and not self._closed:
                self._enqueue(one)

    def _come_due(self, seq: int) -> None:
        """Have an event again whose delay is over."""
        self._delayed.discard(seq)
        self._due.append(seq)
        self._leave_to_pages()
        self._fill()

    def _is_ahead(self, envelope: EventEnvelope) -> bool:
        """Return whether a page is still to give an event."""
        return self._mode is not _Mode.LIVE and envelope.seq > self._seen and self._cursor.gets(envelope)

    def _leave_to_pages(self) -> None:
        """Have nothing come by itself that a page is still to give, in its order."""
        if self._due and max(self._due) > self._seen:
            self._due = deque(seq for seq in self._due if seq <= self._seen or self._is_passed(seq))

    def _is_passed(self, seq: int) -> bool:
        return seq in self._aside and self._aside[seq].is_passed

    def _pop(self) -> EventEnvelope:
        given = self._queue.popleft()
        given.is_taken = True
        self._bytes -= given.size
        if self._filling is None and (self._mode is not _Mode.LIVE or self._due):
            self._fill()
        return given.envelope

    def _is_reading(self) -> bool:
        return self._filling is not None or self._mode is not _Mode.LIVE

    # -- other kinds, and the end ----------------------------------------------------------------------

    def retarget(
        self,
        kinds: Collection[str] | None,
        start: int = NOW,
        *,
        lets_go: bool = False,
        is_trial: bool = False,
    ) -> None:
        """Receive other kinds from now on; what is queued of those that stay, stays."""
        self._desk.outlet.forget(self)
        self.note_position()
        cursor, before = self._cursor, {*self._cursor.kinds}
        wanted = dict.fromkeys([None] if kinds is None else kinds, self._desk.seq_of(start))
        taken_to = max(self._taken_before, cursor.handled_to)
        cursor.listen(wanted, self._desk.latest_seq, taken_to=taken_to, lets_go=lets_go, is_trial=is_trial)
        self.kinds = cursor.names
        self._leave_queued()
        added = [
            since
            for kind, since in cursor.kinds.items()
            if kind in cursor.returned or not (kind in before or None in before)
        ]
        if added and min(added) < self._desk.delivered_seq:
            self._go_back()
        self._due.extend(
            seq
            for seq, entry in self._aside.items()
            if entry.kind and not cursor.is_left(seq, entry) and (seq <= self._seen or entry.is_passed)
        )
        self._desk.outlet.remember(self)
        self._desk.write(cursor)
        if cursor.former.kinds or cursor.returned:
            self._leaving.look()
        self._fill()

    def _leave_queued(self) -> None:
        """Leave what is queued of kinds that the worker names no more to a version that names them again."""
        left = [
            one
            for one in self._open.values()
            if not one.is_taken and not self._cursor.hears(one.envelope.kind)
        ]
        tail = [envelope for envelope, _ in self._tail if not self._cursor.hears(envelope.kind)]
        if not left and not tail:
            return
        self._watched.take_back([*(one.envelope for one in left), *tail])
        for one in left:
            self._open.pop(one.seq)
            self._by_id.pop(one.envelope.event_id, None)
            former = self._cursor.former.kinds.get(one.envelope.kind)
            if former is not None and (one.seq <= former.since or one.number > 1 or one.ended):
                self._aside[one.seq] = self._entry(one, one.number - 1)
                self._aside[one.seq].kind = one.envelope.kind
        self._queue = deque(one for one in self._queue if one.seq in self._open)
        self._bytes = sum(one.size for one in self._queue)
        self._tail = deque(one for one in self._tail if self._cursor.hears(one[0].kind))
        self._tail_bytes = sum(size for _, size in self._tail)

    def _go_back(self) -> None:
        """Read on from where the cursor is: events of a new kind come before those that are queued."""
        self._turn += 1
        self._seen, self._mode = self._cursor.handled_to, _Mode.BEHIND
        self._watched.note_reading(is_reading=True)
        untaken = [given for given in self._open.values() if not given.is_taken]
        self._take_back(untaken)
        self._queue.clear()
        self._clear_tail()
        self._bytes = 0
        for given in untaken:
            self._open.pop(given.seq)
            self._by_id.pop(given.envelope.event_id, None)
            # No page has it: its kind begins later since, or it came again after later ones.
            is_before = given.seq <= self._seen or not self._cursor.wants(given.envelope.kind, given.seq)
            if is_before or given.number > 1 or given.ended:
                self._aside[given.seq] = self._entry(given, given.number - 1)
            if is_before:
                self._due.append(given.seq)
        self._leave_to_pages()

    def close(self) -> None:
        """Receive nothing more; what was not handled is kept for the worker's next consumer."""
        if self._closed:
            return
        self._closed = True
        self._delays.stop()
        self._leaving.stop()
        self._desk.outlet.forget(self)
        untaken = [given for given in self._open.values() if not given.is_taken]
        if self._filling is not None:
            self._filling.cancel()
        self._take_back(untaken)
        self._watched.note_reading(is_reading=False)
        self.note_position()
        for given in untaken:  # was not given after all
            self._by_id.pop(given.envelope.event_id, None)
            entry = self._entry(given, given.number - 1)
            if entry.deliveries or entry.is_passed or given.seq <= self._cursor.handled_to:
                self._cursor.outstanding[given.seq] = entry
        self._queue.clear()
        self._clear_tail()
        self._cursor.taken_to = max(self._taken_before, self._cursor.handled_to)
        self._cursor.is_live, self._cursor.consumer = False, None
        self._cursor.seen_at = self._desk.clock.now().isoformat()
        self._desk.write(self._cursor)
        self._notify_empty()
        self._wake()

    async def aclose(self) -> None:
        """Do the same as `close`."""
        self.close()

    def note_position(self) -> None:
        """Bring the cursor up to date."""
        cursor = self._cursor
        if self._mode is _Mode.LIVE:
            self._seen = max(self._seen, self._desk.delivered_seq)
        waiting = [one.seq for one in self._open.values() if not one.is_taken and not one.is_out_of_order]
        cursor.handled_to = max(cursor.handled_to, min(waiting) - 1 if waiting else self._seen)
        cursor.taken_to = max(cursor.taken_to, self._seen)
        cursor.is_live = self._mode is not _Mode.BEHIND and self._seen >= self._upto
        cursor.outstanding = self._outstanding(cursor.handled_to)


def _has_room(waiting: Sized, size: int) -> bool:
    return len(waiting) < MOST_EVENTS and size < MOST_BYTES
