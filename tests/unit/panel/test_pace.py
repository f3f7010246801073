"""The turns that an update of a view gives to the loop."""

from __future__ import annotations

import asyncio

from dnworker.panel.pace import LONGEST, Pace


async def turns_while(pace: Pace) -> int:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await pace.rest()
    counting.cancel()
    return turns


async def test_a_rest_after_little_work_does_not_let_the_loop_turn():
    assert await turns_while(Pace(lambda: 0.0)) == 0


async def test_a_rest_after_long_work_lets_the_loop_turn_once():
    now = iter([0.0, LONGEST, LONGEST, LONGEST])
    pace = Pace(lambda: next(now))
    assert await turns_while(pace) == 1
    assert await turns_while(pace) == 0
