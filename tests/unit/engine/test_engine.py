"""Workers added, fire, settle, traces, virtual time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dnworker import HandlerFailed, Worker
from dnworker.core.clock import turn_loop
from dnworker.core.errors import Invalid, NotFound
from dnworker.core.samples import SAMPLES
from dnworker.engine import waiting
from dnworker.engine.engine import Engine


@pytest.fixture
async def bridge(runtime):
    """A worker that answers turns, and fails on one kind."""
    worker = Worker("bridge")

    @worker.on_event("turn.completed")
    async def on_turn(event, client):
        await client.publish("demo.answer", {"turn": event.payload["turn_id"]})

    @worker.on_event("demo.answer")
    async def on_answer(event, client):
        await client.notify("answered")

    @worker.on_event("demo.broken")
    async def fails(event, client):
        raise KeyError("ws")

    await runtime.add(worker)
    return worker


async def test_a_trace_holds_everything_the_event_caused(runtime, bridge):
    trace = await runtime.fire("turn.completed", {"turn_id": "t1"}, session_id="s1")
    assert [e.kind for e in trace.events()] == ["turn.completed", "demo.answer", "notify"]
    (invocation,) = trace.invocations
    assert (invocation.worker, invocation.handler, invocation.outcome) == ("notebook:bridge", "on_turn", "ok")
    assert (trace.ok, trace.event.session_id, trace.event.terminal) == (True, "s1", True)


async def test_a_failure_is_in_the_trace_with_its_place_and_settle_raises_it(runtime, bridge):
    trace = await runtime.fire("demo.broken")
    (error,) = trace.errors
    assert (trace.ok, error.type, error.frames[-1].source) == (False, "KeyError", 'raise KeyError("ws")')
    with pytest.raises(
        HandlerFailed, match=r"notebook:bridge.fails \(event\): KeyError: 'ws' \(.*test_engine.py, line"
    ):
        await runtime.settle()
    await runtime.settle()


async def test_a_trace_as_text_shows_the_tree(runtime, bridge):
    text = str(await runtime.fire("demo.broken"))
    assert "demo.broken  #" in text
    assert "x notebook:bridge.fails  error" in text
    assert "KeyError: 'ws'" in text


async def test_a_trace_that_takes_too_long_says_so(runtime):
    worker = Worker("slow")

    @worker.on_event("a")
    async def never(event, client):
        await asyncio.Event().wait()

    await runtime.add(worker)
    trace = await runtime.fire("a", timeout=0)
    assert (trace.timed_out, trace.ok) == (True, False)
    with pytest.raises(TimeoutError, match=r"notebook:slow\.never"):
        await runtime.settle(timeout=0.01)


@pytest.mark.parametrize("kind", sorted(SAMPLES))
async def test_every_known_kind_has_a_payload_to_fire(runtime, kind):
    trace = await runtime.fire(kind)
    assert trace.event.payload == SAMPLES[kind]


@pytest.mark.clause("11.2")
async def test_session_events_carry_their_session_in_envelope_and_payload(runtime):
    trace = await runtime.fire("session.created", {"session_id": "callback-7"})
    assert trace.event.session_id == "callback-7"
    session = runtime.sessions.create("s9")
    created = runtime.history.events()[-1]
    assert (created.session_id, created.payload) == (session.session_id, {"session_id": "s9"})


@pytest.mark.parametrize("kind", sorted(SAMPLES))
async def test_what_is_fired_in_a_session_is_of_that_session_in_every_field(runtime, kind):
    event = (await runtime.fire(kind, session_id="X")).event
    assert event.session_id == "X"
    assert event.payload.get("session_id", "X") == "X"
    assert (event.turn_id == "turn-1") == (
        kind.startswith(("turn.", "prompt.")) or kind == "transport.heartbeat"
    )


@pytest.mark.parametrize(
    ("kind", "how", "said"),
    [
        (5, {}, "kind must be text"),
        ("\ud800", {}, "lone surrogate"),
        ("a", {"session_id": ""}, "session_id is ''"),
        ("a", {"session_id": 5}, "session_id is 5"),
        ("a", {"session_id": "\ud800"}, "the id of a session is text"),
        ("a", {"timeout": "5"}, "timeout is '5'; seconds to wait are wanted"),
        ("a", {"timeout": -1}, "timeout is -1"),
        ("a", {"timeout": float("nan")}, "timeout is nan"),
    ],
)
async def test_an_argument_that_makes_no_sense_is_named_and_nothing_is_fired(runtime, kind, how, said):
    with pytest.raises(Invalid, match=said):
        await runtime.fire(kind, {}, **how)
    assert not runtime.history.events()


async def test_a_payload_that_is_given_stays_as_it_is(runtime):
    event = (await runtime.fire("session.created", {"session_id": "Y"}, session_id="X")).event
    assert (event.session_id, event.payload) == ("X", {"session_id": "Y"})


async def test_virtual_time_moves_schedules(runtime):
    worker, runs = Worker("w"), []

    @worker.every(minutes=5)
    async def tick(client):
        runs.append(runtime.clock.now().minute)

    await runtime.add(worker)
    await runtime.advance(3600)
    assert runs == [*range(5, 60, 5), 0]


async def test_a_second_worker_of_one_name_is_refused(runtime):
    await runtime.add(Worker("w"))
    with pytest.raises(ValueError, match="there is a worker 'w' in 'notebook' already"):
        await runtime.add(Worker("w"))


async def test_an_unknown_worker_is_told_with_those_there_are(runtime, bridge):
    with pytest.raises(NotFound, match="no worker 'brigde'; there are: bridge"):
        runtime.worker("brigde")


@pytest.mark.clause("2.7 events")
async def test_component_changes_are_published_as_the_contract_lists_them(runtime):
    states = runtime.bus.subscribe(["component.state_changed"])
    worker = Worker("w")

    @worker.on_shutdown
    async def fails(client):
        raise ValueError("X")

    managed = await runtime.add(worker)
    await managed.stop()
    running, stopped = [(await anext(states)).payload for _ in range(2)]
    assert (running["status"], stopped["status"]) == ("ok", "stopped")
    assert stopped["error"].endswith("fails: X")


@pytest.mark.clause("14.3")
async def test_an_event_that_waits_for_a_startup_that_fails_is_settled(runtime):
    worker = Worker("w")

    @worker.on_startup
    async def start(client):
        await client.publish("a")
        await asyncio.sleep(0)
        raise ValueError("x")

    @worker.on_event("a")
    async def on_a(event, client): ...

    await runtime.add(worker)
    with pytest.raises(HandlerFailed):
        await runtime.settle()
    await runtime.settle()


async def test_what_history_keeps_is_bounded_after_a_burst(runtime):
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client): ...

    await runtime.add(worker)
    for _ in range(25_000):
        runtime.publish("a")
    await runtime.settle(timeout=None)
    assert len(runtime.history._by_event) <= len(runtime.history._events) == 10_000


async def test_an_engine_runs_workers_without_server_and_panel():
    worker, said = Worker("w"), []

    @worker.on_event("a")
    async def on_a(event, client):
        said.append(event.kind)
        await client.publish("b")

    async with Engine() as engine:
        await engine.add(worker)
        trace = await engine.fire("a")
        assert (said, [e.kind for e in trace.events()]) == (["a"], ["a", "b"])
        assert (engine.is_started, engine.url) == (True, None)
    assert (engine.is_started, worker.state) == (False, {})


async def test_an_engine_by_itself_has_no_api():
    async with Engine() as engine:
        with pytest.raises(NotImplementedError, match="use a Runtime"):
            await engine.client().fetch_runtime_info()


async def test_an_engine_that_was_not_started_has_no_loop():
    with pytest.raises(RuntimeError, match="not started yet"):
        Engine().loop  # noqa: B018  it raises


async def test_who_listens_is_told_of_a_workers_changes(runtime):
    told = []
    end = runtime.listen(lambda: told.append(1))
    await runtime.add(Worker("w"))
    assert told
    end()
    told.clear()
    await runtime.remove("w")
    assert told == []


async def test_an_event_for_a_worker_that_is_not_there_makes_no_session(runtime):
    with pytest.raises(NotFound):
        await runtime.fire("demo.asked", {}, session_id="s9", only="nobody")
    assert "s9" not in runtime.sessions


async def test_handlers_that_wait_for_a_lock_whose_holder_sleeps_do_not_hold_time_back(runtime, monkeypatch):
    monkeypatch.setattr(waiting, "VIRTUAL_STEP_LIMIT", 1000.0)  # what waits for it is seen to hang
    worker, lock, ended = Worker("w"), asyncio.Lock(), []

    @worker.on_event("demo.a")
    async def one_by_one(event, client):
        async with lock:
            await runtime.clock.sleep(0.5)
            ended.append(runtime.clock.monotonic())

    await runtime.add(worker)
    before = runtime.clock.monotonic()
    for _ in range(3):
        runtime.bus.publish("demo.a", {})
    await asyncio.wait_for(runtime.advance(10), 20)
    assert [round(at - before, 3) for at in ended] == [0.5, 1.0, 1.5]


async def test_a_handler_that_has_just_got_its_lock_waits_for_it_no_more(runtime):
    worker, lock, began = Worker("w"), asyncio.Lock(), asyncio.Event()

    @worker.on_event("demo.a")
    async def on_a(event, client):
        began.set()
        async with lock:
            pass

    await runtime.add(worker)
    async with lock:
        runtime.bus.publish("demo.a", {})
        await began.wait()
        await turn_loop()
        assert [one.handler for one in waiting._waiting_for_locks()] == ["on_a"]
    assert list(waiting._waiting_for_locks()) == []  # the loop has not turned since
    await runtime.settle()


async def test_time_waits_for_real_work_of_who_holds_a_lock(runtime):
    worker, lock, may_go_on, ended = Worker("w"), asyncio.Lock(), threading.Event(), []

    @worker.on_event("demo.a")
    async def one_by_one(event, client):
        async with lock:
            await asyncio.to_thread(may_go_on.wait)
            ended.append(runtime.clock.monotonic())

    @worker.on_event("demo.a")
    async def asleep(event, client):
        await runtime.clock.sleep(5)

    await runtime.add(worker)
    before = runtime.clock.monotonic()
    for _ in range(2):
        runtime.bus.publish("demo.a", {})
    advancing = asyncio.create_task(runtime.advance(10))
    await asyncio.wait({advancing}, timeout=0.1)  # longer than locks are waited for
    assert runtime.clock.monotonic() == before
    may_go_on.set()
    await asyncio.wait_for(advancing, 20)
    assert ended == [before, before]
