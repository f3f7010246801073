"""`SqliteBroker`: keeps events, and what workers have handled of them, in one SQLite file.

The file is the notebook's journal, and more: `JournalReader` reads it. One thread writes to it, in groups
(`group_commit.py`), another reads (`reading.py`); everything else is on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dnworker.core.clock import Clock, RealClock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, Conflict, NotFound, NotStored
from dnworker.core.hops import via_here
from dnworker.events.brokers.base import (
    NOW,
    Accepted,
    BacklogWatcher,
    BrokerCapabilities,
    CursorInfo,
    Outlet,
)
from dnworker.events.brokers.kept.consumer import KeptConsumer
from dnworker.events.brokers.kept.cursors import Cursor, begin_of
from dnworker.events.brokers.sqlite import reading
from dnworker.events.brokers.sqlite.bounds import MAX_AGE, MAX_BYTES, Bounds
from dnworker.events.brokers.sqlite.cursors import row_of
from dnworker.events.brokers.sqlite.file import opened_file
from dnworker.events.brokers.sqlite.group_commit import (
    Call,
    CursorRows,
    GroupWriter,
    Op,
    Publication,
    take_from_workers,
)
from dnworker.events.brokers.sqlite.marks import Marks
from dnworker.events.brokers.sqlite.notes import BrokerJournal
from dnworker.events.brokers.sqlite.pages import FilePages
from dnworker.events.brokers.sqlite.reading import FileReader
from dnworker.events.brokers.sqlite.store import Store
from dnworker.events.journal_rows import DROPPED_TO, event_row

log = logging.getLogger("dnworker.broker")

T = TypeVar("T")

SLICE_SECONDS = 0.001
"""Seconds for which events are delivered before the loop gets to do something else."""

HOUSE_SECONDS = 60.0
HOUSE_EVENTS = 20_000
"""Seconds and events after which the file's bounds are seen to, and who is gone."""

GONE_AFTER = timedelta(days=1)
"""For how long a worker that is not here is known."""

WAITING_BYTES = 64_000_000
"""Bytes of events that wait for the disk before further ones are refused."""


class SqliteBroker(Marks, Store, FilePages):
    """Accepts an event once it is on disk, and gives each worker what it has not handled, also after a kill.

    Args:
        path: the file; it is made if it is not there. A journal is brought to the present format.
        max_age, max_bytes, max_events: bounds of what is kept; what all have handled goes first.
        start: where a worker begins that is not known: `NOW`, `BEGINNING`, or after a `seq`.
    """

    name = "sqlite"
    capabilities = BrokerCapabilities(survives_kill=True, redelivers=True, survives_power_loss=True)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_age: timedelta = MAX_AGE,
        max_bytes: int = MAX_BYTES,
        max_events: int | None = None,
        start: int = NOW,
    ) -> None:
        super().__init__()
        # Its log and its lock are beside the file, not beside a link to it.
        self.path = Path(os.path.realpath(path))
        self.start = start
        """Where a worker begins that is not known."""
        self.messages = None
        self.reports = None
        self.partitions = None
        self.journal = BrokerJournal(self.path)
        """What the runtime notes beside its events."""
        self.outlet: Outlet
        self.clock: Clock = RealClock()
        self.reader = FileReader(self.path)
        self._make_bounds = partial(
            Bounds, self.path, lambda: self.clock.now(), max_age, max_bytes, max_events
        )
        # What was published, and what of it was delivered.
        self.latest_seq = 0
        self.delivered_seq = 0
        self._waiting_bytes = 0
        self._arrived: deque[tuple[Op, str | None]] = deque()
        self._is_delivering = False
        # How far workers are.
        self._cursors: dict[str, Cursor] = {}
        # The file.
        self._writer: GroupWriter | None = None
        self._house: asyncio.TimerHandle | None = None
        self._kept_house_at = 0
        self._opened_at = datetime.now(UTC)
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def failure(self) -> str | None:
        """Why it can accept nothing at the moment; None where it can."""
        return None if self._writer is None else self._writer.failure

    def attach(self, outlet: Outlet, clock: Clock) -> None:
        """Deliver to `outlet`; called before all else."""
        self.outlet, self.clock = outlet, clock

    async def open(self, run: str) -> None:
        """Open the file, also after `close`; `run` is the id of the runtime.

        Raises:
            BrokerError: it cannot be used, such as for another process that has it; names the way out.
        """
        self._opened_at = self.clock.now()
        opened = await opened_file(self.path, run, self._opened_at.isoformat())
        self._cursors, self._marked = opened.cursors, {}
        self.latest_seq = self.delivered_seq = self._kept_house_at = opened.latest_seq
        try:
            self.reader.open()
            self._writer = GroupWriter(
                self.path, opened, report=self._take, riders=self.journal, tidy=self._make_bounds().step
            )
        except BaseException:
            opened.close()
            raise
        self.journal.run = self._run = opened.run
        self.journal.wake = self._writer.wake
        self.journal.failure_of = lambda: self.failure
        self.journal.now = self.clock.now
        self.keep_house()

    async def close(self) -> None:
        """Write what waits, and end; does nothing where it is not open."""
        if self._writer is not None:
            await self._end_writing(self._writer)

    async def _end_writing(self, writer: GroupWriter) -> None:
        for cursor in self._cursors.values():
            if cursor.consumer is not None:
                cursor.consumer.close()
        for timer in (self._house, self._mark_timer):
            if timer is not None:
                timer.cancel()
        self._flush()
        self._writer = None
        try:
            await writer.stop()
            self.journal.end()
            while self._arrived:  # noqa: ASYNC110  slices of the last groups: the next thing that the loop does
                await asyncio.sleep(0)
            await asyncio.gather(*self._farewells)
        finally:
            await self.reader.close()

    # -- events ----------------------------------------------------------------------------------------

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None = None,
        is_held: bool = False,
        *,
        cause: str | None = None,
        is_idempotent: bool = False,
    ) -> asyncio.Future[Accepted] | None:
        """Write an event, deliver it once it is on disk; the future raises `NotStored` where it is not."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        writer = self._writer
        if writer is None or writer.is_lost or self._waiting_bytes > WAITING_BYTES:
            future.set_exception(NotStored(self._why_refused()))
            return future
        row = event_row(
            self._run, envelope, cause, via_here(), number=envelope.seq, only=only, is_held=is_held, size=size
        )
        self.latest_seq = max(self.latest_seq, envelope.seq)
        self._waiting_bytes += size
        writer.put(Publication(envelope, size, only, is_held, row, is_idempotent, future))
        return future

    def _why_refused(self) -> str:
        if self._writer is None:
            return f"{self.path} is closed; nothing was published; start the runtime first"
        return self._writer.failure or (
            f"the disk of {self.path} is too slow: {self._waiting_bytes // 1_000_000:,} MB wait for it; "
            "nothing was published; wait for what you publish, or publish less"
        )

    def _take(self, group: list[Op], problem: str | None) -> None:
        """Take a group that is on disk, or was refused."""
        self._arrived.extend((op, problem) for op in group)
        if not self._is_delivering:
            self._deliver()

    def _deliver(self) -> None:
        """Deliver what is on disk, in slices: others have the loop in between."""
        until = time.perf_counter() + SLICE_SECONDS
        while self._arrived:
            op, problem = self._arrived.popleft()
            if isinstance(op, Publication):
                self._waiting_bytes -= op.size
                if problem is None:
                    self._deliver_event(op)
            _answer(op, problem)
            if time.perf_counter() > until:
                break
        self._is_delivering = bool(self._arrived)
        if self._is_delivering:
            asyncio.get_running_loop().call_soon(self._deliver)
        if self.delivered_seq - self._kept_house_at >= HOUSE_EVENTS:
            self.keep_house()

    def _deliver_event(self, op: Publication) -> None:
        if op.first is not None:
            return
        envelope = op.envelope
        self.delivered_seq = max(self.delivered_seq, envelope.seq)
        if op.is_held:
            for cursor in self._cursors.values():
                if isinstance(cursor.consumer, KeptConsumer) and op.only in (None, cursor.worker):
                    cursor.consumer.note_held(envelope)
        try:
            self.outlet.deliver(envelope, op.size, op.only, op.is_held)
        except Exception:  # it is accepted, and the next ones are to be delivered
            log.exception("an event of kind %s could not be delivered", envelope.kind)

    async def replay(
        self, session_id: str | None, after_seq: int, *, limit: int = 1_000
    ) -> list[EventEnvelope]:
        """Return accepted events of a session, or of the runtime's scope, after a `seq`, marked `replay`."""
        return await self.reader.run(
            partial(reading.replay, session_id=session_id, after=after_seq, limit=limit)
        )

    async def dropped_to(self) -> int:
        """Return the `seq` up to which events may be gone, as too old or too many."""
        entry = await self.get(DROPPED_TO)
        return 0 if entry is None else int(entry.value)

    def let_go(self, held: Collection[int]) -> None:
        """Give no worker these events, by `seq`, which are held back; the log says where that fails."""
        for cursor in self._cursors.values():
            if isinstance(cursor.consumer, KeptConsumer):
                cursor.consumer.let_go(held)
            else:
                for seq in held:
                    cursor.outstanding.pop(seq, None)
        self.write(*self._cursors.values())
        if held and self._writer is not None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.add_done_callback(partial(_say_not_let_go, count=len(held)))
            self._writer.put(Call(partial(take_from_workers, numbers=[*held]), future))

    # -- workers ---------------------------------------------------------------------------------------

    def subscribe(
        self,
        worker: str,
        kinds: Collection[str] | None,
        *,
        start: int | None = None,
        watcher: BacklogWatcher | None = None,
    ) -> KeptConsumer:
        """Return the events of a worker that it has not handled, and those that are published from now on.

        Raises:
            Conflict: a consumer of the worker is open.
        """
        cursor = self._cursors.get(worker)
        if cursor is not None and cursor.consumer is not None:
            raise Conflict(f"{worker} has its events already; close its consumer first", code="DN713")
        since = self.seq_of(self.start if start is None else start)
        wanted: dict[str | None, int] = {None: since} if kinds is None else dict.fromkeys(kinds, since)
        is_new = cursor is None and since == self.latest_seq
        if cursor is None:
            cursor = self._cursors[worker] = Cursor(worker, wanted, since, self.clock.now().isoformat())
        else:
            cursor.listen(wanted, self.latest_seq)
        consumer = KeptConsumer(self, cursor, watcher, is_new=is_new)
        cursor.consumer = cursor.last = consumer
        self.outlet.remember(consumer)
        self.write(cursor)
        return consumer

    def seq_of(self, start: int) -> int:
        """Return the `seq` after which a worker begins.

        Raises:
            Invalid: there is no such event yet.
        """
        return begin_of(start, self.latest_seq)

    def expect(self, worker: str) -> int:
        """Note that a worker starts that names its kinds later; returns the `seq` since which they begin."""
        cursor, since = self._cursors.get(worker), self.seq_of(self.start)
        if cursor is None:
            cursor = self._cursors[worker] = Cursor(worker, {}, since, self.clock.now().isoformat())
            self.write(cursor)
        return since if cursor.kinds else cursor.handled_to

    def listened(self, worker: str) -> Collection[str]:
        """Return the kinds that a worker has named and still listens to."""
        cursor = self._cursors.get(worker)
        return () if cursor is None else [kind for kind in cursor.kinds if kind is not None]

    def knows(self, worker: str) -> bool:
        """Return whether a worker has a cursor."""
        return worker in self._cursors

    def consumer(self, worker: str) -> KeptConsumer | None:
        """Return the open consumer of a worker."""
        cursor = self._cursors.get(worker)
        opened = None if cursor is None else cursor.consumer
        return opened if isinstance(opened, KeptConsumer) else None

    def count_ends(self, worker: str, *, is_wanted: bool = True) -> None:
        """Do nothing: the ends of all workers' handlers are counted."""

    async def cursors(self) -> list[CursorInfo]:
        """Return how far each worker is, also of those that are gone."""
        found = []
        for cursor in [self._cursors[worker] for worker in sorted(self._cursors)]:
            if cursor.consumer is not None:
                cursor.consumer.note_position()
            found.append(await self._info(cursor))
        return found

    async def reset(self, worker: str, start: int) -> None:
        """Let a worker that is not here begin at `start`.

        Raises:
            NotFound, Conflict: the broker does not know it; a consumer of it is open.
            Invalid: there is no such event yet.
            NotStored: it cannot be written.
        """
        before = self._gone(worker)
        after = copy(before)
        after.reset(self.seq_of(start))
        after.last = None
        await self._exchange(before, after)

    async def drop(self, worker: str) -> None:
        """Forget a worker that is not here.

        Raises:
            NotFound, Conflict, NotStored: as of `reset`.
        """
        await self._exchange(self._gone(worker), None)

    async def _exchange(self, before: Cursor, after: Cursor | None) -> None:
        """Have another cursor for a worker, or none; it stays as it is where that cannot be written."""
        worker, last = before.worker, before.last
        self._forget(before)
        if after is not None:
            self._cursors[worker] = after
        try:
            await self._put_rows({worker: None if after is None else row_of(after)}, is_patient=False)
        except NotStored:
            is_here = after is not None and after.consumer is not None
            if self._cursors.get(worker) is after and not is_here:
                before.last, self._cursors[worker] = last, before
                self.mark(before)
            raise

    def _gone(self, worker: str) -> Cursor:
        cursor = self._cursors.get(worker)
        if cursor is None:
            known = ", ".join(sorted(self._cursors)) or "none"
            raise NotFound(f"no worker {worker} is known; those that are: {known}", code="DN301")
        if cursor.consumer is not None:
            raise Conflict(f"{worker} is running; stop it first", code="DN713")
        return cursor

    def _forget(self, cursor: Cursor) -> None:
        self._cursors.pop(cursor.worker, None)
        self._marked.pop(cursor.worker, None)
        cursor.last = None

    def keep_house(self) -> None:
        """Note who is here, forget who is gone for a day, and have the file shortened; done by itself."""
        if self._writer is None:  # it is closed, though what was on its way is delivered still
            return
        if self._house is not None:
            self._house.cancel()
        self._house = asyncio.get_running_loop().call_later(HOUSE_SECONDS, self.keep_house)
        self._kept_house_at = self.delivered_seq
        now = self.clock.now()
        for cursor in [*self._cursors.values()]:
            if cursor.consumer is not None:
                self.mark(cursor)
            elif now - max(datetime.fromisoformat(cursor.seen_at), self._opened_at) > GONE_AFTER:
                self._forget(cursor)
                self._put_rows({cursor.worker: None})
                farewell = asyncio.get_running_loop().create_task(self._say_gone(cursor))
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)
        self._writer.tidy_up()

    async def _say_gone(self, cursor: Cursor) -> None:
        try:
            pending = (await self._info(cursor)).pending + sum(cursor.former.counts().values())
            waited = f"with {pending} events that waited for it"
        except BrokerError as exc:
            waited = f"with what waited for it: {exc}"
        log.warning("%s was not here for a day and is forgotten, %s", cursor.worker, waited)

    async def _info(self, cursor: Cursor) -> CursorInfo:
        return await self.reader.run(partial(reading.counted, info=cursor.info(), kinds=dict(cursor.kinds)))

    async def do(self, act: Callable[..., T]) -> T:
        """Return what a change of the file returns, once it is on disk.

        Raises:
            NotStored: it is not.
        """
        if self._writer is None or self._writer.is_lost:
            raise NotStored(self._why_refused())
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put(Call(act, future))
        return await future


def _say_not_let_go(future: asyncio.Future[None], count: int) -> None:
    if not future.cancelled() and (exc := future.exception()) is not None:
        log.error("%d events that were let go may come again after a restart: %s", count, exc)


def _answer(op: Op, problem: str | None) -> None:
    """Tell who waits for it what became of something."""
    future: asyncio.Future[Any] | None = op.future
    if future is None or future.done():
        return
    if problem is not None:
        future.set_exception(NotStored(problem))
        if isinstance(op, CursorRows):
            future.exception()  # most of them nobody waits for
    elif isinstance(op, Publication):
        future.set_result(Accepted(op.envelope if op.first is None else op.first, op.first is None))
    else:
        future.set_result(op.result if isinstance(op, Call) else None)
