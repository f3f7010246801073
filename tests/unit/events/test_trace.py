"""Traces as text: a tree with a waterfall."""

from __future__ import annotations

import asyncio

from dnworker import Worker


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
