"""`Delays`: events that come again at a time of the clock."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime

from dnworker.core.clock import ROUNDING, Clock


class Delays:
    """Calls `come` with each number once its time has come, in order of these times."""

    def __init__(self, clock: Clock, come: Callable[[int], None]) -> None:
        self._clock = clock
        self._come = come
        self._waiting: list[tuple[float, int]] = []
        self._sleeper: asyncio.Task[None] | None = None

    def add(self, when: float, number: int) -> None:
        """Wait until a time, in seconds since 1970 of the clock."""
        is_first = not self._waiting or when < self._waiting[0][0]
        heapq.heappush(self._waiting, (when, number))
        if is_first:
            self.stop()
            self._sleeper = asyncio.get_running_loop().create_task(
                self._wait(), name="dnworker broker delays"
            )

    def stop(self) -> None:
        """Call nothing more, until another is added."""
        if self._sleeper is not None:
            self._sleeper.cancel()
            self._sleeper = None

    async def _wait(self) -> None:
        while self._waiting:
            when, number = self._waiting[0]
            if self._clock.now().timestamp() < when - ROUNDING:
                await self._clock.sleep_until(datetime.fromtimestamp(when, UTC))
                continue
            heapq.heappop(self._waiting)
            self._come(number)
        self._sleeper = None
