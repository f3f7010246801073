"""What is kept in memory stays within its bytes, whatever comes; counted by looking at the objects themselves."""

from __future__ import annotations

import asyncio
import gc
import weakref
from sys import getsizeof
from types import FunctionType, ModuleType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dnworker as runtimes
from dnworker import Worker
from dnworker.core.envelope import EventEnvelope, has_payload
from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.logs import LogBook, LogLine
from dnworker.engine.worker_log import WorkerLog
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.scopes import Scopes
from dnworker.events.trace import Trace

RAW_OVERHEAD = 64


def bytes_of(*roots: object) -> int:
    """Return the bytes of all objects that can be reached, each counted once; weak references lead nowhere."""
    seen: set[int] = set()
    waiting, total = [*roots], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType) or one is None:
            continue
        seen.add(id(one))
        if isinstance(one, msgspec.Raw):  # says nothing of its bytes
            total += RAW_OVERHEAD + len(memoryview(one))
            continue
        total += getsizeof(one)
        if isinstance(one, EventEnvelope):
            waiting += [one._held]
            waiting += [getattr(one, name) for name in one.__struct_fields__ if name != "payload"]
        elif isinstance(one, msgspec.Struct):
            waiting += [getattr(one, name) for name in one.__struct_fields__]
        elif hasattr(type(one), "__slots__") and not isinstance(one, str | bytes | tuple):
            waiting += [getattr(one, n, None) for n in type(one).__slots__ if n != "__weakref__"]
        else:
            waiting += gc.get_referents(one)
    return total


def kept_by(history: History) -> int:
    return bytes_of(history._events, history._order, history._with_payload, history._by_event, history._ended)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "begin", "print", "end", "fail", "publish from a handler", "unhandled"]),
        st.integers(0, 30_000),
    ),
    max_size=60,
)
LIMIT = 200_000
SLACK = 80_000
"""Bytes beyond the limit that the tables take, and the newest thing of each kind, which is kept whatever its size."""


class Runtime:
    """A bus, a history and a log with small budgets, and handlers that do as they are told."""

    def __init__(self) -> None:
        self.bus, self.history = EventBus(), History(LIMIT)
        self.book = LogBook(limit=LIMIT)
        self.log = WorkerLog(self.book)
        self.bus.tap(self.history.note_event)
        self.running: list[Invocation] = []

    def act(self, action: str, size: int) -> None:
        running = self.running[-1] if self.running else None
        match action:
            case "publish":
                self.bus.publish("a", {"text": "x" * size})
            case "begin":
                event = self.bus.publish("a", {"text": "x" * size})
                self.running.append(Invocation("w", "h", "event", event))
                self.history.begin(self.running[-1])
            case "print" if running is not None:
                self.log.add("w", "x" * size, invocation=running)
            case "publish from a handler" if running is not None:
                token = current_invocation.set(running)
                self.bus.publish("b", {"text": "x" * size})
                current_invocation.reset(token)
            case "unhandled" if running is not None:
                self.history.unhandled(running, describe(ValueError("x" * size)), "a task")
            case "end" if running is not None:
                self.history.end(self.running.pop())
            case "fail" if running is not None:
                self.history.end(self.running.pop(), ValueError("x" * size))


@given(ACTIONS)
@settings(max_examples=25, deadline=None)
def test_history_and_log_take_no_more_than_their_limits_say(actions):
    runtime = Runtime()
    for action, size in actions:
        runtime.act(action, size)
    history = runtime.history
    assert history.used <= LIMIT + sum(one.kept_bytes for one in runtime.running)
    assert kept_by(history) <= LIMIT + SLACK + sum(one.kept_bytes for one in runtime.running)
    assert bytes_of(runtime.book._lines) <= LIMIT + SLACK
    for one in runtime.running:
        history.end(one)
    assert history.used <= LIMIT
    assert kept_by(history) <= LIMIT + SLACK


@given(ACTIONS)
@settings(max_examples=25, deadline=None)
def test_what_is_counted_is_what_is_there(actions):
    runtime = Runtime()
    for action, size in actions:
        runtime.act(action, size)
    history = runtime.history
    everything = {*history._ended, *history._running}
    assert history._invocation_bytes == sum(one.kept_bytes for one in everything)
    events = [len(memoryview(raw(e))) if has_payload(e) else 0 for e in history._events.values()]
    assert sum(events) <= history._event_bytes <= sum(events) + 2_000 * len(events)
    assert runtime.book.used == sum(runtime.book._sizes)


def raw(envelope: EventEnvelope) -> msgspec.Raw:
    return envelope._held


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60_000)), max_size=60))
@settings(max_examples=25, deadline=None)
def test_replay_of_all_sessions_takes_no_more_than_its_limit(published):
    bus = EventBus(replay_bytes=LIMIT)
    for session, size in published:
        if size % 17 == 0:
            bus.delete_session(f"s{session}")
            bus.open_session(f"s{session}")
        bus.publish("a", {"text": "x" * size}, session_id=f"s{session}")
    scopes: Scopes = bus.scopes
    kept = {name: [len(memoryview(raw(e))) for e, _ in b._events] for name, b in scopes._sessions.items()}
    assert sum(map(sum, kept.values())) <= scopes.used <= LIMIT
    assert set(scopes._filled) == {name for name, sizes in kept.items() if sizes}
    assert scopes.used == sum(b.used for b in scopes._sessions.values())


def test_an_events_payload_goes_before_the_event_and_its_trace_says_so():
    runtime = Runtime()
    first = runtime.bus.publish("a", {"text": "x" * 50_000})
    run = Invocation("w", "h", "event", first)
    runtime.history.begin(run)
    runtime.history.end(run)
    for _ in range(4):
        runtime.act("publish", 50_000)
    kept = runtime.history.event(first.event_id)
    assert not has_payload(kept)
    assert kept.payload["dreadnode_truncated"] is True
    assert "(its payload is not kept any more)" in str(Trace(kept, runtime.history))
    assert runtime.history.dropped.payloads > 0
    assert has_payload(first), "who published it has it still"


def test_runs_that_had_to_go_are_counted_and_one_that_failed_keeps_the_trace_from_being_ok():
    runtime = Runtime()
    event = runtime.bus.publish("a")
    failed = Invocation("w", "h", "event", event)
    runtime.history.begin(failed)
    runtime.history.end(failed, ValueError("x" * 5_000))
    trace = Trace(event, runtime.history)
    assert not trace.ok
    for _ in range(40):
        runtime.act("begin", 0)
        runtime.act("fail", 5_000)
    assert (trace.invocations, trace.runs_lost) == ([], 1)
    assert not trace.ok
    assert "(1 of its runs are not kept any more, 1 of which did not end well)" in str(trace)


def test_lines_that_the_log_has_dropped_are_missing_in_the_trace_and_it_says_how_many():
    runtime = Runtime()
    runtime.act("begin", 0)
    event = runtime.running[0].event
    for _ in range(10):
        runtime.act("print", 50_000)
    lines = str(Trace(event, runtime.history)).splitlines()
    lost = 10 - len(runtime.book.tail())
    assert any(f"({lost} earlier lines are not kept any more)" in line for line in lines)


def test_a_running_invocation_is_found_by_its_event_after_the_event_is_dropped(monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 3)
    runtime = Runtime()
    event = runtime.bus.publish("a")
    run = Invocation("w", "h", "event", event)
    runtime.history.begin(run)
    for _ in range(5):
        runtime.bus.publish("b")
    assert runtime.history.event(event.event_id) is None
    assert not runtime.history.is_quiet(event.event_id)
    runtime.history.end(run)
    assert runtime.history.is_quiet(event.event_id)
    assert event.event_id not in runtime.history._by_event


def test_failures_that_nobody_raised_are_counted_when_there_are_too_many(monkeypatch):
    runtime = Runtime()
    for _ in range(1_003):
        runtime.act("begin", 0)
        runtime.act("fail", 10)
    with pytest.raises(Exception, match="and 3 that failed before these"):
        runtime.history.raise_failures()


def test_an_invocation_does_not_keep_lines_alive_that_the_log_has_dropped():
    book = LogBook(2)
    invocation = Invocation("w", "h", "task")
    for number in range(5):
        WorkerLog(book).add("w", str(number), invocation=invocation)
    assert [line.text for line in invocation.logs] == ["3", "4"]
    assert invocation.lines_noted == 5


def test_a_muted_invocation_keeps_its_own_lines_within_a_megabyte():
    invocation = Invocation("w", "h", "task", muted=True)
    for _ in range(100):
        WorkerLog(LogBook()).add("w", "x" * 60_000, invocation=invocation)
    assert bytes_of([line.text for line in invocation.logs]) <= 1_100_000
    assert invocation.logs


def test_something_displayed_that_is_too_large_for_the_log_leaves_its_text():
    book = LogBook(limit=100_000)
    line = book.add("w", "a picture", data={"image/png": "x" * 200_000})
    assert line.data is None
    assert "too large to be kept in the log" in line.text


def test_the_newest_line_is_kept_whatever_its_size():
    book = LogBook(limit=1_000)
    book.add("w", "x" * 5_000)
    book.add("w", "y" * 5_000)
    assert [line.text[0] for line in book.tail()] == ["y"]
    assert book.dropped == 1
    assert isinstance(book.tail()[0], LogLine)


class Failed(Exception):
    """Unlike those that are built in, it can be referred to weakly."""


async def test_what_a_handler_raised_is_freed_without_a_collection():
    raised: list[weakref.ref[BaseException]] = []
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client):
        failure = Failed("x")
        raised.append(weakref.ref(failure))
        try:
            raise failure
        finally:
            del failure

    async with runtimes.Runtime(port=None) as runtime:
        await runtime.add(worker)
        gc.disable()
        try:
            await runtime.fire("a")
            await asyncio.sleep(0)
            assert [one() for one in raised] == [None]
        finally:
            gc.enable()
