"""The virtual clock wakes sleepers in order, and nothing else moves."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.clock import VirtualClock


async def note(clock, seconds, name, woken):
    await clock.sleep(seconds)
    woken.append((name, clock.monotonic()))


async def test_sleepers_wake_in_the_order_of_their_deadlines():
    clock, woken = VirtualClock(), []
    tasks = [asyncio.create_task(note(clock, s, s, woken)) for s in (3, 1, 2)]
    assert await clock.advance(10) == 3
    assert woken == [(1, 1), (2, 2), (3, 3)]
    await asyncio.gather(*tasks)


async def test_sleepers_of_one_moment_wake_in_the_order_they_lay_down():
    clock, woken = VirtualClock(), []
    tasks = [asyncio.create_task(note(clock, 5, n, woken)) for n in range(10)]
    await clock.advance(5)
    assert [name for name, _ in woken] == list(range(10))
    await asyncio.gather(*tasks)


async def test_time_stands_still_between_advances():
    clock = VirtualClock()
    before = clock.now()
    await asyncio.sleep(0)
    assert clock.now() == before


async def test_who_sleeps_again_is_woken_again_within_one_advance():
    clock, ticks = VirtualClock(), []

    async def tick():
        while True:
            await clock.sleep(10)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(35)
    task.cancel()
    assert ticks == [10, 20, 30]
    assert clock.monotonic() == 35


async def test_a_cancelled_sleeper_is_forgotten():
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert clock.next_wake is None


async def test_a_clock_does_not_go_back():
    with pytest.raises(ValueError, match="cannot go back"):
        await VirtualClock().advance(-1)
