"""What still runs is named by its worker, its handler and its place."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dnworker import Worker
from dnworker.engine.left_behind import left_behind


@pytest.fixture
def worker():
    return Worker(name="w")


async def until(condition):
    """Return when it holds; the test's own limit ends what hangs."""
    while not condition():
        await asyncio.sleep(0.01)


async def test_a_handler_that_awaits_is_named_with_its_line(runtime, worker):
    begun, ends = asyncio.Event(), asyncio.Event()

    async def deeper():
        begun.set()
        await ends.wait()  # here

    @worker.on_event("a")
    async def on_a(event, client):
        await deeper()

    await runtime.add(worker)
    await runtime.fire("a", wait=False)
    await begun.wait()
    (line,) = [
        one for one in left_behind(runtime, asyncio.get_running_loop()) if one.startswith("notebook:w.on_a")
    ]
    ends.set()
    assert line.startswith("notebook:w.on_a (event) is at ")
    assert "test_left_behind.py, line" in line
    assert line.endswith("await ends.wait()  # here")


@pytest.mark.parametrize("by_partial", [False, True])
async def test_a_thread_is_named_with_the_handler_that_waits_for_it(runtime, worker, by_partial):
    begun, ends = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert ends.wait(30)

    @worker.on_event("a")
    async def on_a(event, client):
        if by_partial:  # no code of the user's is on the thread
            begun.set()
            await asyncio.to_thread(ends.wait, 30)
        else:
            await asyncio.to_thread(work)

    await runtime.add(worker)
    await runtime.fire("a", wait=False)
    await until(begun.is_set)

    def named():
        return [one for one in left_behind(runtime, None) if one.startswith("thread") and "on_a" in one]

    await until(named)
    (line,) = named()
    ends.set()
    await runtime.settle()
    assert "of notebook:w.on_a (event) is at " in line
    assert "test_left_behind.py, line" in line
    assert ("Event.wait, called for the handler at" in line) == by_partial


async def test_an_idle_thread_of_a_pool_is_not_left_behind(runtime):
    await asyncio.to_thread(lambda: None)
    assert [one for one in left_behind(runtime, None) if one.startswith("thread asyncio_")] == []


async def test_a_generator_that_is_open_is_named(runtime):
    async def numbers():
        yield 1

    opened = numbers()
    await anext(opened)
    (line,) = [one for one in left_behind(runtime, None, [opened]) if one.startswith("a generator")]
    await opened.aclose()
    assert "test_left_behind.py, line" in line
    assert left_behind(runtime, None, [opened]) == left_behind(runtime, None)


async def test_a_task_of_a_library_is_not_named(runtime):
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    named = left_behind(runtime, asyncio.get_running_loop())
    task.cancel()
    assert [one for one in named if "sleep" in one] == []
