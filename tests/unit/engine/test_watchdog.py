"""A loop that stands still is noticed, and explained."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from dnworker import Worker
from dnworker.engine.watchdog import Watchdog


@pytest.fixture
async def watched():
    """A watchdog on the test's own loop, quick, with what it told."""
    told = type("Told", (), {"blocked": threading.Event(), "released": asyncio.Event()})()
    dog = Watchdog(
        asyncio.get_running_loop(),
        on_blocked=lambda block: told.blocked.set(),
        on_released=lambda block: told.released.set(),
        threshold=0.05,
        interval=0.01,
    )
    dog.start()
    dog.told = told
    yield dog
    dog.stop()


async def test_code_that_holds_the_loop_is_named_with_its_line(watched):
    assert watched.told.blocked.wait(10)  # blocks the loop until the watchdog says so
    block = watched.block
    assert "test_watchdog.py, line" in block.location
    assert "blocked.wait(10)" in block.source
    assert block.invocation is None
    await asyncio.wait_for(watched.told.released.wait(), 10)
    assert (block.over, watched.block, watched.blocks[-1]) == (True, None, block)
    assert block.seconds >= 0.05


async def test_a_handler_that_holds_the_loop_is_named(watched, runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def on_a(event, client):
        watched.told.blocked.clear()  # a busy machine may have made the loop stand still before
        assert watched.told.blocked.wait(10)

    await runtime.add(worker)
    await runtime.fire("a")
    block = watched.blocks[-1]
    assert block.invocation.label == block.who == "notebook:w.on_a"


async def test_an_agent_that_holds_the_loop_is_named(watched, runtime):
    async def reply(turn):
        watched.told.blocked.clear()
        assert watched.told.blocked.wait(10)
        return "done"

    runtime.agents.register("slow", reply)
    await runtime.client().run_turn(session_id="s", message="m", agent="slow")
    block = watched.blocks[-1]
    assert block.invocation is not None
    assert block.invocation.cause == "turn"


async def test_a_loop_that_turns_is_left_alone(watched):
    assert watched.blocked_for < 10
    assert watched.block is None


async def test_a_loop_that_stood_still_unseen_is_noted_when_it_turns(watched):
    watched.stop()  # as if no other thread could run
    watched._pinged = time.monotonic() - 1
    watched._answer()
    block = watched.blocks[-1]
    assert watched.told.released.is_set()
    assert block.over
    assert not block.is_known


async def test_a_loop_that_is_stopped_on_purpose_is_no_block(watched):
    with watched.stopped_on_purpose(), watched.stopped_on_purpose():
        watched.told.blocked.wait(0.3)
    await asyncio.sleep(0)
    assert not watched.blocks
    await asyncio.to_thread(lambda: None)
    time.sleep(0.5)
    await asyncio.sleep(0)
    assert watched.told.blocked.is_set()
