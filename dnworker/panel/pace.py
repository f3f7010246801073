"""`Pace`: lets the loop turn while an update of a view goes on; `view` and `worker_changes` work by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LONGEST = 0.005
"""Seconds of work after which the loop gets its turn: handlers and the API wait no longer for a panel."""


class Pace:
    """Measures how long an update has kept the loop; call `rest` between small pieces of work."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._since = now()

    async def rest(self) -> None:
        """Let the loop turn if it has waited for long; costs nothing else."""
        if self._now() - self._since >= LONGEST:
            await asyncio.sleep(0)
            self._since = self._now()
