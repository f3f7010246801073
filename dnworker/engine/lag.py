"""`LagSampler`: measures a few times a second how late the loop turns; the engine runs one while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL = 0.2
"""Seconds between two measurements; each costs the loop a few microseconds."""


class LagSampler:
    """Wakes at intervals by the loop's own clock, whatever clock the runtime has.

    Args:
        note: called with the moment at which the loop should have turned, and at which it did, in seconds of
            the monotonic clock.
    """

    def __init__(self, note: Callable[[float, float], object]) -> None:
        self._note = note
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def running(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Measure a loop until the block ends."""
        self._wait(loop)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(INTERVAL, self._woken, loop, loop.time() + INTERVAL)

    def _woken(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._note(due, loop.time())
        self._wait(loop)
