"""`Waiters`: who waits for a change that somebody else makes; the history has one."""

from __future__ import annotations

import asyncio


class Waiters:
    """Wakes all that wait, each time that something has changed. Use it on one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Let all that wait now look again."""
        if not self._waiting:  # which is so for most changes, and each event is two
            return
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
