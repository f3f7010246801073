"""A run as rows with times: what waited, what ran, what was published when."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dnworker import Worker
from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Invocation
from dnworker.events.span_times import SpanTimes

WORDS = ["type", "depth", "kind", "worker", "handler", "outcome"]


def at(seconds: float) -> datetime:
    return datetime(2026, 11, 3, tzinfo=UTC) + timedelta(seconds=seconds)


def event(seq: int, seconds: float, kind: str = "a") -> EventEnvelope:
    return EventEnvelope(seq=seq, kind=kind, timestamp=at(seconds))


def call(started_at: float, duration: float | None = 0.1, **fields) -> Invocation:
    return Invocation("w", "h", "event", started_at=started_at, duration=duration, **fields)


async def test_rows_lie_below_what_caused_them_and_events_of_a_kind_in_a_row_are_one(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def first(event, client):
        for n in range(3):
            await client.publish("b", {"n": n})
        await client.publish("c")

    @worker.on_event("b")
    async def second(event, client):
        if event.payload["n"] == 2:
            raise ValueError("no")

    await runtime.add(worker)
    trace = await runtime.fire("a")
    rows = trace.spans()
    assert [(row.type, row.depth, row.kind or row.handler) for row in rows] == [
        ("event", 0, "a"),
        ("call", 1, "first"),
        ("event", 2, "b"),
        ("call", 3, "second"),
        ("call", 3, "second"),
        ("call", 3, "second"),
        ("event", 2, "c"),
    ]
    b, seq = rows[2], trace.event.seq
    assert (b.seq, b.last, [mark.seq for mark in b.marks]) == (
        seq + 1,
        seq + 3,
        [seq + 1, seq + 2, seq + 3],
    )
    failed = rows[5]
    assert (failed.outcome, failed.error, failed.seq, failed.parent) == ("error", "ValueError", seq + 3, b.id)
    assert [row.heard for row in rows if row.type == "event"] == [True, True, False]
    for row in rows:
        if row.type == "call":
            assert 0 <= row.published <= row.started <= row.ended
        assert all(mark.at >= 0 for mark in row.marks)


async def test_a_call_that_runs_has_no_end(runtime):
    worker, go = Worker(name="w"), asyncio.Event()

    @worker.on_event("a")
    async def waiting(event, client):
        await go.wait()

    await runtime.add(worker)
    trace = await runtime.fire("a", wait=False)
    while not trace.invocations:
        await asyncio.sleep(0)
    assert [(row.outcome, row.ended, row.ran) for row in trace.spans()[1:]] == [("running", None, None)]
    go.set()
    await runtime.settle()
    assert trace.spans()[1].ended is not None


async def test_a_chain_of_any_length_is_walked_and_cut_with_a_note(runtime):
    worker = Worker(name="w")

    @worker.on_event("count")
    async def count(event, client):
        if event.payload["n"]:
            await client.publish("count", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    trace = await runtime.fire("count", {"n": 800})
    assert len(trace.spans(10_000)) == 1_602
    rows = trace.spans(100)
    assert len(rows) == 101
    assert (rows[-1].type, rows[-1].text) == ("note", "only the first 100 rows are shown")


async def test_a_notification_says_what_it_said_and_a_turn_what_it_was_asked_and_answered(runtime):
    worker = Worker(name="w")

    runtime.agents.default(lambda turn: f"you said {turn.message}")

    @worker.on_event("a")
    async def first(event, client):
        await client.notify("Price is wrong", body="row 3")
        await client.run_turn(session_id="s", message="hello there")

    runtime.sessions.ensure("s")
    await runtime.add(worker)
    rows = (await runtime.fire("a")).spans()
    assert next(row.text for row in rows if row.kind == "notify") == "Price is wrong: row 3"
    turn = next(row for row in rows if row.cause == "turn")
    assert turn.text == "hello there → you said hello there"


def test_a_call_waits_from_its_event_to_its_start():
    root = event(1, 10)
    times = SpanTimes(root, now=100.0, difference=at(10).timestamp() - 99.0)  # the event was a second ago
    one = call(99.25, 0.5)
    times.learn(root, [one])
    assert times.of_call(one) == pytest.approx((250, 750), abs=0.01)
    assert times.now == pytest.approx(1000, abs=0.01)


@pytest.mark.parametrize("off", [-3600.0, 3600.0, 1e9])
def test_a_clock_that_is_set_or_virtual_lets_no_call_begin_before_its_event(off):
    root = event(1, 10)
    one = call(99.0, 1.0)
    one.note_published(below := event(2, 10.5))
    times = SpanTimes(root, now=101.0, difference=at(10).timestamp() - 98.9 + off)
    times.learn(root, [one])
    started, ended = times.of_call(one)
    assert 0 <= started <= 500.001
    assert started <= times.of_event(below, one) <= ended


def test_an_event_is_never_outside_the_call_that_published_it():
    root = event(1, 10)
    one = call(99.0, 1.0)
    one.note_published(below := event(2, -90))  # the clock was set back meanwhile
    times = SpanTimes(root, now=101.0, difference=at(10).timestamp() - 99.0)
    times.learn(root, [one])
    started, ended = times.of_call(one)
    assert started <= times.of_event(below, one) <= ended
