"""`Pressure`: makes publishers wait while the queue of a worker process is full; the bus has one."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol


class Blocking(Protocol):
    """The queue of one worker process, as publishers see it."""

    def wants(self, kind: str, session_id: str | None, only: str | None) -> bool:
        """Return whether such an event would come into it."""

    def blocks(self, kind: str, session_id: str | None, only: str | None) -> bool:
        """Return whether it wants such an event, and has no room for it."""


_Waiting = deque[asyncio.Future[None]]


class Pressure:
    """Which queues are full, and who waits for them.

    Publishers that wait go on one by one, in the order in which they came: each has published before the next
    one looks, so that all together do not overfill a queue.
    """

    def __init__(self) -> None:
        self._full: dict[Blocking, _Waiting] = {}
        self._released: dict[Blocking, _Waiting] = {}
        """Queues with room whose waiting publishers go on now."""

    def __bool__(self) -> bool:
        """Whether anybody may have to wait; what is published all the time looks here first."""
        return bool(self._full or self._released)

    @property
    def waiting(self) -> int:
        """How many publishers wait."""
        return sum(map(len, [*self._full.values(), *self._released.values()]))

    def begin(self, queue: Blocking) -> None:
        """Note that a queue is full."""
        if queue not in self._full:
            self._full[queue] = self._released.pop(queue, deque())

    def end(self, queue: Blocking) -> None:
        """Note that there is room in it again, or that nobody is to wait for it any more."""
        if (waiting := self._full.pop(queue, None)) is not None:
            self._released[queue] = waiting
            self._release(queue)

    async def room(self, kind: str, session_id: str | None = None, only: str | None = None) -> None:
        """Return when no queue that wants such an event is full; call it just before it is published.

        It ends when the reader takes something, or when `WorkerQueue` loses patience with it.
        """
        queue = self._blocking(kind, session_id, only) or self._busy(kind, session_id, only)
        is_new = True
        while queue is not None:
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._full[queue] if queue in self._full else self._released[queue]
            if is_new:
                waiting.append(mine)
            else:  # it was its turn, and the room did not last
                waiting.appendleft(mine)
            try:
                await mine
            finally:
                if mine.cancelled() and mine in waiting:
                    waiting.remove(mine)
                asyncio.get_running_loop().call_soon(self._release, queue)  # after what I publish
            queue, is_new = self._blocking(kind, session_id, only), False

    async def room_within(
        self, seconds: float | None, kind: str, session_id: str | None, only: str | None
    ) -> None:
        """Do the same for so many seconds at most; the event takes of a full queue's reserve then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.room(kind, session_id, only)

    def _blocking(self, kind: str, session_id: str | None, only: str | None) -> Blocking | None:
        return next((queue for queue in self._full if queue.blocks(kind, session_id, only)), None)

    def _busy(self, kind: str, session_id: str | None, only: str | None) -> Blocking | None:
        """Return a queue with room that others wait for since before: who comes now overtakes nobody."""
        waited_for = (queue for queue, waiting in self._released.items() if waiting)
        return next((queue for queue in waited_for if queue.wants(kind, session_id, only)), None)

    def _release(self, queue: Blocking) -> None:
        """Let the first of those who wait go on, while there is room."""
        waiting = self._released.get(queue)
        while waiting:
            first = waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._released.pop(queue, None)
