"""Who tells what waits of former kinds, where the worker turns out to be another runtime's."""

from __future__ import annotations

import asyncio

from dnworker.core.errors import NotStored
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.kept.leaving import Leaving


async def test_a_consumer_whose_worker_is_another_runtimes_tells_nothing_and_asks_once():
    cursor = Cursor("demo:w", {"demo.go": 0}, 0, "")
    cursor.former.leave("demo.old", 0, 5, 0)
    asked = 0

    async def get_ready() -> None:
        nonlocal asked
        asked += 1
        raise NotStored("another node has it")

    leaving = Leaving(None, cursor, (), get_ready)
    leaving.look()
    for _ in range(10):
        await asyncio.sleep(0)
    leaving.stop()
    assert asked == 1
