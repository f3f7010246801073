"""A time limit stands still while the loop is stopped on purpose."""

from __future__ import annotations

import asyncio
import time

import pytest

from dnworker.core.time_limits import extend_time_limits, time_limit


async def test_a_limit_that_is_extended_before_the_loop_turns_does_not_end_its_body():
    async with time_limit(0.05):
        time.sleep(0.1)
        extend_time_limits(10, asyncio.get_running_loop())
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_limit_ends_its_body_when_its_time_is_up():
    with pytest.raises(TimeoutError):
        async with time_limit(0.01):
            await asyncio.Event().wait()


async def test_no_limit_and_limits_of_other_loops_are_left_alone():
    other = asyncio.new_event_loop()
    async with time_limit(None) as none, time_limit(100) as some:
        before = some.when()
        extend_time_limits(10, other)
        assert some.when() == before
        extend_time_limits(10, asyncio.get_running_loop())
        assert none.when() is None
        assert some.when() == before + 10
    other.close()
