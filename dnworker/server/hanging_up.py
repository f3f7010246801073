"""Waits on behalf of an HTTP client, until it hangs up; used by endpoints that may wait long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

T = TypeVar("T")


async def while_there(receive: Receive, waiting: Coroutine[Any, Any, T]) -> T:
    """Return what `waiting` returns; it is cancelled when the client hangs up.

    Raises:
        ClientDisconnect: it has.
    """
    gone = asyncio.create_task(_until_hung_up(receive), name="hanging up")
    try:
        async with asyncio.timeout(None) as limit:
            end_wait = partial(_end, limit)
            gone.add_done_callback(end_wait)
            return await waiting
    except TimeoutError:
        raise ClientDisconnect from None
    finally:
        gone.remove_done_callback(end_wait)
        gone.cancel()


def _end(limit: asyncio.Timeout, _: object) -> None:
    limit.reschedule(asyncio.get_running_loop().time())


async def _until_hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
