"""Rules in a runtime: its clock, its stop, its traces, and what is ended alone."""

from __future__ import annotations

import pytest

import dnworker
from dnworker import Runtime, VirtualClock, Worker
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.patterns import batch, debounce, limit, once, throttle


@pytest.fixture
def worker():
    return Worker("bridge")


@pytest.fixture
async def runtime():
    async with Runtime(clock=VirtualClock()) as runtime:
        yield runtime


async def test_a_batch_goes_by_the_clock_of_the_runtime(runtime, worker):
    seen = []

    @worker.on_event("demo.changed")
    @batch(size=9, within=3600)
    async def index(events, client):
        seen.append([event.payload["n"] for event in events])
        await dnworker.sleep(60)
        await client.publish("demo.indexed", {"count": len(events)})

    await runtime.add(worker)
    traces = [await runtime.fire("demo.changed", {"n": n}, wait=False) for n in range(3)]
    await runtime.advance(3600)
    assert seen == [[0, 1, 2]]
    await runtime.advance(60)
    await runtime.settle()
    assert [trace.ok for trace in traces] == [True] * 3
    kinds = [
        [event.kind for one in trace.invocations for event in one.invocation.published] for trace in traces
    ]
    assert kinds == [["demo.indexed"], [], []]  # the run goes by the name of the first


async def test_the_trace_of_an_event_says_which_others_are_in_its_batch(runtime, worker):
    @worker.on_event("demo.changed")
    @batch(size=2, within=60)
    async def index(events, client):
        pass

    await runtime.add(worker)
    traces = [await runtime.fire("demo.changed", {"n": n}, wait=False) for n in range(2)]
    await runtime.settle()
    for trace in traces:
        text = str(trace)
        assert all(other.event.event_id in text for other in traces), text


async def test_what_waits_is_handled_when_its_worker_is_stopped(runtime, worker):
    seen = []

    @worker.on_event("demo.changed")
    @debounce(seconds=3600)
    async def build(event, client):
        await client.publish("demo.built", {})
        seen.append(event.payload["n"])

    managed = await runtime.add(worker)
    traces = [await runtime.fire("demo.changed", {"n": n}, wait=False) for n in range(3)]
    await runtime.advance(1)
    await managed.stop()
    assert seen == [2]
    assert [one.outcome for trace in traces for one in trace.invocations if one.handler == "build"] == [
        "ok"
    ] * 3


async def test_a_handler_under_a_rule_has_the_name_and_the_place_of_its_own(runtime, worker):
    from dnworker.workers.decorating import place_of
    from dnworker.workers.registry import handlers_of

    @worker.on_event("demo.changed")
    @limit(at_once=2)
    async def fetch(event, client):
        """Fetch it."""

    (handler,) = handlers_of(worker)
    assert (handler.key.name, handler.function.__doc__) == ("fetch", "Fetch it.")
    assert "test_in_a_runtime.py" in place_of(handler.function)
    assert handler.function.rules == ("limit(at_once=2)",)


async def test_a_key_is_handled_once_by_the_runtimes_memory(runtime, worker):
    seen = []

    @worker.on_event("order.paid")
    @once(key=lambda e: e.payload["order"])
    async def ship(event, client):
        seen.append(event.payload["order"])

    managed = await runtime.add(worker)
    for order in (7, 7, 8):
        await runtime.fire("order.paid", {"order": order})
    await managed.restart()
    await runtime.fire("order.paid", {"order": 8})
    assert seen == [7, 8]


@pytest.mark.parametrize("rule", [debounce(seconds=1), limit(at_once=1), once(key=str)])
def test_a_rule_above_the_workers_decorator_is_refused(worker, rule):
    with pytest.raises(TypeError, match=r"stands above the decorator of the worker.* below @worker.on_event"):

        @rule
        @worker.on_event("demo.changed")
        async def build(event, client):
            pass


def test_misuse_is_told_at_once():
    with pytest.raises(ValueError, match=r"batch\(size=0\) is not possible; size is a whole number from 1"):
        batch(size=0, within=1)
    with pytest.raises(
        ValueError, match=r"debounce\(seconds=-1\) is not possible; seconds is a number above 0"
    ):
        debounce(seconds=-1)
    with pytest.raises(ValueError, match=r"debounce\(seconds=nan\)"):
        debounce(seconds=float("nan"))
    with pytest.raises(ValueError, match="key is a function of the event"):
        limit(at_once=1, key="session_id")
    with pytest.raises(ValueError, match="up to 24 hours"):
        once(key=str, within="25h")
    with pytest.raises(TypeError, match=r"takes its values by name: write @limit\(at_once=2\)"):
        limit(lambda: None, at_once=1)
    with pytest.raises(TypeError, match="is none; make it 'async def'"):
        limit(at_once=1)(lambda event, client: None)


async def test_a_key_that_is_a_list_fails_its_event_in_one_line(runtime, worker):
    @worker.on_event("demo.changed")
    @debounce(seconds=1, key=lambda e: [1])
    async def build(event, client):
        pass

    await runtime.add(worker)
    trace = await runtime.fire("demo.changed", {})
    (one,) = [one for one in trace.invocations if one.handler == "build"]
    assert "the key of debounce(...) is a list, which cannot tell events apart" in one.error.summary
    assert "DN325" in one.error.summary


async def test_what_a_stop_has_handled_does_not_come_again_and_what_it_cancelled_does(tmp_path):
    def make_worker(seen):
        worker = Worker("bridge")

        @worker.on_event("demo.changed")
        @batch(size=9, within=3600)
        async def index(events, client):
            seen.append([event.payload["n"] for event in events])

        @worker.on_event("demo.wanted")
        @throttle(rate=1, per=3600)
        async def fetch(event, client):
            seen.append(event.payload["n"])

        return worker

    lives: list[list[object]] = [[], []]
    for seen in lives:
        broker = SqliteBroker(tmp_path / "events.db")
        async with Runtime(clock=VirtualClock(), broker=broker) as runtime:
            await runtime.add(make_worker(seen))
            if seen is lives[0]:
                for n in range(2):
                    await runtime.fire("demo.changed", {"n": n}, wait=False)
                    await runtime.fire("demo.wanted", {"n": n}, wait=False)
            await runtime.advance(1)
    assert lives == [[0, [0, 1]], [1]]
