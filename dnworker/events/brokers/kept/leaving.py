"""`Leaving`: counts what waits of kinds that a worker names no more, and tells of it; a consumer has one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import BrokerError, NotStored
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.kept.former import Former
from dnworker.events.brokers.kept.given import Desk
from dnworker.events.brokers.left_events import LeftEvents

log = logging.getLogger("dnworker.broker")

SAID_AFTER = 0.3
"""Seconds for which a kind may be named again, as while a worker starts, before anybody is told."""

RETRY_SECONDS = 1.0
PAGE_EVENTS, PAGE_BYTES = 1_000, 8_000_000

MOST_COUNTED = 50_000
"""Events of one kind that are counted; of more, the number that is told is this one."""

MOST_OUTSTANDING = 5_000
"""Events that were given before, and are looked at one by one."""


class Leaving:
    """Tells of every kind once that a worker has left with events of it.

    Args:
        desk: has the events, and is told.
        cursor: the worker's.
        has: the events that the worker has now, by `seq`: these do not wait, and may still end well.
        get_ready: returns when it is known where the worker begins.
    """

    def __init__(
        self, desk: Desk, cursor: Cursor, has: Container[int], get_ready: Callable[[], Awaitable[None]]
    ) -> None:
        self._desk = desk
        self._cursor = cursor
        self._has = has
        self._get_ready = get_ready
        self._task: asyncio.Task[None] | None = None
        self._reminded: set[str] = set()
        """Kinds that this one has told of."""
        self._stale: set[str] = set()
        """Kinds of which more may wait than was counted."""

    def look(self) -> None:
        """Tell soon of kinds that nobody was told of."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="dnworker former kinds")

    def look_again(self, kind: str) -> None:
        """Count anew what waits of a kind: an event of it comes again that the worker had."""
        self._stale.add(kind)
        self.look()

    def stop(self) -> None:
        """Tell nothing more: the next consumer of the worker does."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            await self._get_ready()
            self._tell_at_once()
            await asyncio.sleep(SAID_AFTER)
            while True:
                if await self._tell_all():
                    break
                await asyncio.sleep(RETRY_SECONDS)
        except NotStored:  # another runtime has the worker, and tells
            log.debug("%s: another consumer tells what it has left", self._cursor.worker)
            return
        finally:
            self._task = None
        former = self._cursor.former.kinds
        if self._cursor.returned or any(self._is_to_count(kind, one) for kind, one in former.items()):
            self.look()

    def _is_to_count(self, kind: str, former: Former) -> bool:
        return former.count < 0 or kind in self._stale

    def _tell_at_once(self) -> None:
        """Tell what is known: kinds that were named again, and those that were told before."""
        former, returned, self._cursor.returned = self._cursor.former, self._cursor.returned, []
        for kind in returned:
            if kind not in former.kinds:
                self._notify(kind, Former(0, 0, 0, count=0), is_news=False)
        for kind, one in former.kinds.items():
            if one.count > 0 and kind not in self._reminded:
                self._reminded.add(kind)
                self._notify(kind, one, is_news=False)

    async def _tell_all(self) -> bool:
        """Count what waits, and tell it; returns False where that is to be tried again."""
        try:
            floor = await self._desk.dropped_to()
            for kind, former in [*self._cursor.former.kinds.items()]:
                if self._is_to_count(kind, former) or former.since < floor:
                    await self._tell(kind, former)
            for kind, former in self._cursor.former.overflow():
                self._notify(kind, former, is_kept=False, why="too many kinds are")
        except NotStored:
            raise
        except BrokerError as exc:
            log.warning("%s: what waits of its former kinds is not counted yet: %s", self._cursor.worker, exc)
            return False
        return True

    async def _tell(self, kind: str, former: Former) -> None:
        self._stale.discard(kind)
        waiting = await self._waiting(kind, former)
        if self._cursor.former.kinds.get(kind) is not former:
            return  # it was named again meanwhile
        before, former.count = former.count, len(waiting)
        if waiting:
            former.oldest, former.newest = waiting[0], waiting[-1]
        elif not self._cursor.outstanding:
            self._cursor.former.forget(kind)
        if before > len(waiting):
            gone = Former(0, 0, 0, before - len(waiting), former.oldest, former.newest)
            self._notify(kind, gone, is_kept=False, why="they were too old or too many, or purged")
        if waiting or before > 0:
            self._reminded.add(kind)
            self._notify(kind, former, is_news=before < len(waiting))
        self._desk.mark(self._cursor)

    def _notify(
        self, kind: str, one: Former, *, is_kept: bool = True, why: str = "", is_news: bool = True
    ) -> None:
        worker = self._cursor.worker
        self._desk.left.notify(
            LeftEvents(worker, kind, max(one.count, 0), one.oldest, one.newest, is_kept, why, is_news=is_news)
        )

    async def _waiting(self, kind: str, former: Former) -> list[str]:
        """Return when the events of a kind were published that the worker has not handled, in order."""
        found: dict[int, str] = {}
        after = former.since
        while after < former.upto and len(found) < MOST_COUNTED:
            page = await self._desk.page(
                {kind: after},
                after,
                former.upto,
                most=PAGE_EVENTS,
                max_bytes=PAGE_BYTES,
                worker=self._cursor.family,
            )
            for stored in page.events:
                if stored.only in (None, self._cursor.family):
                    self._add(found, stored.envelope, kind)
            after = page.reached
        seqs = [seq for seq in sorted(self._cursor.outstanding)[:MOST_OUTSTANDING] if seq not in found]
        for stored in await self._desk.by_seq(seqs) if seqs else []:
            self._add(found, stored.envelope, kind, is_outstanding=True)
        return [found[seq] for seq in sorted(found)]

    def _add(
        self, found: dict[int, str], envelope: EventEnvelope, kind: str, *, is_outstanding: bool = False
    ) -> None:
        cursor, seq = self._cursor, envelope.seq
        is_waiting = seq not in self._has and (is_outstanding or cursor.former.waits(kind, seq))
        if envelope.kind == kind and is_waiting and cursor.share.has(envelope):
            found[seq] = envelope.timestamp.isoformat()
