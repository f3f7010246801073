"""One handler: what it raises, and what stands around it."""

from __future__ import annotations

import traceback

import pytest

from dnworker import WorkerState
from dnworker.core.clock import turn_loop


@pytest.mark.parametrize("exc", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.clause("2.2 swallowed")
async def test_what_a_handler_raises_leaves_the_worker_running(stage, exc):
    @stage.worker.on_event("a")
    async def fails(event, client):
        raise exc

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    stats = stage.runner.stats["on_event", "a", "fails"]
    assert (stage.runner.state, stats.calls, stats.errors) == (WorkerState.RUNNING, 1, 1)
    assert stats.last_error.type == type(exc).__name__
    assert stats.last_error.frames[-1].source == "raise exc"


async def test_an_exception_that_is_raised_in_every_run_keeps_the_frames_of_the_last_alone(stage):
    always = {"a": ValueError("always the same"), "b": ValueError("from another handler")}

    async def fails(event, client):
        raise always[event.kind]

    async def passes_on(event, client):
        raise always["a"]

    for kind in always:
        stage.worker.on_event(kind)(fails)
    stage.worker.on_event("c")(passes_on)
    await stage.runner.start()
    for kind in "aaacacb":
        stage.bus.publish(kind)
        await turn_loop()
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(always["a"].__traceback__)]
    assert frames.count("fails") == 1
    assert frames.count("passes_on") == 1


@pytest.mark.clause("2.6 grouping")
async def test_handlers_run_inside_session_groups_with_the_contracts_titles(stage):
    async def one(*args): ...

    stage.worker.on_startup(one)
    stage.worker.on_event("a")(one)
    stage.worker.every(seconds=1)(one)
    stage.worker.on_shutdown(one)
    stage.worker.task(one)
    await stage.runner.start()
    stage.bus.publish("a")
    await stage.clock.advance(1)
    await stage.runner.stop()
    groups = [c.arguments for c in stage.client.calls if c.method == "session_group"]
    assert [g["title"] for g in groups] == ["w startup", "w a", "w scheduled run", "w shutdown"]
    assert groups[0]["kind"] == "worker_run"
    assert groups[0]["metadata"] == {"worker": "cap:w"}
