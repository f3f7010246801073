"""`time_limit`: a limit whose time stands still while a debugger stops the loop on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_limits: dict[asyncio.Timeout, asyncio.AbstractEventLoop] = {}
"""The limits that are in effect, and the loop of each."""


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Limit the body to `seconds`, as `asyncio.timeout` does; None for no limit.

    Raises:
        TimeoutError: the time was up before the body ended.
    """
    async with asyncio.timeout(seconds) as limit:
        _limits[limit] = asyncio.get_running_loop()
        try:
            yield limit
        finally:
            del _limits[limit]


def extend_time_limits(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    """Give every limit of a loop that stood still for `seconds` as many more, before the loop turns."""
    for limit, its_loop in [*_limits.items()]:
        if its_loop is loop and (when := limit.when()) is not None:
            with suppress(RuntimeError):  # its time was up before, and it is about to say so
                limit.reschedule(when + seconds)
