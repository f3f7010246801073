"""`QueuedEvents`: the events of one worker that are in memory, and its reader; the base of `KeptConsumer`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

from dnworker.core.envelope import EventEnvelope
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.kept.given import Desk, Given, GivenEvents


class QueuedEvents(GivenEvents):
    """Queues what the worker is next to get; whoever iterates over it is its reader."""

    def __init__(self, desk: Desk, cursor: Cursor) -> None:
        super().__init__(desk, cursor)
        self._queue: deque[Given] = deque()
        self._bytes = 0
        # The reader.
        self._waiter: asyncio.Future[None] | None = None
        self._empty: asyncio.Future[None] | None = None

    def _enqueue(self, given: Given) -> None:
        self._queue.append(given)
        self._bytes += given.size
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pop(self) -> EventEnvelope:
        """Return the next event as one that the reader has."""
        raise NotImplementedError

    def _is_reading(self) -> bool:
        """Return whether more may be queued that is kept already."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventEnvelope:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            self._notify_empty()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._pop()

    def take(self) -> EventEnvelope | None:
        """Return the next event if one is queued."""
        return self._pop() if self._queue else None

    def queued(self) -> list[EventEnvelope]:
        """Return what is queued in memory."""
        return [given.envelope for given in self._queue]

    async def drained(self) -> None:
        """Return when the reader has taken all that was pending by now, or the consumer is closed."""
        if not self._closed and (self._queue or self._is_reading() or self._waiter is None):
            self._empty = self._empty or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)

    def _notify_empty(self) -> None:
        if not self._closed and (self._queue or self._is_reading()):
            return
        waiting, self._empty = self._empty, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
