"""`SideThreads`: threads of the runtime's own, for long work of the panel and of maps, beside the loop.

Those of `asyncio.to_thread` are not for it: handlers fill them, and what waits behind them stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS = 2


class SideThreads:
    """A few threads, started when they are needed first."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function on one of the threads, and return what it returns."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dnworker side")
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def close(self) -> None:
        """Let the threads end with what they do; what waits for one is cancelled. May be called again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
