"""`Subscription`: the events that one subscriber has not read yet, in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import SubscriberTooSlow
from dnworker.events.brokers.base import NOW, DeliveryWatcher, Outlet

CROWD = 128
"""Events that wait in one subscription, above which publishers let the loop turn."""


class Subscription:
    """The events of one subscriber, in order of `seq`; iterate over it, then close it.

    Without a limit no event is lost. With one, of events or of bytes, a subscriber that falls behind gets
    what was queued, and then `SubscriberTooSlow`.
    """

    def __init__(
        self,
        outlet: Outlet,
        kinds: frozenset[str] | None,
        session_id: str | None,
        limit: int | None,
        replayed: Iterable[EventEnvelope] = (),
        watcher: DeliveryWatcher | None = None,
        owner: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        # What it wants, and for whom.
        self.goes_by_seq = False
        self.kinds = kinds
        self.session_id = session_id
        self.owner = owner
        self.watcher = watcher
        self._outlet = outlet
        # What is queued, and what was lost.
        self._queue = deque(replayed)
        self._limit = None if limit is None else limit + len(self._queue)
        self._max_bytes = max_bytes
        self._sizes: deque[int] | None = None if max_bytes is None else deque(0 for _ in self._queue)
        self._bytes = 0
        self._lost = 0
        self.on_overflow: Callable[[], None] | None = None
        """Called once, when the first event is lost."""
        # The reader.
        self._waiter: asyncio.Future[None] | None = None
        self._empty: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def lost(self) -> int:
        """How many events came after the limit was reached."""
        return self._lost

    def retarget(
        self,
        kinds: Collection[str] | None,
        start: int = NOW,
        *,
        lets_go: bool = False,
        is_trial: bool = False,
    ) -> None:
        """Receive other kinds from now on, whatever `start` says: nothing is kept.

        What is queued stays, and no event is missed or doubled.
        """
        self._outlet.forget(self)
        self.kinds = None if kinds is None else frozenset(kinds)
        self._outlet.remember(self)

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue one event of so many bytes; False when a limit was reached and it was not kept."""
        if self._lost or (self._limit is not None and self._is_full()):
            self._lost += 1
            if self._lost == 1 and self.on_overflow is not None:
                self.on_overflow()
            return False
        self._queue.append(envelope)
        if self._sizes is not None:
            self._sizes.append(size)
            self._bytes += size
        if self.watcher is not None:
            self.watcher.expect(envelope)
        if len(self._queue) > CROWD:
            self._outlet.is_crowded = True
        if self._waiter is not None:  # not so while a burst is taken
            self._wake()
        return True

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> EventEnvelope:
        while not self._queue:
            self._check_open()
            await self._wait_filled()
        return self._pop()

    def take(self) -> EventEnvelope | None:
        """Return the next event if one is queued; for readers that take many at once."""
        return self._pop() if self._queue else None

    def queued(self) -> list[EventEnvelope]:
        """Return what is queued."""
        return [*self._queue]

    def _pop(self) -> EventEnvelope:
        if self._sizes is not None:
            self._bytes -= self._sizes.popleft()
        return self._queue.popleft()

    def _is_full(self) -> bool:
        full = self._limit is not None and len(self._queue) >= self._limit
        return full or (self._max_bytes is not None and self._bytes >= self._max_bytes)

    def _check_open(self) -> None:
        """Raise what ends the iteration, once nothing is queued any more."""
        if self._closed:
            raise StopAsyncIteration
        if self._lost:
            raise SubscriberTooSlow(self._lost, self._limit or 0, self._max_bytes)

    async def _wait_filled(self) -> None:
        """Return when an event was queued, or the subscription was closed."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._notify_empty()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def drained(self) -> None:
        """Return when the reader has handled everything queued so far, or the subscription is closed."""
        if not self._closed and (self._queue or self._waiter is None):
            self._empty = self._empty or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)

    def _notify_empty(self) -> None:
        waiting, self._empty = self._empty, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def close(self) -> None:
        """Stop receiving; a waiting reader ends. May be called again."""
        self._closed = True
        if self.watcher is not None:
            for envelope in self._queue:
                self.watcher.delivered(envelope)
        self._queue.clear()
        if self._sizes is not None:
            self._sizes.clear()
        self._outlet.forget(self)
        self._notify_empty()
        self._wake()

    async def aclose(self) -> None:
        """Do the same as `close`, for callers that hold an async iterator."""
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
