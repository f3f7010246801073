"""A worker on the runtime's own loop: its state, and a worker from a file."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

import pytest
from msgspec.structs import replace

from dnworker import Worker, WorkerState
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import HandlerFailed
from dnworker.events.trace import Trace
from dnworker.workers.inprocess_worker import Generation
from dnworker.workers.runner import NotStarted

from ..capabilities import ECHO, make_capability


@pytest.mark.clause("1.1 state")
async def test_state_is_seeded_once_and_empty_after_a_restart(runtime):
    worker = Worker("w")
    worker.state["seed"] = 1

    @worker.on_startup
    async def start(client):
        worker.state["started"] = worker.state.get("started", 0) + 1

    managed = await runtime.add(worker)
    worker.state["later"] = 2
    await managed.restart(force=True)
    assert worker.state == {"seed": 1, "started": 1}


async def test_an_in_process_capability_answers(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}))
    trace = await runtime.fire("demo.ping", {"n": 1})
    assert [e.payload for e in trace.events()] == [{"n": 1}, {"echo": {"n": 1}}]


class Generations:
    """A worker in a runtime, and its next generation, whose startup ends when told."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.said: list[object] = []
        self.go_on = asyncio.Event()
        self.managed = None

    def handlers(self, number: int, *, fails: bool = False, hangs: bool = False) -> Worker:
        worker = Worker("w")

        @worker.on_startup
        async def begin(client):
            self.said.append(f"begin {number}")
            if hangs:
                await self.go_on.wait()
            if fails:
                raise ValueError("no token")

        @worker.on_shutdown
        async def end(client):
            self.said.append(f"end {number}")

        @worker.on_event("a")
        async def on_a(event, client):
            self.said.append((number, event.payload["n"]))

        return worker

    def generation(self, number: int, **how) -> Generation:
        handlers = self.handlers(number, **how)
        make = lambda: handlers  # noqa: E731
        return Generation(number, WorkerDefinition("w"), make, make)

    async def begin(self) -> None:
        self.managed = await self.runtime.add(self.handlers(1))
        self.said.clear()


@pytest.fixture
async def worker(runtime):
    generations = Generations(runtime)
    await generations.begin()
    return generations


async def test_the_next_generation_takes_over_what_is_queued_once_it_has_started(worker):
    following = asyncio.create_task(worker.managed.follow(worker.generation(2, hangs=True)))
    while worker.managed.starting is None:
        await asyncio.sleep(0)
    assert worker.managed.starting.handler.key.name == "begin"
    await worker.runtime.fire("a", {"n": 1})
    worker.go_on.set()
    worker.runtime.publish("a", {"n": 2})
    await following
    worker.runtime.publish("a", {"n": 3})
    await worker.runtime.settle()
    handled = [n for _, n in (one for one in worker.said if isinstance(one, tuple))]
    assert handled == [1, 2, 3]
    assert worker.said.index("begin 2") < worker.said.index((1, 1)) < worker.said.index("end 1")
    assert (worker.managed.generation, worker.managed.state) == (2, "running")


async def test_a_generation_whose_startup_raises_is_ended_and_the_present_one_is_not_touched(worker):
    before = len(worker.managed.transitions)
    with pytest.raises(NotStarted, match="no token") as raised:
        await worker.managed.follow(worker.generation(2, fails=True))
    assert raised.value.handler.key.name == "begin"
    assert worker.said == ["begin 2", "end 2"]
    assert (worker.managed.generation, len(worker.managed.transitions)) == (1, before)
    await worker.runtime.fire("a", {"n": 1})
    assert worker.said[-1] == (1, 1)


async def test_a_start_that_is_cancelled_leaves_the_present_generation(worker):
    following = asyncio.create_task(worker.managed.follow(worker.generation(2, hangs=True)))
    while worker.managed.starting is None:
        await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert worker.said == ["begin 2", "end 2"]
    assert (worker.managed.generation, worker.managed.state) == (1, "running")


async def test_stopping_a_worker_ends_the_start_of_its_next_generation_too(worker):
    following = asyncio.create_task(worker.managed.follow(worker.generation(2, hangs=True)))
    while worker.managed.starting is None:
        await asyncio.sleep(0)
    await worker.managed.stop()
    with pytest.raises(NotStarted, match="the worker was stopped"):
        await following
    assert worker.said == ["begin 2", "end 2", "end 1"]
    assert (worker.managed.generation, worker.managed.state) == (1, "stopped")


async def test_a_generation_that_had_to_stop_starts_again_with_its_state_if_the_next_one_fails(worker):
    begun = []
    worker.managed.begin_with(
        replace(
            worker.generation(1),
            begun=lambda: begun.append("again"),
            make=lambda: pytest.fail("a fresh state"),
        )
    )
    with pytest.raises(NotStarted, match="no token"):
        await worker.managed.follow_after_stop(worker.generation(2, fails=True))
    assert worker.said == ["end 1", "begin 2", "end 2", "begin 1"]
    assert begun == ["again", "again"]
    assert (worker.managed.generation, worker.managed.state) == (1, "running")


async def test_a_generation_whose_gate_is_closed_ends_the_present_one_and_does_not_start(worker):
    await worker.managed.follow(
        replace(worker.generation(2), definition=WorkerDefinition("w", when=("beta",)))
    )
    assert worker.said == ["end 1"]
    assert (worker.managed.generation, worker.managed.state) == (2, "gated_off")


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_startup_publishes_is_handled_by_its_own_generation_if_it_comes_to_be(worker, fails):
    handlers = worker.handlers(2, fails=fails)
    begin = handlers._startup_handlers[0]

    async def publishes(client):
        await client.publish("a", {"n": "mine"})
        await client.publish("b")
        await asyncio.sleep(0)
        worker.runtime.publish("b")  # so that it is not known by the client alone
        await begin(client)

    async def on_b(event, client):
        worker.said.append("b")

    handlers._startup_handlers[:] = [publishes]
    handlers.on_event("b")(on_b)
    following = Generation(2, WorkerDefinition("w"), lambda: handlers, lambda: handlers)
    worker.runtime.publish("b")  # nobody's: the present generation has no handler of it
    if fails:
        with pytest.raises(NotStarted):
            await worker.managed.follow(following)
    else:
        await worker.managed.follow(following)
    with contextlib.suppress(HandlerFailed):
        await worker.runtime.settle()
    heard = [one for one in worker.said if one == "b" or isinstance(one, tuple)]
    assert heard == ([(1, "mine")] if fails else [(2, "mine"), "b", "b"])
    await worker.runtime.fire("a", {"n": 5})
    assert worker.said[-1] == (1 if fails else 2, 5)


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_becomes_of_generations_every_event_is_handled_once_and_in_order(worker, seed):
    """An event is handled by the generation that is the present one, whatever happens to others."""
    chance, published = random.Random(seed), 0

    async def publish(stop: asyncio.Event) -> None:
        nonlocal published
        while not stop.is_set():
            published += 1
            worker.runtime.publish("a", {"n": published})
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)

    stop = asyncio.Event()
    publishing = asyncio.create_task(publish(stop))
    present = 1
    for number in range(2, 10):
        fails, hangs = chance.random() < 0.3, chance.random() < 0.5
        worker.go_on.clear()
        following = asyncio.create_task(
            worker.managed.follow(worker.generation(number, fails=fails, hangs=hangs))
        )
        for _ in range(chance.randint(0, 20)):
            await asyncio.sleep(0)
        if was_cancelled := chance.random() < 0.3:
            following.cancel()
        worker.go_on.set()
        (outcome,) = await asyncio.gather(following, return_exceptions=True)
        assert (
            outcome is None
            or (fails and isinstance(outcome, NotStarted))
            or (was_cancelled and isinstance(outcome, asyncio.CancelledError))
        )
        assert worker.managed.state == "running"
        if outcome is None:
            present = number
        elif isinstance(outcome, asyncio.CancelledError):
            assert worker.managed.generation in (present, number)
            present = worker.managed.generation
        assert worker.managed.generation == present
    stop.set()
    await publishing
    with contextlib.suppress(HandlerFailed):
        await worker.runtime.settle()
    handled = [one for one in worker.said if isinstance(one, tuple)]
    assert [n for _, n in handled] == list(range(1, published + 1))
    assert [g for g, _ in handled] == sorted(g for g, _ in handled)


async def two_that_wait(runtime, worker):
    """Add a worker whose startup waits, and publish two events, of which its dispatch holds the first."""
    adding = asyncio.create_task(runtime.add(worker))
    while not runtime.workers() or runtime.workers()[0].state is not WorkerState.STARTING:
        await asyncio.sleep(0)
    for _ in range(3):  # the dispatch holds the first one
        await asyncio.sleep(0)
    events = [runtime.publish("a"), runtime.publish("a")]
    for _ in range(3):
        await asyncio.sleep(0)
    return adding, events


async def test_what_waits_for_a_startup_that_fails_is_lost_by_name_and_not_in_silence(runtime):
    worker, go = Worker(name="w"), asyncio.Event()

    @worker.on_startup
    async def begin(client):
        await go.wait()
        raise ValueError("no key")

    @worker.on_event("a")
    async def handle(event, client): ...

    adding, events = await two_that_wait(runtime, worker)
    go.set()
    managed = await adding
    assert managed.state is WorkerState.ERROR
    assert managed.losses == "2 events lost: the worker failed before it had handled them"
    assert managed.losses in managed.component().detail
    for event in events:
        assert not Trace(event, runtime.history).ok


async def test_a_stop_during_a_startup_is_no_loss(runtime):
    worker = Worker(name="w")

    @worker.on_startup
    async def begin(client):
        await asyncio.Event().wait()

    @worker.on_event("a")
    async def handle(event, client): ...

    adding = asyncio.create_task(runtime.add(worker))
    while not runtime.workers() or runtime.workers()[0].state is not WorkerState.STARTING:
        await asyncio.sleep(0)
    event = runtime.publish("a")
    managed = runtime.workers()[0]
    await managed.stop()
    await asyncio.wait({adding})
    assert (managed.losses, runtime.history.losses_of(event.event_id)) == (None, ())


async def test_a_burst_that_a_worker_had_begun_with_when_it_failed_is_counted_to_the_last(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def handle(event, client):
        if event.payload["n"] == 0:
            asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.Event().wait()

    managed = await runtime.add(worker)
    events = [runtime.publish("a", {"n": n}) for n in range(1_000)]
    while managed.state is not WorkerState.ERROR:
        await asyncio.sleep(0)
    handled = {i.event.event_id for i in runtime.history.invocations() if i.event is not None}
    lost = {event.event_id for event in events if runtime.history.losses_of(event.event_id)}
    assert handled | lost == {event.event_id for event in events}
    assert not handled & lost
    assert lost


async def test_what_waits_for_a_startup_in_which_the_worker_ends_itself_is_lost_by_name(runtime):
    worker, go = Worker(name="w"), asyncio.Event()

    async def end():
        await go.wait()
        raise SystemExit

    @worker.on_startup
    async def begin(client):
        await asyncio.create_task(end())

    @worker.on_event("a")
    async def handle(event, client): ...

    adding, events = await two_that_wait(runtime, worker)
    go.set()
    managed = await adding
    assert managed.losses == "2 events lost: the worker failed before it had handled them"
    for event in events:
        assert not Trace(event, runtime.history).ok
