"""Retries and dead letters: when a worker is given an event again, and what becomes of what it cannot handle."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from dnworker import Worker
from dnworker.core.clock import VirtualClock
from dnworker.core.envelope import encode
from dnworker.core.errors import Conflict, NotFound, NotStored
from dnworker.engine.engine import Engine
from dnworker.engine.redelivery import redeliver


class Service:
    """A worker whose handler fails as long as it is told to, and notes when it ran."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.at: list[float] = []
        self.failures: list[BaseException] = []
        self.worker = Worker("bridge")

        @self.worker.on_event("demo.kind")
        async def on_demo(event, client) -> None:
            self.at.append(engine.clock.monotonic())
            if self.failures:
                raise self.failures.pop(0)

    def fails(self, times: int) -> None:
        """Let the next calls of the handler fail."""
        self.failures = [ConnectionError(f"no answer {n + 1}") for n in range(times)]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with Engine(clock=VirtualClock(), retry={"notebook:bridge": "3,backoff=1s..3s"}) as engine:
        yield engine


@pytest.fixture
async def service(engine: Engine) -> Service:
    service = Service(engine)
    await engine.add(service.worker)
    return service


async def dead(engine: Engine) -> list[str]:
    await engine.dead_letters.ready()
    return [f"{one.worker} {one.kind} {one.attempts} {one.why}" for one in engine.dead_letters.all()]


async def test_a_failed_handler_is_tried_again_at_the_times_of_its_policy(engine, service):
    service.fails(3)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert service.at == [0, 1, 3, 6]
    assert await dead(engine) == []


async def test_an_event_whose_retries_are_exhausted_is_a_dead_letter(engine, service):
    service.fails(9)
    event = (await engine.fire("demo.kind", {"n": 7})).event
    await engine.advance(60)
    assert service.at == [0, 1, 3, 6]
    assert await dead(engine) == ["notebook:bridge demo.kind 4 exhausted"]
    letter = await engine.dead_letters.read(engine.dead_letters.find(event.event_id))
    assert letter.event == event
    (failed,) = letter.handlers
    assert (failed.handler, failed.error.text) == ("on_demo", "ConnectionError: no answer 4")
    assert failed.error.frames


async def test_a_trace_says_when_a_handler_is_tried_again(engine, service):
    service.fails(1)
    trace = await engine.fire("demo.kind", {})
    assert "(1 handler is tried again in 1 s (1 of 3))" in trace.lines()[1]
    assert not trace.ok
    await engine.advance(1)
    assert "tried again" not in str(trace)
    assert [(run.outcome, run.invocation.delivery) for run in trace.invocations] == [("error", 1), ("ok", 2)]


async def test_only_handlers_that_have_failed_run_again(engine, service):
    others = []

    @service.worker.on_event("demo.kind")
    async def on_other(event, client) -> None:
        others.append(event.seq)

    await engine.worker("bridge").restart(force=True)
    service.fails(2)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert (len(service.at), len(others)) == (3, 1)


async def test_an_error_that_the_policy_does_not_name_is_a_dead_letter_at_once(engine, service):
    engine.retries.put("notebook:bridge", _policies("3,on=ConnectionError"))
    service.failures = [ValueError("never"), ConnectionResetError("later")]
    await engine.fire("demo.kind", {})
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert service.at == [0, 0, 1]
    assert await dead(engine) == ["notebook:bridge demo.kind 1 not retried"]


async def test_a_class_of_another_library_is_not_meant_by_its_bare_name(engine, service):
    engine.retries.put("notebook:bridge", _policies("3,on=httpx.ConnectionError"))
    service.fails(1)
    await engine.fire("demo.kind", {})
    assert await dead(engine) == ["notebook:bridge demo.kind 1 not retried"]


async def test_a_dead_handler_does_not_run_again_with_one_that_is_retried(engine, service):
    engine.retries.put("notebook:bridge", _policies("3,on=ConnectionError"))
    others = []

    @service.worker.on_event("demo.kind")
    async def on_other(event, client) -> None:
        others.append(event.seq)
        raise ValueError("never")

    await engine.worker("bridge").restart(force=True)
    service.fails(2)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert (len(service.at), len(others)) == (3, 1)
    assert await dead(engine) == ["notebook:bridge demo.kind 1 not retried"]


async def test_a_worker_without_a_policy_has_neither_retries_nor_dead_letters(engine, service):
    engine.retries.put("notebook:bridge", None)
    service.fails(1)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert service.at == [0]
    assert await dead(engine) == []


async def test_a_policy_of_one_kind_goes_for_that_alone(engine, service):
    engine.retries.put("notebook:bridge", _policies("demo.other=3"))
    service.fails(1)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    assert service.at == [0]


async def test_a_policy_goes_for_a_worker_that_runs_already(engine, service):
    engine.retries.put("notebook:bridge", None)
    await engine.worker("bridge").restart(force=True)
    assert engine.bus.broker.consumer("notebook:bridge") is None
    engine.retries.put("notebook:bridge", _policies("3,backoff=1s"))
    service.fails(1)
    await engine.fire("demo.kind", {})
    await engine.advance(1)
    assert service.at == [0, 1]


async def test_what_waits_for_its_retry_outlives_a_restart_of_its_worker(engine, service):
    service.fails(1)
    await engine.fire("demo.kind", {})
    await engine.worker("bridge").restart(force=True)
    assert service.at == [0]
    await engine.advance(1)
    assert service.at == [0, 1]


async def test_what_a_worker_has_not_handled_when_it_stops_comes_when_it_starts_again(engine, service):
    begun, let_go = asyncio.Event(), asyncio.Event()
    ended = []

    @service.worker.on_event("demo.slow")
    async def on_slow(event, client) -> None:
        begun.set()
        await let_go.wait()
        ended.append((event.payload["n"], event.replay))

    await engine.worker("bridge").restart(force=True)
    await engine.fire("demo.slow", {"n": 1}, wait=False)
    await begun.wait()
    await engine.worker("bridge").stop()
    assert ended == []
    let_go.set()
    await engine.worker("bridge").start()
    await engine.settle()
    assert ended == [(1, True)]


async def test_what_waits_for_a_startup_that_fails_is_no_loss_and_comes_with_the_next_start(engine):
    worker, handled, is_broken = Worker("bridge"), [], True
    begun, let_go = asyncio.Event(), asyncio.Event()

    @worker.on_startup
    async def start(client) -> None:
        begun.set()
        await let_go.wait()
        if is_broken:
            raise OSError("no disk")

    @worker.on_event("demo.kind")
    async def on_demo(event, client) -> None:
        handled.append(event.payload["n"])

    adding = asyncio.create_task(engine.add(worker))
    await begun.wait()
    await engine.fire("demo.kind", {"n": 1}, wait=False)
    let_go.set()
    managed = await adding
    assert managed.losses is None
    is_broken = False
    await managed.start()
    await engine.advance(0)
    assert handled == [1]


async def test_a_dead_letter_is_fired_again_for_its_worker_alone_and_its_attempts_count_anew(engine, service):
    service.fails(5)
    await engine.fire("demo.kind", {"n": 7})
    await engine.advance(60)
    (one,) = engine.dead_letters.all()
    event = await redeliver(engine, one)
    await engine.advance(60)
    assert engine.dead_letters.all() == []
    assert (event.payload, event.kind) == ({"n": 7}, "demo.kind")
    assert len(service.at) == 6


async def test_a_dead_letter_is_retried_once_at_a_time(engine, service):
    service.fails(4)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    (one,) = engine.dead_letters.all()
    accepted = engine.bus.accepted

    async def slow(event):
        with pytest.raises(Conflict, match="is being retried already"):
            await redeliver(engine, one)
        return await accepted(event)

    engine.bus.accepted = slow
    await redeliver(engine, one)
    await engine.advance(60)
    assert len(service.at) == 5
    with pytest.raises(NotFound):
        await redeliver(engine, one)


async def test_a_dead_letter_of_a_worker_that_does_not_run_stays(engine, service):
    service.fails(9)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    await engine.worker("bridge").stop()
    with pytest.raises(Conflict, match="notebook:bridge is stopped.*start it"):
        await redeliver(engine, engine.dead_letters.all()[0])
    assert len(engine.dead_letters) == 1


async def test_a_dead_letter_that_is_gone_is_said_with_the_way_out(engine, service):
    with pytest.raises(NotFound, match="there is no dead letter 1234: .*list shows"):
        engine.dead_letters.find("1234")


async def test_a_number_that_may_be_two_dead_letters_names_neither(engine, service):
    service.fails(9)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    letters = engine.dead_letters
    letter = await letters.read(letters.all()[0])
    for event in (replace(letter.event, seq=1234), replace(letter.event, event_id="1234" + "a" * 28)):
        await letters.put_back(replace(letter, raw=Raw(encode(event))))
    with pytest.raises(NotFound, match="2 dead letters are named 1234.*give more digits"):
        letters.find("1234")
    assert letters.find("#1234").seq == 1234
    assert letters.find("1234a").id == "1234" + "a" * 28


async def test_a_dropped_dead_letter_can_be_put_back(engine, service):
    service.fails(9)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    (one,) = engine.dead_letters.all()
    letter = await engine.dead_letters.read(one)
    await engine.dead_letters.drop(one)
    assert await dead(engine) == []
    with pytest.raises(NotFound, match="is gone"):
        await engine.dead_letters.read(one)
    await engine.dead_letters.put_back(letter)
    assert engine.dead_letters.all() == [one]


async def test_the_oldest_dead_letter_goes_where_there_are_too_many(engine, service, monkeypatch, caplog):
    monkeypatch.setattr("dnworker.engine.dead_letters.MOST_LETTERS", 2)
    engine.retries.put("notebook:bridge", _policies("3,on=OSError"))
    service.failures = [ValueError(str(n)) for n in range(3)]
    events = [(await engine.fire("demo.kind", {"n": n})).event for n in range(3)]
    await engine.dead_letters.ready()
    assert [one.id for one in engine.dead_letters.all()] == [events[2].event_id, events[1].event_id]
    assert f"the dead letter of demo.kind #{events[0].seq} (notebook:bridge) is dropped" in caplog.text


async def test_a_dead_letter_that_cannot_be_kept_does_not_keep_the_next_from_being_kept(
    engine, service, monkeypatch
):
    engine.retries.put("notebook:bridge", _policies("3,on=OSError"))

    @service.worker.on_event("demo.kind")
    async def on_other(event, client) -> None:
        raise ValueError("other")

    await engine.worker("bridge").restart(force=True)
    broker, consumer = engine.bus.broker, engine.bus.broker.consumer("notebook:bridge")
    put, full = broker.put, [NotStored("the disk is full")]

    async def fails_once(*args, **options):
        if full:
            raise full.pop()
        return await put(*args, **options)

    def refuses(event_id, delay=0.0):
        raise NotFound("notebook:bridge does not have the event")

    monkeypatch.setattr(broker, "put", fails_once)
    monkeypatch.setattr(consumer, "release", refuses)
    service.failures = [ValueError("never")]
    await engine.fire("demo.kind", {})
    assert await dead(engine) == ["notebook:bridge demo.kind 1 not retried"]


async def test_a_dead_letter_that_cannot_be_dropped_is_said_and_holds_nobody_up(
    engine, service, monkeypatch, caplog
):
    monkeypatch.setattr("dnworker.engine.dead_letters.MOST_LETTERS", 1)

    async def fails(key):
        raise NotStored("the disk is full")

    monkeypatch.setattr(engine.bus.broker, "delete", fails)
    engine.retries.put("notebook:bridge", _policies("3,on=OSError"))
    service.failures = [ValueError(str(n)) for n in range(2)]
    for n in range(2):
        await engine.fire("demo.kind", {"n": n})
    assert len(await dead(engine)) == 1
    assert "could not be dropped" in caplog.text


async def test_dead_letters_outlive_the_runtime_as_long_as_their_broker_does(engine, service):
    service.fails(9)
    await engine.fire("demo.kind", {})
    await engine.advance(60)
    before = engine.dead_letters.all()
    async with Engine(broker=engine.bus.broker) as other:
        await other.dead_letters.ready()
        assert other.dead_letters.all() == before


def _policies(word: str):
    from dnworker.core.retry_policies import parse_retry

    return parse_retry([word])


class Attempts:
    """Handlers that fail as a plan says, by event and handler, and what became of each."""

    def __init__(self, plans: list[tuple[int, int]]) -> None:
        self.plans = plans
        self.runs: Counter[tuple[int, int]] = Counter()
        self.handled: set[tuple[int, int]] = set()
        self.worker = Worker("bridge")
        for number in (0, 1):
            self._add(number)

    def _add(self, number: int) -> None:
        async def handler(event, client) -> None:
            which = event.payload["n"], number
            self.runs[which] += 1
            if self.runs[which] <= self.plans[which[0]][number]:
                raise ConnectionError(str(which)) if event.payload["n"] % 3 else ValueError(str(which))
            self.handled.add(which)

        handler.__name__ = f"handler_{number}"
        self.worker.on_event("demo.kind")(handler)


@settings(max_examples=40, deadline=None)
@given(
    plans=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6),
    times=st.integers(1, 3),
    first=st.sampled_from([0, 1, 7]),
    on=st.sampled_from(["", ",on=ConnectionError"]),
    restarts_after=st.sampled_from([None, 0, 1, 3]),
)
def test_every_event_is_handled_or_a_dead_letter_in_the_end_after_no_more_attempts_than_allowed(
    plans, times, first, on, restarts_after
):
    async def run() -> None:
        policy = f"{times},backoff={first}s..60s{on}"
        async with Engine(clock=VirtualClock(), retry={"notebook:bridge": policy}) as engine:
            attempts = Attempts(plans)
            await engine.add(attempts.worker)
            for n in range(len(plans)):
                await engine.fire("demo.kind", {"n": n})
            if restarts_after is not None:
                await engine.advance(restarts_after)
                await engine.worker("bridge").restart(force=True)
            await engine.advance(600)
            await engine.dead_letters.ready()
            letters = [await engine.dead_letters.read(one) for one in engine.dead_letters.all()]
            gone = {
                (letter.event.payload["n"], int(one.handler[-1]))
                for letter in letters
                for one in letter.handlers
            }
            assert all(runs <= times + 1 for runs in attempts.runs.values())
            assert attempts.handled | gone == {(n, h) for n in range(len(plans)) for h in (0, 1)}
            assert not attempts.handled & gone
            assert not len(engine.history.next_tries)

    asyncio.run(run())
