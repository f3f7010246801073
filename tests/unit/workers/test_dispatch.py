"""Events: which handlers they start, in bursts, over a swap, and when the stream breaks."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker, WorkerState
from dnworker.core.clock import turn_loop
from dnworker.workers.runner import WorkerRunner


@pytest.mark.clause("13.15")
async def test_a_burst_reaches_the_handler_whole(stage):
    count = 0

    @stage.worker.on_event("a")
    async def on_a(event, client):
        nonlocal count
        count += 1

    stage.client.groups_sessions = False
    await stage.runner.start()
    for _ in range(100_000):
        stage.bus.publish("a")
    while count < 100_000:
        await asyncio.sleep(0)
    assert count == 100_000


@pytest.mark.clause("13.5")
async def test_an_event_stream_that_breaks_is_an_error_not_deafness(stage):
    async def broken(kinds):
        raise OSError("the wire was cut")
        yield

    runner = WorkerRunner(stage.worker, stage.client, event_source=broken)

    @stage.worker.on_event("a")
    async def on_a(event, client): ...

    await runner.start()
    await turn_loop()
    assert (runner.state, runner.error) == (WorkerState.ERROR, "the event stream failed: the wire was cut")


async def test_a_swap_to_other_kinds_loses_nothing(stage):
    said = []

    async def note(event, client):
        said.append(event.kind)

    stage.worker.on_event("a")(note)
    await stage.runner.start()
    after = Worker("w")
    after.on_event("b")(note)
    await stage.runner.swap(after)
    for kind in "aba":
        stage.bus.publish(kind)
    await turn_loop()
    assert said == ["b"]


async def test_a_worker_that_failed_by_itself_has_no_events_waiting_for_it(stage):
    @stage.worker.task
    async def crashes(client):
        raise RuntimeError

    @stage.worker.on_event("a")
    async def on_a(event, client): ...

    await stage.runner.start()
    await stage.clock.advance(5000)
    assert stage.runner.error == "All tasks crashed"
    assert stage.bus._subscribers.of_kind("a") == ()


@pytest.mark.clause("2.2 fan")
async def test_all_handlers_of_a_kind_run_side_by_side(stage):
    running = []

    async def slow(event, client):
        running.append(event.seq)
        await asyncio.Event().wait()

    for _ in range(3):
        stage.worker.on_event("a")(slow)
    await stage.runner.start()
    stage.bus.publish("a")
    stage.bus.publish("a")
    await turn_loop()
    assert sorted(running) == [1, 1, 1, 2, 2, 2]
    await stage.runner.stop()


async def test_handlers_of_one_name_begin_in_their_order_and_are_counted_apart(stage, caplog):
    said = []

    @stage.worker.on_event("a")
    async def _(event, client):
        said.append("first")

    @stage.worker.on_event("a")
    async def _(event, client):
        said.append("second")
        raise ValueError

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    assert said == ["first", "second"]
    stats = stage.runner.stats
    assert [(key.name, s.calls, s.errors) for key, s in stats.items()] == [("_", 1, 0), ("_#2", 1, 1)]
    assert "cap:w._#2 (event) failed" in caplog.text
    await stage.runner.stop()
