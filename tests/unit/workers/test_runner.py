"""The in-process runner, on a virtual clock: order, concurrency, schedules, backoff, stop."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import VirtualClock, Worker, WorkerState
from dnworker.core.clock import turn_loop
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import Lifecycle
from dnworker.events.bus import EventBus
from dnworker.testing import FakeClient
from dnworker.workers.runner import WorkerRunner


class Stage:
    """A worker, its runner, and the states it went through."""

    def __init__(self, **options):
        self.worker = Worker("w")
        self.client = FakeClient()
        self.bus = EventBus()
        self.clock = VirtualClock()
        self.states: list[tuple[str, str | None]] = []
        lifecycle = Lifecycle()
        lifecycle.listen(lambda state, error: self.states.append((str(state), error)))
        self.runner = WorkerRunner(
            self.worker,
            self.client,
            event_source=lambda kinds: self.bus.subscribe(kinds),
            lifecycle=lifecycle,
            qualified_name="cap:w",
            clock=self.clock,
            **options,
        )


@pytest.fixture
def stage():
    return Stage(grace=0.05)


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


@pytest.mark.clause("2.3 interval")
async def test_a_schedule_waits_first_and_never_overlaps(stage):
    runs = []

    @stage.worker.every(seconds=10)
    async def tick(client):
        runs.append(stage.clock.monotonic())
        await stage.clock.sleep(15)

    await stage.runner.start()
    await stage.clock.advance(60)
    assert runs == [10, 35, 60]
    await stage.runner.stop()


@pytest.mark.clause("2.3 cron")
async def test_cron_runs_on_the_minute_in_utc(stage):
    runs = []

    @stage.worker.every(cron="*/15 * * * *")
    async def tick(client):
        runs.append(stage.clock.now().minute)

    await stage.runner.start()
    await stage.clock.advance(3600)
    assert runs == [15, 30, 45, 0]
    await stage.runner.stop()


@pytest.mark.clause("2.3 interval")
async def test_a_schedule_goes_on_after_a_failure(stage):
    @stage.worker.every(seconds=1)
    async def tick(client):
        raise RuntimeError

    await stage.runner.start()
    await stage.clock.advance(3)
    assert stage.runner.stats["every", "1s", "tick"].errors == 3
    await stage.runner.stop()


@pytest.mark.clause("2.4 backoff")
async def test_a_task_that_ends_starts_again_with_the_seeds_backoff(stage):
    starts = []

    @stage.worker.task
    async def task(client):
        starts.append(stage.clock.monotonic())

    await stage.runner.start()
    await stage.clock.advance(300)
    assert starts == [0, 1, 3, 7, 15, 31, 63, 127, 255]
    await stage.runner.stop()


@pytest.mark.clause("2.4 backoff")
async def test_a_stable_run_clears_a_tasks_backoff(stage):
    starts = []

    @stage.worker.task
    async def task(client):
        starts.append(stage.clock.monotonic())
        await stage.clock.sleep(0 if len(starts) < 4 else 60)

    await stage.runner.start()
    await stage.clock.advance(68.5)
    assert starts == [0, 1, 3, 7, 68]
    await stage.runner.stop()


@pytest.mark.clause("2.4 exhausted")
@pytest.mark.clause("11.4")
async def test_a_worker_whose_every_task_is_exhausted_is_in_error(stage):
    @stage.worker.task
    async def one(client):
        raise RuntimeError("one")

    @stage.worker.task
    async def two(client):
        raise RuntimeError("two")

    await stage.runner.start()
    await stage.clock.advance(1 + 2 + 4 + 8 + 16 + 32 + 64 + 128 + 256 + 299)
    assert stage.runner.state is WorkerState.RUNNING
    await stage.clock.advance(2)
    assert (stage.runner.state, stage.runner.error) == (WorkerState.ERROR, "All tasks crashed")


@pytest.mark.clause("2.4 exhausted")
async def test_one_healthy_task_keeps_the_worker_running(stage):
    @stage.worker.task
    async def fails(client):
        raise RuntimeError

    @stage.worker.task
    async def healthy(client):
        await asyncio.Event().wait()

    await stage.runner.start()
    await stage.clock.advance(5000)
    assert stage.runner.state is WorkerState.RUNNING
    await stage.runner.stop()


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


@pytest.mark.clause("13.18")
async def test_a_task_that_swallows_its_cancellation_is_not_restarted_in_stop(stage):
    starts = 0

    @stage.worker.task
    async def task(client):
        nonlocal starts
        starts += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    await stage.runner.start()
    await turn_loop()
    await stage.runner.stop()
    assert (starts, stage.runner.state) == (1, WorkerState.STOPPED)


async def test_stop_ends_a_startup_that_hangs(stage):
    @stage.worker.on_startup
    async def hangs(client):
        await asyncio.Event().wait()

    starting = asyncio.create_task(stage.runner.start())
    await turn_loop()
    await stage.runner.stop()
    await starting
    assert stage.runner.state is WorkerState.STOPPED


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


async def test_a_swap_leaves_an_unchanged_task_alone_and_restarts_a_changed_one(stage):
    starts = []

    async def same(client):
        starts.append("same")
        await asyncio.Event().wait()

    async def changed(client):
        starts.append("old")
        await asyncio.Event().wait()

    stage.worker.task(same)
    stage.worker.task(changed)
    await stage.runner.start()
    await turn_loop()
    after = Worker("w")
    after.task(same)

    async def changed(client):
        starts.append("new")
        await asyncio.Event().wait()

    after.task(changed)
    await stage.runner.swap(after)
    await turn_loop()
    assert starts == ["same", "old", "new"]
    await stage.runner.stop()


async def test_a_swap_keeps_the_rhythm_of_a_schedule_and_changes_its_code(stage):
    said = []

    @stage.worker.every(seconds=10)
    async def tick(client):
        said.append(("old", stage.clock.monotonic()))

    await stage.runner.start()
    await stage.clock.advance(6)
    after = Worker("w")

    @after.every(seconds=10)
    async def tick(client):  # noqa: F811  the point: the same name, other code
        said.append(("new", stage.clock.monotonic()))

    await stage.runner.swap(after)
    await stage.clock.advance(14)
    assert said == [("new", 10), ("new", 20)]
    await stage.runner.stop()


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
    assert (stage.runner.state, stage.runner.error) == (WorkerState.ERROR, "startup was cancelled")


async def test_a_schedule_runs_now_when_told_and_keeps_its_rhythm(stage):
    runs = []

    @stage.worker.every(seconds=60)
    async def tick(client):
        runs.append(stage.clock.monotonic())

    with pytest.raises(Conflict, match="it is loading"):
        stage.runner.run_schedule(HandlerKey("every", "60s", "tick"))
    await stage.runner.start()
    await turn_loop()
    ((key, due),) = stage.runner.next_runs.items()
    stage.runner.run_schedule(key)
    await turn_loop()
    assert len(runs) == 1
    assert stage.runner.next_runs == {key: due}
    with pytest.raises(Conflict, match="no schedule 'tock'"):
        stage.runner.run_schedule(HandlerKey("every", "60s", "tock"))


async def test_a_crashed_task_tells_when_it_starts_again(stage):
    @stage.worker.task
    async def crashes(client):
        raise ValueError("no")

    @stage.worker.task
    async def lasts(client):
        await asyncio.Event().wait()

    await stage.runner.start()
    await turn_loop()
    ((key, due),) = stage.runner.next_runs.items()
    assert key == ("task", "", "crashes")
    assert (due - stage.clock.now()).total_seconds() == pytest.approx(1.0)
