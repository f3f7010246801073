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


async def turned(watched):
    """Return when the loop turns: a busy machine may have made it stand still before."""
    while watched.block is not None:
        await asyncio.sleep(0)


def held(watched):
    """Hold the loop until the watchdog has noticed; returns the block."""
    while watched.block is None:
        time.sleep(0.01)
    return watched.block


async def test_code_that_holds_the_loop_is_named_with_its_line(watched):
    await turned(watched)
    block = held(watched)
    assert "test_watchdog.py, line" in block.location
    assert "time.sleep(0.01)" in block.source or "watched.block is None" in block.source
    assert block.invocation is None
    assert block in watched.blocks
    while not block.over:
        await asyncio.sleep(0)
    assert watched.told.blocked.is_set()
    assert watched.told.released.is_set()
    assert block.seconds >= 0.05


async def test_a_handler_that_holds_the_loop_is_named(watched, runtime):
    worker, blocks = Worker(name="w"), []

    @worker.on_event("a")
    async def on_a(event, client):
        await turned(watched)
        blocks.append(held(watched))

    await runtime.add(worker)
    await runtime.fire("a")
    (block,) = blocks
    assert block.invocation.label == block.who == "notebook:w.on_a"


async def test_an_agent_that_holds_the_loop_is_named(watched, runtime):
    blocks = []

    async def reply(turn):
        await turned(watched)
        blocks.append(held(watched))
        return "done"

    runtime.agents.register("slow", reply)
    await runtime.client().run_turn(session_id="s", message="m", agent="slow")
    (block,) = blocks
    assert block.invocation is not None
    assert block.invocation.cause == "turn"


async def test_a_loop_that_turns_is_left_alone(watched):
    await turned(watched)
    assert watched.blocked_for < 10


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
        before = [*watched.blocks]
        time.sleep(0.15)
        stopped_at = time.monotonic()
        time.sleep(0.15)
        assert [*watched.blocks] == before
    await asyncio.sleep(0)
    assert not [one for one in watched.blocks if one.began <= stopped_at <= one.began + one.seconds]
    await turned(watched)
    assert held(watched) in watched.blocks
