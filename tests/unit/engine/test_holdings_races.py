"""Leases of workers that are started, stopped or replaced while they are given back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import msgspec
import pytest

from dnworker import Worker
from dnworker.core.clock import turn_loop
from dnworker.core.lifecycle import ALIVE, WorkerState
from dnworker.engine.placement import Seat
from tests.unit.engine.test_holdings import Cluster

RUNNING, STANDBY = WorkerState.RUNNING, WorkerState.STANDBY


@pytest.fixture
async def cluster():
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


async def passes(cluster, is_so, seconds: float = 20.0) -> None:
    """Let virtual time pass until something is so."""
    end = cluster.clock.monotonic() + seconds
    while not is_so():
        assert cluster.clock.monotonic() < end, "it does not come"
        await cluster.clock.advance(0.05)


def alive(cluster, name: str) -> list[str]:
    return [
        node
        for node, runtime in cluster.nodes.items()
        for worker in runtime.workers()
        if worker.name == name and worker.state in ALIVE
    ]


async def stays_alone(cluster, name: str, seconds: float = 40.0) -> None:
    """Check that a worker runs on one node at most all the time, and on one at the end."""
    for _ in range(int(seconds / 0.25)):
        assert len(alive(cluster, name)) <= 1
        await cluster.clock.advance(0.25)
    assert len(alive(cluster, name)) == 1


def slow_to_stop(cluster, node: str, name: str, free: asyncio.Event) -> Worker:
    worker = cluster.worker(node, name)

    @worker.on_shutdown
    async def on_shutdown(client):
        await free.wait()

    return worker


def stubborn(name: str, free: asyncio.Event) -> Worker:
    """Return a worker whose handler ignores its cancellation until `free` is set."""
    worker = Worker(name=name)

    @worker.on_event("tick")
    async def on_tick(event, client):
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()

    return worker


async def two_that_hand_over(cluster, make) -> tuple[asyncio.Event, object]:
    """Have node a begin to hand w1 over to b, whose stop lasts until the event is set."""
    free = asyncio.Event()
    a = await cluster.join("a")
    managed = await a.add(make(free), capability="demo")
    await a.add(cluster.worker("a", "w2"), capability="demo")
    b = await cluster.join("b")
    await b.add(cluster.worker("b", "w1"), capability="demo")
    return free, managed


async def test_a_worker_that_is_restarted_while_it_is_handed_over_runs_on_one_node(cluster):
    free, managed = await two_that_hand_over(cluster, lambda free: slow_to_stop(cluster, "a", "w1", free))
    await passes(cluster, lambda: managed.state is WorkerState.STOPPING)
    restart = asyncio.create_task(managed.restart())
    await turn_loop()
    free.set()
    await cluster.settle()
    await asyncio.gather(restart, return_exceptions=True)
    await stays_alone(cluster, "w1")


async def test_a_worker_that_is_replaced_while_it_is_handed_over_runs_on_one_node(cluster):
    free, managed = await two_that_hand_over(cluster, lambda free: slow_to_stop(cluster, "a", "w1", free))
    await passes(cluster, lambda: managed.state is WorkerState.STOPPING)
    reload = asyncio.create_task(cluster.nodes["a"].reload())
    await turn_loop()
    free.set()
    await cluster.settle()
    await asyncio.gather(reload, return_exceptions=True)
    await stays_alone(cluster, "w1")


async def test_a_worker_that_is_started_while_its_handler_runs_on_after_a_hand_over_keeps_its_lease(cluster):
    free, managed = await two_that_hand_over(cluster, lambda free: stubborn("w1", free))
    managed._runner._invoker.grace = 0.01
    cluster.nodes["a"].publish("tick")
    await passes(cluster, lambda: managed.state is STANDBY)
    await managed.start()
    assert managed.state is RUNNING
    free.set()
    await stays_alone(cluster, "w1")


async def test_a_worker_that_is_stopped_and_started_at_once_runs_on_one_node(cluster):
    await cluster.join("a", "w1")
    await cluster.join("b", "w1")
    managed = cluster.nodes["a"].worker("w1")
    for turns in range(12):
        await managed.stop()
        await turn_loop(turns)
        await managed.start()
        await stays_alone(cluster, "w1", 3)
        if managed.state is STANDBY:
            await cluster.nodes["b"].worker("w1").stop()
            await passes(cluster, lambda: managed.state is RUNNING)
            await cluster.nodes["b"].worker("w1").start()


async def test_a_worker_that_runs_without_its_lease_stops_and_takes_it_anew(cluster):
    a = await cluster.join("a", "w1")
    await a.holdings.holds["demo:w1"].abandon()
    await cluster.clock.advance(1)
    assert a.worker("w1").state is RUNNING
    assert a.worker("w1").detail()["fence"] == 2
    assert alive(cluster, "w1") == ["a"]


async def test_a_node_that_wants_workers_and_takes_none_has_them_stop_once_and_no_more(cluster):
    a = await cluster.join("a", "w1", "w2")
    for _ in range(100):
        seat = Seat(node="x", holder="x/1", wants=["demo:w1", "demo:w2"])
        await cluster.store.put("seat.x/1", msgspec.json.encode(seat), seconds=10)
        await cluster.clock.advance(2)
    assert cluster.held() == {"a": 2}
    assert [a.worker(name).detail()["fence"] for name in ("w1", "w2")] <= [2, 2]


async def test_a_worker_whose_handler_does_not_end_stays_and_others_are_handed_over(cluster):
    free, managed = await two_that_hand_over(cluster, lambda free: stubborn("w1", free))
    a, b = cluster.nodes.values()
    managed._runner._invoker.grace = 0.01
    a.publish("tick")
    await passes(cluster, lambda: managed.state is STANDBY)
    await b.add(cluster.worker("b", "w2"), capability="demo")
    await passes(cluster, lambda: managed.state is RUNNING)
    assert any("it stays on this node, a: a handler" in line.text for line in a.logs.tail(worker="demo:w1"))
    await passes(cluster, lambda: alive(cluster, "w2") == ["b"])
    assert alive(cluster, "w1") == ["a"]
    free.set()
    await stays_alone(cluster, "w1")


async def stubborn_on(cluster, free: asyncio.Event):
    """Have a worker's handler run on node a that does not end, and the worker stand by on b."""
    a = await cluster.join("a")
    managed = await a.add(stubborn("w1", free), capability="demo")
    managed._runner._invoker.grace = 0.01
    await cluster.join("b", "w1")
    a.publish("tick")
    await cluster.settle()
    return a, managed


async def test_a_worker_that_is_removed_while_its_handler_runs_on_goes_to_nobody_before_that_ends(cluster):
    free = asyncio.Event()
    a, _ = await stubborn_on(cluster, free)
    await a.remove("w1")
    await cluster.clock.advance(20)
    assert alive(cluster, "w1") == []
    free.set()
    await cluster.clock.advance(5)
    assert alive(cluster, "w1") == ["b"]


async def test_a_node_that_stops_lets_the_lease_of_a_worker_end_whose_handler_runs_on(cluster):
    free = asyncio.Event()
    a, _ = await stubborn_on(cluster, free)
    await a.remove("w1")
    await a.stop()
    await cluster.clock.advance(3)
    assert alive(cluster, "w1") == []
    await cluster.clock.advance(10)
    assert alive(cluster, "w1") == ["b"]
    free.set()


async def test_a_worker_that_lost_its_lease_starts_here_again_once_its_handler_has_ended(cluster):
    free = asyncio.Event()
    a, managed = await stubborn_on(cluster, free)
    await cluster.nodes["b"].worker("w1").stop()
    a.bus.broker.cut_off()
    await cluster.clock.advance(8)
    a.bus.broker.heal()
    await cluster.clock.advance(5)
    assert (managed.state, managed.why_standby) == (
        STANDBY,
        "a handler of it has not ended here, though it was cancelled",
    )
    free.set()
    await passes(cluster, lambda: managed.state is RUNNING)


async def test_a_worker_whose_state_cannot_be_read_says_so_and_starts_once_it_can(cluster, monkeypatch):
    a = await cluster.join("a", "w1")
    managed = a.worker("w1")
    await managed.stop()
    await cluster.settle()
    read = managed._before_start

    async def fails() -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(managed, "_before_start", fails)
    await managed.start()
    why = "what it needs to start cannot be read: the disk is away"
    assert (managed.state, managed.why_standby) == (STANDBY, why)
    monkeypatch.setattr(managed, "_before_start", read)
    await passes(cluster, lambda: managed.state is RUNNING)


async def test_a_start_that_is_interrupted_before_it_began_leaves_the_worker_to_others(cluster, monkeypatch):
    a, b = await cluster.join("a", "w1"), await cluster.join("b")
    managed = a.worker("w1")
    await managed.stop()
    await cluster.settle()
    monkeypatch.setattr(managed, "_before_start", asyncio.Event().wait)
    start = asyncio.create_task(managed.start())
    await cluster.settle()
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await b.add(cluster.worker("b", "w1"), capability="demo")
    await passes(cluster, lambda: alive(cluster, "w1") == ["b"])


async def test_a_worker_that_nobody_starts_any_more_does_not_keep_its_lease(cluster):
    a = await cluster.join("a", "w1")
    await cluster.join("b", "w1")
    await a.worker("w1").halt()
    assert not a.worker("w1").is_stopped
    await passes(cluster, lambda: alive(cluster, "w1") == ["b"])


async def test_a_generation_that_is_withdrawn_leaves_a_stopped_worker_stopped(cluster):
    a = await cluster.join("a", "w1")
    managed = a.worker("w1")
    await managed.stop()
    before = managed._generation
    await managed.start()
    await managed.withdraw(before, WorkerState.STOPPED, None)
    assert (managed.state, managed.is_stopped) == (WorkerState.STOPPED, True)


async def test_a_node_whose_broker_does_not_answer_closes_within_2_s(cluster, monkeypatch):
    a = await cluster.join("a", "w1", "w2")

    async def hangs(*args, **kwargs):
        await asyncio.Event().wait()

    for call in ("give_back", "delete"):
        monkeypatch.setattr(a.bus.broker, call, hangs)
    began = cluster.clock.monotonic()
    await a.worker("w1").stop()
    closing = asyncio.create_task(a.holdings.close())
    await passes(cluster, closing.done)
    assert cluster.clock.monotonic() <= began + 2.2
    assert not a.holdings.is_on


async def test_a_worker_whose_import_takes_longer_than_its_lease_does_not_start_without_it(
    cluster, monkeypatch
):
    a = await cluster.join("a", "w1")
    managed, steps = a.worker("w1"), []
    make = managed._make_runner

    def slow():
        cluster.clock._elapsed += 8 if not steps else 0
        steps.append(managed.state)
        return make()

    monkeypatch.setattr(managed, "_make_runner", slow)
    await managed.stop()
    await managed.start()
    assert managed.state is STANDBY
    await passes(cluster, lambda: managed.state is RUNNING)
    assert a.holdings.fence("demo:w1") > 1
