"""Traces as text: a tree with a waterfall."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from dnworker import HandlerFailed, Worker
from dnworker.events import history as histories
from dnworker.events.trace import Trace


async def test_a_tree_shows_who_was_slow(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def first(event, client):
        await client.publish("b")
        await asyncio.sleep(0.02)

    @worker.on_event("b")
    async def second(event, client):
        raise KeyError("x")

    await runtime.add(worker)
    trace = await runtime.fire("a")
    lines = trace.lines()
    assert lines[0].startswith("a  #")
    assert "+ notebook:w.first  ok" in lines[1]
    assert lines[1].endswith("█" * 20)
    assert lines[2].strip().startswith("> b  #")
    assert "x notebook:w.second  error" in lines[3]
    assert lines[3].rstrip().endswith("█")
    assert lines[-1].strip() == "KeyError: 'x'"
    assert not trace.ok


async def test_a_single_run_needs_no_bar(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def only(event, client): ...

    await runtime.add(worker)
    assert "█" not in str(await runtime.fire("a"))


async def test_a_long_chain_is_walked_and_shown_as_far_as_anybody_reads(runtime):
    worker = Worker(name="w")

    @worker.on_event("count")
    async def count(event, client):
        if event.payload["n"]:
            await client.publish("count", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    trace = await runtime.fire("count", {"n": 1_500})
    assert trace.ok
    assert len(trace.events()) == 1_501
    assert "50 levels down, and not shown" in str(trace)


async def test_what_is_queued_or_runs_is_under_way_and_not_ok_yet(runtime):
    worker, go = Worker(name="w"), asyncio.Event()

    @worker.on_event("a")
    async def waiting(event, client):
        await go.wait()

    await runtime.add(worker)
    trace = await runtime.fire("a", wait=False)
    assert not trace.invocations  # it is queued
    for _ in range(2):
        assert (trace.outcome, trace.ok, trace.is_under_way) == ("under way", False, True)
        assert repr(trace) == f"<Trace a #{trace.event.seq}: under way>"
        assert "(under way: this is how far it is)" in str(trace)
        await runtime.fire("b")  # meanwhile its handler begins
    go.set()
    await runtime.settle()
    assert (trace.outcome, trace.ok, trace.is_under_way) == ("ok", True, False)
    assert "under way" not in str(trace)


async def test_what_failed_is_not_ok_though_the_rest_is_under_way(runtime):
    worker, go = Worker(name="w"), asyncio.Event()

    @worker.on_event("a")
    async def waiting(event, client):
        await go.wait()

    @worker.on_event("a")
    async def failing(event, client):
        raise KeyError("x")

    await runtime.add(worker)
    trace = await runtime.fire("a", timeout=0.01)
    assert (trace.outcome, trace.is_under_way, trace.timed_out) == ("not ok", True, True)
    go.set()


async def test_errors_of_the_whole_tree_say_whose_they_are(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def first(event, client):
        await client.publish("b")
        raise ValueError("first")

    @worker.on_event("b")
    async def second(event, client):
        raise ExceptionGroup("second", [KeyError("x"), OSError("y")])

    await runtime.add(worker)
    trace = await runtime.fire("a")
    first_error, second_error = trace.errors
    seqs = [envelope.seq for envelope in trace.events()]
    assert [first_error.label, second_error.label] == [
        f"notebook:w.first #{seqs[0]}",
        f"notebook:w.second #{seqs[1]}",
    ]
    assert str(first_error).startswith("ValueError: first (")
    assert [member.type for member in second_error.members] == ["KeyError", "OSError"]
    assert first_error.frames == trace.invocations[0].error.frames


async def test_a_trace_shows_what_an_error_came_of_and_the_members_of_a_group(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def fails(event, client):
        try:
            {}["key"]
        except KeyError as exc:
            exc.add_note("a note")
            raise ExceptionGroup("both", [ValueError("v")]) from exc

    await runtime.add(worker)
    rows = (await runtime.fire("a")).rows()
    texts = [(row.depth, row.text) for row in rows if row.category == "error"]
    assert (2, "  a note") in texts
    assert (2, "The above exception was the direct cause of the following exception:") in texts
    assert texts[-2:] == [(3, "1 of 1:"), (3, "ValueError: v")]


async def test_settle_says_what_an_error_came_of(runtime):
    worker = Worker(name="w")

    @worker.on_event("a")
    async def fails(event, client):
        try:
            {}["key"]
        except KeyError as exc:
            raise ValueError("no") from exc

    await runtime.add(worker)
    await runtime.fire("a")
    with pytest.raises(HandlerFailed, match=r"ValueError: no \(.*\n +caused by KeyError: 'key' \("):
        await runtime.settle()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_trace_whose_event_is_not_kept_any_more_says_so_and_is_not_ok(runtime, monkeypatch, fails):
    monkeypatch.setattr(histories, "EVENTS_KEPT", 10)
    worker, run = Worker(name="w"), {}

    @worker.on_event("a")
    async def first(event, client):
        for number in range(12):
            await client.publish("b", {"n": number})
        run["under way"] = str(traces[-1]).splitlines()
        if fails:
            raise KeyError("x")

    await runtime.add(worker)
    event = runtime.publish("a")
    traces = [Trace(event, runtime.history)]
    with suppress(HandlerFailed):
        await runtime.settle()
    (trace,) = traces
    assert "notebook:w.first  running" in run["under way"][2]
    assert (trace.ok, trace.outcome, trace.is_kept) == (False, "not ok", False)
    assert "(not kept any more, nor the runs that it caused: the history has the newest 10 events)" in str(
        trace
    )


async def test_a_trace_of_a_kept_event_is_ok_where_others_were_dropped(runtime, monkeypatch):
    monkeypatch.setattr(histories, "EVENTS_KEPT", 10)
    for _ in range(20):
        runtime.publish("b")
    trace = await runtime.fire("a")
    assert (trace.ok, trace.is_kept) == (True, True)
