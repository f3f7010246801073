"""Cuts off WebSocket clients that do not read; used by all sockets of the server.

uvicorn's `send` waits as long as the client takes nothing, so neither a notice nor a close can be sent to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.types import Scope

from dnworker.server.websocket_protocol import wire_of

DRAIN_SECONDS = 6.0
"""Seconds in which a client that fell behind must read what was queued; it is told then, or cut off."""


async def within(scope: Scope, sending: Awaitable[object]) -> bool:
    """Await what sends something; if it takes too long, cut the client off. Returns whether it was sent."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await sending
    except TimeoutError:
        cut_off(scope)
        return False
    return True


def cut_off(scope: Scope) -> None:
    """End a connection at once."""
    if (wire := wire_of(scope)) is not None:
        wire.abort()
