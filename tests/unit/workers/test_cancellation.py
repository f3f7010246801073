"""Who may cancel what: only the runtime's own cancellation ends a worker's tasks, schedules and shutdown."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import WorkerState
from dnworker.core.clock import turn_loop

from .stage import Stage


async def awaits_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def cancels_itself():
    asyncio.current_task().cancel("by me")
    await asyncio.sleep(0)


async def cancels_itself_and_returns():
    asyncio.current_task().cancel()


async def cancels_itself_twice():
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(0)
    finally:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)


async def cancels_all():
    for task in asyncio.all_tasks():
        if "dnworker" in repr(task.get_coro()) or task.get_name().startswith("cap:w"):  # not that of the test
            task.cancel()
    await asyncio.sleep(0)


async def times_out():
    async with asyncio.timeout(0):
        await asyncio.sleep(1)


async def times_out_and_goes_on():
    try:
        await times_out()
    except TimeoutError:
        await asyncio.sleep(0)


async def fails_in_a_group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(1))
        tasks.create_task(awaits_cancelled())
        raise ValueError("in a group")


async def raises_cancelled():
    raise asyncio.CancelledError("mine")


async def exits():
    raise SystemExit(3)


async def is_closed():
    raise GeneratorExit


async def stops():
    raise StopAsyncIteration


async def returns():
    await asyncio.sleep(0)


DEEDS = [
    awaits_cancelled,
    cancels_itself,
    cancels_itself_and_returns,
    cancels_itself_twice,
    cancels_all,
    times_out,
    times_out_and_goes_on,
    fails_in_a_group,
    raises_cancelled,
    exits,
    is_closed,
    stops,
    returns,
]


@settings(max_examples=60, deadline=None)
@given(
    tasks=st.lists(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=6), min_size=1, max_size=3),
    ticks=st.lists(st.sampled_from(DEEDS), min_size=1, max_size=6),
    events=st.lists(st.sampled_from(DEEDS), max_size=6),
    shutdowns=st.lists(st.sampled_from(DEEDS), max_size=6),
)
def test_whatever_handlers_raise_and_cancel_the_worker_goes_on_and_stops_in_order(
    tasks, ticks, events, shutdowns
):
    asyncio.run(_run(tasks, ticks, events, shutdowns))


async def _run(tasks, ticks, events, shutdowns):
    stage = Stage(grace=1)
    worker, begun, ended = stage.worker, [], []

    def task(number, deeds):
        async def run(client):
            begun.append(number)
            await deeds[begun.count(number) - 1 if begun.count(number) <= len(deeds) else -1]()
            await asyncio.Event().wait()

        worker.task(run)

    for number, deeds in enumerate(tasks):
        task(number, deeds)
    ran = 0

    @worker.every(seconds=1)
    async def tick(client):
        nonlocal ran
        ran += 1
        await ticks[(ran - 1) % len(ticks)]()

    handled = []

    @worker.on_event("a")
    async def a(event, client):
        handled.append(event.payload["n"])
        await events[event.payload["n"]]()

    for number, deed in enumerate(shutdowns):

        async def shutdown(client, number=number, deed=deed):
            ended.append(number)
            await deed()

        worker.on_shutdown(shutdown)

    await stage.runner.start()
    for number in range(len(events)):
        stage.bus.publish("a", {"n": number})
    await stage.clock.advance(200)
    assert stage.runner.state is WorkerState.RUNNING, stage.runner.error
    assert handled == [*range(len(events))]
    assert ran == 200
    for number, deeds in enumerate(tasks):
        # A task that lasts is not begun again; one that cancels all may have ended another before it began.
        lasts = next(
            (n + 1 for n, deed in enumerate(deeds) if deed in (returns, times_out_and_goes_on)), None
        )
        assert begun.count(number) >= min(lasts or 7, 7)
    await asyncio.wait_for(stage.runner.stop(), 60)
    assert stage.runner.state is WorkerState.STOPPED
    assert ended == [*range(len(shutdowns))][::-1]
    assert not stage.runner._invoker.in_flight
    left = {t for t in asyncio.all_tasks() if t.get_name().startswith("cap:w") and not t.done()}
    assert not left


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (awaits_cancelled, "something that the handler awaited was cancelled, and not the handler itself"),
        (cancels_itself, "code outside of the runtime cancelled the task of the handler: by me"),
        (
            raises_cancelled,
            "something that the handler awaited was cancelled, and not the handler itself: mine",
        ),
    ],
)
async def test_a_cancellation_that_is_not_ours_is_explained_with_its_place(stage, deed, said):
    @stage.worker.on_event("a")
    async def a(event, client):
        await deed()

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    error = stage.runner.stats["on_event", "a", "a"].last_error
    assert (error.type, error.message) == ("CancelledError", said)
    assert error.place.startswith(f"{__file__}, line ")


@pytest.mark.clause("2.4 backoff")
async def test_a_task_that_awaits_something_cancelled_runs_again(stage):
    starts = []

    @stage.worker.task
    async def task(client):
        starts.append(stage.clock.monotonic())
        await awaits_cancelled()

    await stage.runner.start()
    await stage.clock.advance(7)
    assert starts == [0, 1, 3, 7]
    await stage.runner.stop()


@pytest.mark.clause("2.5 order")
async def test_a_shutdown_handler_that_is_cancelled_skips_none_after_it(stage):
    said = []

    for name, deed in [
        ("first", returns),
        ("second", cancels_itself),
        ("third", awaits_cancelled),
        ("last", is_closed),
    ]:

        async def shutdown(client, name=name, deed=deed):
            said.append(name)
            await deed()

        stage.worker.on_shutdown(shutdown)
    await stage.runner.start()
    await stage.runner.stop()
    assert said == ["last", "third", "second", "first"]
    assert stage.runner.state is WorkerState.STOPPED
    assert stage.runner.error.count("was cancelled, and not the handler itself") == 1
    assert stage.runner.error.count("cancelled the task of the handler") == 1
    assert f"GeneratorExit ({__file__}, line " in stage.runner.error


async def test_a_stop_cancels_a_handler_once_and_calls_that_cancelled(stage):
    ended = []

    @stage.worker.on_event("a")
    async def a(event, client):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    await stage.runner.start()
    stage.bus.publish("a")
    await turn_loop()
    await stage.runner.stop()
    stats = stage.runner.stats["on_event", "a", "a"]
    assert (ended, stats.errors, stats.in_flight) == (["cancelled"], 0, 0)


@pytest.mark.clause("13.18")
async def test_a_task_that_cancels_itself_in_its_own_cancellation_is_stopped_all_the_same(stage):
    @stage.worker.task
    async def task(client):
        try:
            await asyncio.Event().wait()
        finally:
            await cancels_itself()

    await stage.runner.start()
    await turn_loop()
    await stage.runner.stop()
    assert stage.runner.state is WorkerState.STOPPED


async def test_a_program_that_ends_without_a_stop_is_not_held_by_its_workers():
    def program():
        async def main():
            stage = Stage(grace=1)
            stage.worker.task(lambda_task)
            stage.worker.every(seconds=1)(lambda_task)
            await stage.runner.start()
            await turn_loop()

        async def lambda_task(client):
            await asyncio.Event().wait()

        asyncio.run(main())

    async with asyncio.timeout(60):
        await asyncio.to_thread(program)


async def test_a_handler_cannot_cancel_what_keeps_its_worker_running(stage):
    told = []
    stage.runner.escapes._on_unhandled = lambda invocation, exc, source: told.append(
        (invocation.handler, str(exc))
    )
    ticks = []

    @stage.worker.every(seconds=1)
    async def tick(client):
        ticks.append(stage.clock.monotonic())

    @stage.worker.on_event("a")
    async def a(event, client):
        await cancels_all()

    await stage.runner.start()
    for _ in range(2):
        stage.bus.publish("a")
        await stage.clock.advance(1)
    assert ticks == [1, 2]
    assert stage.runner.stats["on_event", "a", "a"].errors == 2
    assert {handler for handler, _ in told} == {"a"}
    assert "which is not a task of its own and goes on" in told[0][1]
    await stage.runner.stop()


async def test_a_queued_handler_that_another_cancels_runs_all_the_same(stage):
    handled = []

    @stage.worker.on_event("a")
    async def a(event, client):
        handled.append(event.payload["n"])
        if event.payload["n"] == 0:
            await cancels_all()

    await stage.runner.start()
    for n in range(5):
        stage.bus.publish("a", {"n": n})
    await turn_loop()
    assert handled == [0, 1, 2, 3, 4]
    await stage.runner.stop()


class Recorded:
    """Notes which invocations have begun and not ended."""

    def __init__(self):
        self.open = set()

    def begin(self, invocation):
        self.open.add(invocation.number)

    def end(self, invocation, exc=None, *, cancelled=False):
        invocation.end("error" if exc else "cancelled" if cancelled else "ok")
        self.open.discard(invocation.number)

    def delivered(self, envelope): ...


async def test_a_worker_that_ends_itself_leaves_no_invocation_open():
    recorder = Recorded()
    stage = Stage(grace=1, recorder=recorder)

    @stage.worker.on_event("a")
    async def a(event, client):
        if event.payload["n"] == 0:
            stage.runner.escapes.take(SystemExit(3), "a task")
            for n in range(1, 4):  # they are launched, and do not begin any more
                stage.bus.publish("a", {"n": n})
        await asyncio.Event().wait()

    await stage.runner.start()
    for n in range(4):
        stage.bus.publish("a", {"n": n})
    await turn_loop()
    assert stage.runner.state is WorkerState.ERROR
    assert recorder.open == set()
    await stage.runner.stop()
