"""What runs on other nodes of a cluster belongs to the traces of events that are fired here."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import HandlerFailed
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.engine import elsewhere as elsewhere_module
from dnworker.engine import node_reports, peer_runs, reporter
from dnworker.events.brokers.messages import REPORT_BYTES
from dnworker.events.trace import Trace
from tests.unit.engine.clusters import Clustered, until

pytestmark = pytest.mark.timeout(60)


def publishing(name: str, kind: str, *kinds: str, seconds: float = 0.0) -> Worker:
    """Return a worker whose handler of a kind publishes others."""
    worker = Worker(name)

    @worker.on_event(kind)
    async def on_it(event, client):
        for below in kinds:
            await client.publish(below, {})
        await asyncio.sleep(seconds)

    return worker


def holding(name: str, kind: str) -> tuple[Worker, asyncio.Event, asyncio.Event]:
    """Return a worker whose handler waits, what says that it has begun, and what lets it end."""
    worker, begun, go_on = Worker(name), asyncio.Event(), asyncio.Event()

    @worker.on_event(kind)
    async def on_it(event, client):
        begun.set()
        await go_on.wait()

    return worker, begun, go_on


def stubborn(name: str, kind: str) -> tuple[Worker, asyncio.Event, asyncio.Event]:
    """Return what `holding` does; the handler goes on though it is cancelled, as when the lease is lost."""
    worker, begun, go_on = Worker(name), asyncio.Event(), asyncio.Event()

    @worker.on_event(kind)
    async def on_it(event, client):
        begun.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    return worker, begun, go_on


def runs_of(trace: Trace) -> list[tuple[str, str | None, str]]:
    """Return worker, node and outcome of all runs of a trace."""
    return [(run.worker.partition(":")[2], run.node, run.outcome) for run in trace.runs()]


def shape_of(trace: Trace) -> object:
    """Return the tree of a trace: kinds, and below each who ran where, and what that published."""
    runs = [
        (run.worker, run.node, run.outcome, tuple(shape_of(below) for below in run.events))
        for run in trace.invocations
    ]
    return trace.event.kind, tuple(sorted(runs, key=repr))


async def test_fire_returns_after_a_handler_of_another_node_has_ended():
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        assert not fired.done()
        go_on.set()
        trace = await fired
        assert runs_of(trace) == [("a", "n2", "ok")]
        assert trace.ok
        assert "notebook:a.on_it on n2  ok" in "\n".join(trace.lines())
        assert [span.node for span in trace.spans() if span.type == "call"] == ["n2"]


async def test_a_cascade_over_three_nodes_is_one_trace_on_each():
    async with Clustered(3) as cluster:
        await cluster.add(1, publishing("a", "go", "deep"))
        await cluster.add(2, publishing("b", "deep", "deeper", seconds=0.02))
        await cluster.add(0, publishing("c", "deeper"))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "ok"), ("b", "n3", "ok"), ("c", "n1", "ok")]
        for node in cluster.nodes[1:]:
            there = Trace(node.history.event(trace.event.event_id), node.history)
            await until(lambda there=there: there.ok and len(there.runs()) == 3)
            assert shape_of(there) == shape_of(trace)


async def test_an_error_of_another_node_is_shown_with_its_frames_and_raised_by_settle():
    async with Clustered(2) as cluster:
        worker = Worker("a")

        @worker.on_event("go")
        async def on_go(event, client):
            raise ValueError("no such thing")

        await cluster.add(1, worker)
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "error")]
        text = "\n".join(trace.lines())
        assert "ValueError: no such thing" in text
        assert 'raise ValueError("no such thing")' in text
        with pytest.raises(HandlerFailed, match="notebook:a.on_go on n2"):
            await cluster.nodes[0].settle()
        await cluster.nodes[0].settle()  # once


async def test_an_error_that_nobody_awaited_is_raised_by_settle_too():
    async with Clustered(2) as cluster:
        worker = Worker("a")

        @worker.on_event("go")
        async def on_go(event, client):
            cluster.nodes[1].note_unhandled(current_invocation.get(), ValueError("late"))

        await cluster.add(1, worker)
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert [error.is_unhandled for error in trace.errors] == [True]
        with pytest.raises(HandlerFailed, match=r"a task it started on n2\): ValueError: late"):
            await cluster.nodes[0].settle()


async def test_what_a_handler_printed_comes_with_its_end_within_bounds():
    async with Clustered(2) as cluster:
        worker = Worker("a")

        @worker.on_event("go")
        async def on_go(event, client):
            for n in range(200):
                here = current_invocation.get()
                cluster.nodes[1].log_line("notebook:a", f"line {n} {'x' * 300}", invocation=here)

        await cluster.add(1, worker)
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        (run,) = trace.runs()
        assert run.logs[-1].text.startswith("line 199 ")
        assert sum(len(line.text) for line in run.logs) <= 4_000
        assert run.lines_lost == 200 - len(run.logs)


async def test_an_event_that_is_not_accepted_when_its_handler_ends_belongs_to_the_trace():
    async with Clustered(3) as cluster:
        worker = Worker("a")

        @worker.on_event("go")
        async def on_go(event, client):
            cluster.nodes[1].publish("deep", {})

        await cluster.add(1, worker)
        await cluster.add(2, publishing("b", "deep", seconds=0.02))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "ok"), ("b", "n3", "ok")]
        here = await cluster.nodes[1].fire("go", {}, timeout=10)
        assert runs_of(here) == [("a", "n2", "ok"), ("b", "n3", "ok")]


async def test_a_report_that_comes_before_its_event_waits_for_it():
    async with Clustered(3, lambda what: 0.0) as cluster:
        cluster.nodes[0].bus.broker.delay = lambda what: 0.1 if what == "events" else 0.0
        await cluster.add(1, publishing("a", "go", "deep"))
        await cluster.add(2, publishing("b", "deep"))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "ok"), ("b", "n3", "ok")]


async def test_settle_waits_for_what_was_published_here_and_not_for_others():
    async with Clustered(3) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(2, worker)
        await cluster.nodes[0].bus.accepted(cluster.nodes[0].publish("go"))
        await begun.wait()
        await until(lambda: cluster.nodes[1].history.invocations())
        await cluster.nodes[1].settle(timeout=5)
        with pytest.raises(TimeoutError, match="notebook:a.on_it on n3"):
            await cluster.nodes[0].settle(timeout=0.2)
        go_on.set()
        await cluster.nodes[0].settle(timeout=5)


async def test_a_node_that_dies_ends_what_it_ran_and_the_trace_says_so():
    async with Clustered(2) as cluster:
        worker, begun, _ = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        cluster.nodes[1].bus.broker.cut_off()
        await cluster.passes(fired.done)
        trace = fired.result()
        assert runs_of(trace) == [("a", "n2", "cancelled")]
        assert not trace.ok
        assert "node n2 was not heard of for 10 s" in "\n".join(trace.lines())


async def test_an_event_that_no_node_takes_over_is_said_to_be_lost():
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        cluster.nodes[1].bus.broker.cut_off()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await cluster.passes(fired.done)
        trace = fired.result()
        assert trace.runs() == []
        assert "no node took it over within 15 s" in "\n".join(trace.lines())
        assert not trace.ok


async def test_an_event_whose_node_is_gone_is_waited_for_until_the_next_node_has_handled_it():
    async with Clustered(3) as cluster:
        await cluster.add(1, publishing("a", "go"))
        cluster.nodes[1].bus.broker.cut_off()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await cluster.passes(lambda: len(cluster.nodes[0].cluster.elsewhere.peers()) == 1)
        await cluster.nodes[2].add(publishing("a", "go", seconds=0.05))
        event = cluster.store.events[-1]
        assert not fired.done()
        next_node = cluster.nodes[2].bus
        next_node.release(next(one for one in cluster.store.events if one.kind == "go"), 100)
        assert event is not None
        trace = await fired
        assert runs_of(trace) == [("a", "n3", "ok")]
        assert trace.ok


async def test_an_event_that_a_worker_leaves_behind_is_waited_for_until_its_next_node_has_it():
    async with Clustered(3) as cluster:
        starting, started = publishing("a", "go"), asyncio.Event()

        @starting.on_startup
        async def on_startup(client):
            await started.wait()

        adding = asyncio.ensure_future(cluster.nodes[1].add(starting))
        await until(cluster.nodes[1].bus.listening)
        await cluster.known()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await until(lambda: cluster.nodes[1].history.waiting)
        await cluster.nodes[1].remove("a")
        await adding
        await cluster.known()
        await cluster.add(2, publishing("a", "go", seconds=0.02))
        await cluster.clock.advance(4)  # the lease of a worker that is not declared any more is kept a while
        await until(lambda: cluster.nodes[2].worker("a").state == "running")
        assert not fired.done()
        cluster.nodes[2].bus.release(next(one for one in cluster.store.events if one.kind == "go"), 100)
        assert runs_of(await fired) == [("a", "n3", "ok")]


async def test_a_node_of_the_same_name_takes_the_place_of_one_that_was_killed():
    async with Clustered(2) as cluster:
        worker, begun, _ = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        cluster.nodes[1].bus.broker.cut_off()
        again = cluster.make()
        again.cluster.node = "n2"
        await again.start()
        trace = await asyncio.wait_for(fired, 10)
        assert "how it ended is not known: node n2 was started anew" in "\n".join(trace.lines())


async def test_a_burst_is_reported_whole_and_holds_up_no_handler():
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        for _ in range(3_000):
            cluster.nodes[0].publish("go")
        await cluster.nodes[0].settle(timeout=20)
        ran = cluster.nodes[0].history.invocations()
        assert len(ran) == 3_000
        assert {one.outcome for one in ran} == {"ok"}
        assert cluster.nodes[1].cluster.reporter.dropped == 0


async def test_a_runtime_that_stops_and_starts_again_reports_again():
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        await cluster.nodes[1].stop()
        await cluster.nodes[1].start()
        await cluster.add(1, publishing("b", "go"))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert ("b", "n2", "ok") in runs_of(trace)
        assert trace.ok


async def test_a_node_that_was_cut_off_for_a_moment_reports_all_when_it_is_back():
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        cluster.nodes[1].bus.broker.cut_off()
        go_on.set()
        await until(lambda: not cluster.nodes[1].history.running())
        await cluster.clock.advance(4)
        assert not fired.done()
        cluster.nodes[1].bus.broker.heal()
        await cluster.passes(fired.done)
        assert runs_of(fired.result()) == [("a", "n2", "ok")]


async def test_a_node_that_is_cut_off_itself_judges_no_other():
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        cluster.nodes[0].bus.broker.cut_off()
        for _ in range(10):
            await cluster.clock.advance(5)
        assert not fired.done()
        assert len(cluster.nodes[0].cluster.elsewhere.peers()) == 1
        go_on.set()
        cluster.nodes[0].bus.broker.heal()
        await cluster.passes(fired.done)
        assert runs_of(fired.result()) == [("a", "n2", "ok")]


@pytest.mark.parametrize("off", [-3_600.0, 3_600.0])
async def test_a_node_whose_clock_is_set_wrong_began_what_it_runs_just_now(off, monkeypatch):
    read = node_reports.read_batch

    def read_batch(data):
        return msgspec.structs.replace(batch := read(data), sent=batch.sent + off)

    monkeypatch.setattr(node_reports, "read_batch", read_batch)
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        before = time.monotonic()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await until(lambda: cluster.nodes[0].history.invocations())
        (found,) = cluster.nodes[0].history.invocations()
        assert before - 1 <= found.started_at <= time.monotonic()
        go_on.set()
        await fired


async def test_what_was_given_up_is_put_right_when_its_node_is_heard_of_again():
    async with Clustered(2) as cluster:
        worker, begun, go_on = stubborn("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        cluster.nodes[1].bus.broker.cut_off()
        await cluster.passes(fired.done)
        trace = fired.result()
        assert runs_of(trace) == [("a", "n2", "cancelled")]
        cluster.nodes[1].bus.broker.heal()
        await cluster.passes(lambda: runs_of(trace) == [("a", "n2", "running")])
        go_on.set()
        await cluster.passes(lambda: runs_of(trace) == [("a", "n2", "ok")])
        assert trace.ok


async def test_reports_that_are_dropped_under_pressure_are_said(monkeypatch):
    monkeypatch.setattr(reporter, "REPORTS_WAITING", 10)
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        await cluster.nodes[1].add(publishing("b", "other"))
        await cluster.known()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        cluster.store.reports_fail = True
        go_on.set()
        await until(lambda: not cluster.nodes[1].history.running())
        for _ in range(50):
            await cluster.nodes[1].fire("other", {}, wait=False)
        await until(lambda: cluster.nodes[1].cluster.reporter.dropped > 50)
        cluster.store.reports_fail = False
        await cluster.passes(fired.done)
        trace = fired.result()
        text = "\n".join(trace.lines())
        assert "reports of node n2 are lost" in text
        assert not trace.ok
        assert not trace.is_under_way


def losing(node: Runtime, is_lost) -> list[node_reports.Batch]:
    """Have a node not hear the batches of which `is_lost` is true; returns those."""
    lost, reports = [], node.bus.broker.reports
    hear = reports.hear

    def hear_some(data: bytes) -> None:
        batch = node_reports.read_batch(data)
        if batch.node != node.cluster.node and is_lost(batch):
            lost.append(batch)
        else:
            hear(data)

    reports.hear = hear_some
    return lost


def starting(name: str, kind: str) -> tuple[Worker, asyncio.Event]:
    """Return a worker that takes no event until it may start, and what lets it."""
    worker, may_start = publishing(name, kind), asyncio.Event()

    @worker.on_startup
    async def on_startup(client):
        await may_start.wait()

    return worker, may_start


async def test_fire_ends_though_the_batch_is_lost_that_says_an_event_is_taken():
    async with Clustered(2) as cluster:
        worker, may_start = starting("a", "go")
        adding = asyncio.ensure_future(cluster.nodes[1].add(worker))
        await until(cluster.nodes[1].bus.listening)
        await cluster.known()
        (peer,) = cluster.nodes[0].cluster.elsewhere.peers()
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await until(lambda: peer.queued)
        lost = losing(cluster.nodes[0], lambda batch: batch.taken)
        may_start.set()
        await adding
        await until(lambda: lost)
        await cluster.passes(fired.done)
        assert peer.queued == set()


async def test_fire_does_not_end_while_an_event_is_queued_of_which_the_batch_is_lost():
    async with Clustered(2) as cluster:
        worker, may_start = starting("a", "go")
        adding = asyncio.ensure_future(cluster.nodes[1].add(worker))
        await until(cluster.nodes[1].bus.listening)
        await cluster.known()
        lost = losing(cluster.nodes[0], lambda batch: batch.queued and not lost)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await until(lambda: lost)
        for _ in range(8):
            await cluster.clock.advance(0.5)
            await asyncio.sleep(0.03)
        assert not fired.done()
        may_start.set()
        await adding
        await cluster.passes(fired.done)


async def test_a_report_that_cannot_be_written_ends_no_other(monkeypatch, caplog):
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        reports = cluster.nodes[1].cluster.reporter
        reports._add(reporter._Noted("lost", None, "\ud800", "no text"))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "ok")]
        assert reports.dropped == 1
        assert "cannot be written, and is dropped" in caplog.text


async def test_a_node_that_leaves_hands_its_last_reports_over():
    async with Clustered(2) as cluster:
        worker, begun, _ = holding("a", "go")
        await cluster.add(1, worker)
        fired = asyncio.ensure_future(cluster.nodes[0].fire("go", {}, timeout=None))
        await begun.wait()
        await until(lambda: cluster.nodes[0].history.invocations())
        await cluster.nodes[1].stop()
        await until(fired.done)
        assert runs_of(fired.result()) == [("a", "n2", "cancelled")]
        assert cluster.nodes[0].cluster.elsewhere.peers() == []


async def test_a_node_ends_though_its_broker_swallows_that_a_report_is_cancelled(monkeypatch):
    monkeypatch.setattr(reporter, "LAST_WORD_SECONDS", 0.05)
    async with Clustered(1) as cluster:
        node, adding = cluster.nodes[0], asyncio.Event()
        add = node.bus.broker.reports.add

        async def swallow(data: bytes) -> None:
            adding.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return
            await add(data)

        monkeypatch.setattr(node.bus.broker.reports, "add", swallow)
        node.publish("go")
        await cluster.clock.advance(4)
        await adding.wait()
        await asyncio.wait_for(node.stop(), 5)


async def test_a_node_that_joins_knows_what_runs():
    async with Clustered(2) as cluster:
        worker, begun, go_on = holding("a", "go")
        await cluster.add(1, worker)
        await cluster.nodes[0].fire("go", {}, wait=False)
        await begun.wait()
        third = cluster.make()
        await third.start()
        await until(third.history.invocations)
        (run,) = third.history.invocations()
        assert (run.label, run.node, run.outcome) == ("notebook:a.on_it", "n2", "running")
        go_on.set()
        await until(lambda: run.outcome == "ok")


async def test_fire_says_which_worker_of_another_node_is_down():
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        await cluster.nodes[1].worker("a").stop()
        await cluster.known()
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        text = "\n".join(trace.lines())
        assert "on node n2: notebook:a listens to it, and is stopped: start a" in text


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90" * 1_000, b"[" * 100_000, bytes(REPORT_BYTES)])
async def test_what_is_no_report_is_left_aside(data, caplog):
    async with Clustered(2) as cluster:
        await cluster.add(1, publishing("a", "go"))
        await cluster.nodes[0].bus.broker.reports.add(data)
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        assert runs_of(trace) == [("a", "n2", "ok")]
        assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"sent": float("nan")}, {"sent": float("inf")}, {"at": 2**62}, {"at": -1}, {"number": -1}]
)
async def test_a_batch_of_impossible_numbers_is_left_aside(wrong, caplog):
    batch = node_reports.Batch(1, "x", "instance", 1, 0.0, 0, True, [])
    async with Clustered(1) as cluster:
        elsewhere = cluster.nodes[0].cluster.elsewhere
        elsewhere.take(node_reports.encode(msgspec.structs.replace(batch, **wrong)))
        assert not elsewhere.peers()
        assert "cannot be read" in caplog.text


@pytest.mark.parametrize("age", [float("nan"), float("inf"), 1e300, -1.0])
async def test_an_invocation_of_impossible_age_is_left_aside(age, caplog):
    began = msgspec.Raw(node_reports.encode(node_reports.Began("i", "w", "h", "event", age)))
    async with Clustered(1) as cluster:
        cluster.nodes[0].cluster.elsewhere.take(
            node_reports.encode(node_reports.Batch(1, "x", "instance", 1, 0.0, 0, True, [began]))
        )
        assert not cluster.nodes[0].history.invocations()
        assert "cannot be read" in caplog.text


async def test_what_nodes_make_this_one_keep_is_bounded(monkeypatch, caplog):
    monkeypatch.setattr(elsewhere_module, "WAITING_BYTES", 10_000)
    monkeypatch.setattr(peer_runs, "RUNNING_KNOWN", 5)
    monkeypatch.setattr(elsewhere_module, "QUEUED_KNOWN", 7)
    began = [node_reports.Began(f"{n}", "w", "h", "task", 0.0) for n in range(20)]
    reports = [msgspec.Raw(node_reports.encode(one)) for one in began]
    async with Clustered(1) as cluster:
        elsewhere = cluster.nodes[0].cluster.elsewhere
        queued = [f"event {n}" for n in range(20)]
        batch = node_reports.Batch(1, "x", "instance", 1, time.time(), 0, True, reports, queued)
        elsewhere.take(node_reports.encode(batch))
        (peer,) = elsewhere.peers()
        assert (len(peer.running), len(peer.queued), peer.is_unsure) == (5, 7, True)
        for number in range(2, 100):
            later = msgspec.structs.replace(batch, number=number, at=1_000)
            elsewhere.take(node_reports.encode(later))
        assert sum(one.size for one in peer.waiting) <= 10_000
        assert elsewhere.lost
        assert "reports of node x are lost" in caplog.text


async def test_a_traceparent_goes_with_events_over_all_nodes():
    seen: dict[str, Invocation] = {}

    def noting(name: str, kind: str, *kinds: str) -> Worker:
        worker = Worker(name)

        @worker.on_event(kind)
        async def on_it(event, client):
            seen[name] = current_invocation.get()
            for below in kinds:
                await client.publish(below, {})

        return worker

    async with Clustered(3) as cluster:
        await cluster.add(1, noting("a", "go", "deep"))
        await cluster.add(2, noting("b", "deep", "deeper"))
        await cluster.add(0, noting("c", "deeper"))
        trace = await cluster.nodes[0].fire("go", {}, timeout=10)
        root = trace.event.event_id
        assert {one.trace_id for one in seen.values()} == {root}
        assert seen["a"].parent is None
        assert seen["b"].parent == seen["a"].span_context == f"00-{root}-{seen['a'].id}-01"
        assert seen["c"].parent == seen["b"].span_context


async def test_a_runtime_by_itself_reports_nothing():
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        await runtime.add(publishing("a", "go"))
        trace = await runtime.fire("go", {}, timeout=10)
        assert runtime.history.reported is None
        assert runtime.history.elsewhere is None
        assert [run.node for run in trace.runs()] == [None]


# Any tree: by kind, who handles it where, and what that publishes. Kinds rise, so that there is no circle.
kinds = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 4), max_size=2)), max_size=2),
    min_size=1,
    max_size=5,
)


@settings(max_examples=15, deadline=None)
@given(tree=kinds, seed=st.integers(0, 1_000))
async def test_a_trace_has_exactly_the_runs_that_ran_anywhere(tree, seed):
    ran: list[tuple[str, str]] = []
    random = Random(seed)
    async with Clustered(3, lambda what: random.random() * 0.005) as cluster:
        for n, handlers in enumerate(tree):
            for at, (node, steps) in enumerate(handlers):
                below = [f"k{n + step}" for step in steps if n + step < len(tree)]
                await cluster.nodes[node].add(_recording(ran, f"w{n}-{at}", f"k{n}", f"n{node + 1}", below))
        await cluster.known()
        trace = await cluster.nodes[0].fire("k0", {}, timeout=20)
        found = [(name, node) for name, node, outcome in runs_of(trace) if outcome == "ok"]
        assert sorted(found) == sorted(ran)
        assert trace.ok
        before = [*ran]
        await cluster.nodes[0].settle(timeout=10)
        assert ran == before


def _recording(ran: list[tuple[str, str]], name: str, kind: str, node: str, below: list[str]) -> Worker:
    worker = Worker(name)

    @worker.on_event(kind)
    async def on_it(event, client):
        for one in below:
            await client.publish(one, {})
        await asyncio.sleep(0)
        ran.append((name, node))

    return worker
