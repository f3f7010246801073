"""Time as a service: schedules and backoff ask a clock, never the event loop.

The kernel's loop is shared with every widget and socket, so it is never patched; what must be controlled
sleeps on a `Clock` instead.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Clock(Protocol):
    """What schedules, backoff and timestamps take their time from."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that stands still until `advance` moves it.

    Sleepers wake in the order of their deadlines, and those of the same moment in the order in which they
    went to sleep, so a run is the same every time.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2030, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """Return the virtual time of day, aware, in UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the virtual seconds since the clock was made."""
        return self._elapsed

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper is due, or None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock was advanced by `seconds`; at once when it is not positive."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), wake))
        await wake

    async def advance(self, seconds: float, settle: Callable[[], Awaitable[object]] | None = None) -> int:
        """Move time forward, waking every sleeper on the way, and return how many were woken.

        Args:
            seconds: how far to go; not negative.
            settle: awaited after each wake, to let what woke run until it sleeps again. By default the
                loop turns a few dozen times, which is enough for code that awaits no real I/O.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back; advance({seconds!r})")
        settle = settle or turn_loop
        await settle()
        end = self._elapsed + seconds
        woken = 0
        while (wait := self.next_wake) is not None and self._elapsed + wait <= end + 1e-9:
            deadline, _, wake = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, deadline)
            wake.set_result(None)
            woken += 1
            await settle()
        self._elapsed = max(self._elapsed, end)
        return woken


async def turn_loop(times: int = 32) -> None:
    """Let everything that is ready run, `times` turns of the loop deep."""
    for _ in range(times):
        await asyncio.sleep(0)
