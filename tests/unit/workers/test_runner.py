"""The in-process runner: start, stop and swap, in their order, whatever handlers do."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker, WorkerState
from dnworker.core.clock import turn_loop
from dnworker.workers.runner import NotStarted, WorkerRunner

from .stage import Stage


@pytest.mark.clause("2.1 startup")
@pytest.mark.clause("14.3")
async def test_startup_runs_in_order_before_anything_else(stage):
    said = []

    @stage.worker.on_startup
    async def first(client):
        stage.bus.publish("a")  # published while starting: held, not lost
        said.append("first")

    @stage.worker.on_startup
    async def second(client):
        await asyncio.sleep(0)
        said.append("second")

    @stage.worker.on_event("a")
    async def on_a(event, client):
        said.append("event")

    await stage.runner.start()
    await turn_loop()
    assert said == ["first", "second", "event"]
    assert [s for s, _ in stage.states] == ["starting", "running"]


@pytest.mark.clause("2.1 failure")
async def test_the_first_startup_failure_is_the_error_and_nothing_else_starts(stage):
    said = []

    @stage.worker.on_startup
    async def fails(client):
        raise ValueError("no door")

    @stage.worker.on_startup
    async def later(client):
        said.append("later")

    @stage.worker.task
    async def task(client):
        said.append("task")

    await stage.runner.start()
    await turn_loop()
    assert (stage.states[-1], said) == (("error", "no door"), [])


@pytest.mark.clause("2.5 order")
async def test_stop_cancels_what_runs_and_then_shuts_down_in_reverse(stage):
    said = []

    @stage.worker.on_event("a")
    async def slow(event, client):
        try:
            await asyncio.Event().wait()
        finally:
            said.append("cancelled")

    @stage.worker.on_shutdown
    async def first(client):
        said.append("first")

    @stage.worker.on_shutdown
    async def second(client):
        said.append("second")

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    await stage.runner.stop()
    await stage.runner.stop()
    assert said == ["cancelled", "second", "first"]
    assert stage.states[-1] == ("stopped", None)


@pytest.mark.clause("2.5 errors")
async def test_shutdown_errors_are_attached_to_stopped(stage):
    @stage.worker.on_shutdown
    async def a(client):
        raise ValueError("X")

    @stage.worker.on_shutdown
    async def b(client):
        raise ValueError("X")

    await stage.runner.start()
    await stage.runner.stop()
    prefix = "test_shutdown_errors_are_attached_to_stopped.<locals>"
    assert stage.states[-1] == ("stopped", f"shutdown errors: {prefix}.b: X; {prefix}.a: X")


@pytest.mark.clause("13.10")
@pytest.mark.clause("14.6")
async def test_a_shutdown_handler_that_hangs_is_cut_off(stage):
    @stage.worker.on_shutdown
    async def hangs(client):
        await asyncio.Event().wait()

    await stage.runner.start()
    await stage.runner.stop()
    assert "took longer than 0.05 s" in stage.runner.error


@pytest.mark.clause("13.10")
async def test_a_handler_that_ignores_cancellation_does_not_hold_up_stop(stage):
    release = asyncio.Event()

    @stage.worker.on_event("a")
    async def stubborn(event, client):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    await stage.runner.stop()
    assert stage.runner.state is WorkerState.STOPPED
    release.set()
    await turn_loop()


async def test_stop_ends_a_startup_that_hangs(stage):
    @stage.worker.on_startup
    async def hangs(client):
        await asyncio.Event().wait()

    starting = asyncio.create_task(stage.runner.start())
    await turn_loop()
    await stage.runner.stop()
    await starting
    assert stage.runner.state is WorkerState.STOPPED


async def test_a_swap_lets_runs_under_way_finish_on_their_old_code(stage):
    said, release = [], asyncio.Event()

    @stage.worker.on_event("a")
    async def old(event, client):
        await release.wait()
        said.append("old")

    async def new(event, client):
        said.append("new")

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    after = Worker("w")
    after.on_event("a")(new)
    await stage.runner.swap(after)
    stage.bus.publish("a")
    release.set()
    await turn_loop()
    assert sorted(said) == ["new", "old"]
    assert stage.runner.generation == 2


async def test_an_interrupted_stop_goes_on_and_all_who_stop_wait_for_it():
    stage = Stage(grace=5)
    said, release = [], asyncio.Event()

    @stage.worker.on_shutdown
    async def slow(client):
        await release.wait()
        said.append("down")

    await stage.runner.start()
    interrupted = asyncio.create_task(stage.runner.stop())
    await turn_loop()
    interrupted.cancel()
    second = asyncio.create_task(stage.runner.stop())
    await turn_loop()
    release.set()
    await second
    assert (said, stage.runner.state) == (["down"], WorkerState.STOPPED)


async def test_an_interrupted_startup_is_an_error_and_its_handler_ends(stage):
    said = []

    @stage.worker.on_startup
    async def hangs(client):
        try:
            await asyncio.Event().wait()
        finally:
            said.append("ended")

    starting = asyncio.create_task(stage.runner.start())
    await turn_loop()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (said, stage.runner.state, stage.runner.error) == (
        ["ended"],
        WorkerState.ERROR,
        "startup was interrupted",
    )


async def test_a_startup_that_is_cancelled_from_within_is_an_error(stage):
    @stage.worker.on_startup
    async def cancelled(client):
        raise asyncio.CancelledError

    await stage.runner.start()
    assert stage.runner.state is WorkerState.ERROR
    assert "something that the handler awaited was cancelled" in stage.runner.error
    assert f"({__file__}, line " in stage.runner.error


async def test_a_generation_that_ends_itself_while_it_warms_up_does_not_take_over(stage):
    await stage.runner.start()
    after = Worker("w")
    new = WorkerRunner(after, stage.client, event_source=stage.bus.subscribe, clock=stage.clock, grace=0.05)

    @after.on_startup
    async def start(client):
        asyncio.get_running_loop().call_soon(new.escapes.take, SystemExit(3), "a task")
        await asyncio.Event().wait()

    with pytest.raises(NotStarted, match=r"a task ended itself: SystemExit: 3"):
        await new.warm_up(stage.runner)
    await new.discard()
    assert stage.runner.state is WorkerState.RUNNING
    await stage.runner.stop()
