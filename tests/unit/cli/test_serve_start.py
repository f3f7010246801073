"""`serve` hears that it is to end while it starts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from dnworker.cli.serve import _is_started


async def test_an_end_that_is_asked_for_during_the_start_is_heard():
    undone, began = [], []

    async def start() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            undone.append(True)

    stop = asyncio.create_task(asyncio.sleep(0))
    ending = SimpleNamespace(begin=lambda: began.append(True))
    async with asyncio.timeout(10):
        assert not await _is_started(SimpleNamespace(start=start), stop, ending)
    assert (undone, began) == ([True], [True])
