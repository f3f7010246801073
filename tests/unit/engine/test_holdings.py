"""A worker that several nodes declare runs on one of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest

from dnworker import Worker
from dnworker.core.clock import RealClock, VirtualClock
from dnworker.core.errors import Conflict, NotStored
from dnworker.core.lifecycle import ALIVE, WorkerState
from dnworker.events.brokers.base import BrokerCapabilities
from dnworker.panel.serialize import Now
from dnworker.panel.worker_rows import row_to_json
from dnworker.runtime import Runtime
from dnworker.testing import SharedBroker, SharedStore

RUNNING, STANDBY = WorkerState.RUNNING, WorkerState.STANDBY


class Cluster:
    """Runtimes on one store, and one clock for all."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.nodes: dict[str, Runtime] = {}
        self.ran: list[tuple[str, str, int | None]] = []
        """The node, worker and fence of each event that was handled."""
        self.stack = stack

    async def join(self, name: str, *workers: str, **options) -> Runtime:
        broker = SharedBroker(self.store)
        node = Runtime(port=None, broker=broker, clock=self.clock, node=name, **options)
        self.nodes[name] = await self.stack.enter_async_context(node)
        for worker in workers:
            await node.add(self.worker(name, worker), capability="demo")
        await self.settle()
        return node

    def worker(self, node: str, name: str) -> Worker:
        made = Worker(name=name)

        @made.on_event("tick")
        async def on_tick(event, client):
            self.ran.append((node, name, client.fence))

        return made

    async def settle(self) -> None:
        for _ in range(4):
            await self.clock.advance(0.1)

    def states(self, worker: str = "bridge") -> dict[str, WorkerState]:
        return {name: node.worker(worker).state for name, node in self.nodes.items()}

    def held(self) -> dict[str, int]:
        return {
            name: sum(worker.state is RUNNING for worker in node.workers())
            for name, node in self.nodes.items()
        }


@pytest.fixture
async def cluster():
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


async def test_a_worker_that_two_nodes_declare_runs_on_the_first_and_stands_by_on_the_other(cluster):
    await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    assert cluster.states() == {"a": RUNNING, "b": STANDBY}
    assert b.worker("bridge").detail()["standby"] == "node a holds it"
    b.publish("tick")
    await cluster.settle()
    assert cluster.ran == [("a", "bridge", 1)]


async def test_a_node_that_stops_hands_its_workers_over_at_once(cluster):
    a = await cluster.join("a", "bridge")
    await cluster.join("b", "bridge")
    await a.stop()
    await cluster.settle()
    assert cluster.nodes["b"].worker("bridge").state is RUNNING
    cluster.nodes["b"].publish("tick")
    await cluster.settle()
    assert cluster.ran == [("b", "bridge", 2)]


async def test_a_holder_that_is_cut_off_stops_before_another_starts_and_that_is_within_12_s(cluster):
    a = await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    cut_at, taken_at = cluster.clock.monotonic(), None
    a.bus.broker.cut_off()
    while cluster.clock.monotonic() < cut_at + 20:
        await cluster.clock.advance(0.1)
        states = cluster.states()
        assert not (states["a"] in ALIVE and states["b"] in ALIVE), states
        if taken_at is None and states["b"] is RUNNING:
            taken_at = cluster.clock.monotonic()
    assert taken_at is not None
    assert taken_at - cut_at < 12
    lines = [line.text for line in a.logs.tail(worker="demo:bridge")]
    assert any("its lease could not be renewed for 7 s: the broker is cut off" in line for line in lines)
    assert b.worker("bridge").detail()["fence"] == 2


async def test_a_node_that_is_reached_again_takes_up_with_another_number_what_nobody_took(cluster):
    a = await cluster.join("a", "bridge")
    a.bus.broker.cut_off()
    await cluster.clock.advance(8)
    assert a.worker("bridge").state is STANDBY
    a.bus.broker.heal()
    await cluster.clock.advance(3)
    assert a.worker("bridge").state is RUNNING
    a.publish("tick")
    await cluster.settle()
    assert cluster.ran == [("a", "bridge", 2)]


async def test_a_worker_that_needs_a_label_runs_where_it_is_and_says_so_where_no_node_has_it(cluster):
    require = {"demo:bridge": ["gpu"]}
    a = await cluster.join("a", "bridge", require=require)
    assert a.worker("bridge").state is STANDBY
    why = "it needs gpu, and no node that declares it has that; start one with --label gpu"
    assert a.worker("bridge").why_standby == why
    await cluster.join("b", "bridge", labels=["gpu"])
    assert cluster.states() == {"a": STANDBY, "b": RUNNING}
    assert a.worker("bridge").why_standby == "node b holds it"


async def test_a_worker_moves_away_from_a_node_that_lacks_a_label_which_another_was_told_of(cluster):
    await cluster.join("a", "bridge")
    await cluster.join("b", "bridge", labels=["gpu"], require={"demo:bridge": ["gpu"]})
    await cluster.clock.advance(2)
    assert cluster.states() == {"a": STANDBY, "b": RUNNING}


async def test_a_node_that_joins_gets_its_share_one_at_a_time(cluster):
    names = [f"w{number}" for number in range(6)]
    await cluster.join("a", *names)
    assert cluster.held() == {"a": 6}
    b = Runtime(port=None, broker=SharedBroker(cluster.store), clock=cluster.clock, node="b")
    cluster.nodes["b"] = await cluster.stack.enter_async_context(b)
    for name in names:
        await b.add(cluster.worker("b", name), capability="demo")
    for _ in range(100):
        await cluster.clock.advance(0.05)
        assert sum(cluster.held().values()) >= 5  # one is on its way at most
    assert cluster.held() == {"a": 3, "b": 3}
    await cluster.join("c", *names)
    await cluster.clock.advance(5)
    assert cluster.held() == {"a": 2, "b": 3, "c": 1}, "what moved less than 30 s ago stays"
    await cluster.clock.advance(60)
    assert cluster.held() == {"a": 2, "b": 2, "c": 2}


async def test_a_worker_that_is_stopped_on_its_node_goes_to_another_and_not_back_until_it_is_started(cluster):
    a = await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    await a.worker("bridge").stop()
    await cluster.clock.advance(1)
    assert cluster.states() == {"a": WorkerState.STOPPED, "b": RUNNING}
    await b.stop()
    await cluster.clock.advance(15)
    assert a.worker("bridge").state is WorkerState.STOPPED
    await a.worker("bridge").start()
    assert a.worker("bridge").state is RUNNING


async def test_a_node_whose_gate_is_closed_does_not_compete(cluster):
    a = await cluster.join("a", "bridge", flags={"demo": {}})
    await a.remove("bridge")
    await a.add(cluster.worker("a", "bridge"), capability="demo", when=["on"])
    await cluster.clock.advance(5)
    assert a.worker("bridge").state in (WorkerState.GATED_OFF, WorkerState.ERROR)
    await cluster.join("b", "bridge")
    assert cluster.nodes["b"].worker("bridge").state is RUNNING


async def test_a_restart_and_a_reload_keep_the_lease(cluster):
    a = await cluster.join("a", "bridge")
    await cluster.join("b", "bridge")
    await a.worker("bridge").restart(force=True)
    await a.reload()
    await cluster.clock.advance(5)
    assert cluster.states() == {"a": RUNNING, "b": STANDBY}
    assert a.worker("bridge").detail()["fence"] == 1


async def test_a_restart_where_it_stands_by_names_the_node_that_holds_it(cluster):
    await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    with pytest.raises(Conflict, match="does not start on this node: node a holds it"):
        await b.worker("bridge").restart(force=True)
    assert cluster.states() == {"a": RUNNING, "b": STANDBY}


async def test_a_worker_that_is_removed_goes_to_another_node(cluster):
    a = await cluster.join("a", "bridge")
    await cluster.join("b", "bridge")
    await a.remove("bridge")
    await cluster.clock.advance(4)
    assert cluster.nodes["b"].worker("bridge").state is RUNNING


async def test_every_move_is_told_with_the_number_and_the_node_before(cluster):
    told = []
    a = await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    b.holdings.moves = SimpleNamespace(note=lambda *of: told.append(of))
    a.bus.broker.cut_off()
    await cluster.clock.advance(15)
    assert told == [("demo:bridge", 2, "a", "failover")]
    a.bus.broker.heal()
    await cluster.clock.advance(1)
    a.holdings.moves = b.holdings.moves
    await b.stop()
    await cluster.clock.advance(1)
    assert told[1:] == [("demo:bridge", 3, "b", "handed over")]


async def test_a_hand_over_is_told_as_one_though_nobody_looked_while_the_node_left(cluster, monkeypatch):
    told = []
    a = await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    b.holdings.moves = SimpleNamespace(note=lambda *of: told.append(of))

    async def look_at_nothing():
        pass

    with monkeypatch.context() as patched:
        patched.setattr(b.holdings, "_look", look_at_nothing)
        await a.stop()
    await cluster.clock.advance(4)
    assert told == [("demo:bridge", 2, "a", "handed over")]


async def test_a_handler_that_ignores_its_cancellation_keeps_the_worker_from_other_nodes(cluster):
    a, free = await cluster.join("a"), asyncio.Event()
    stubborn = Worker(name="bridge")

    @stubborn.on_event("tick")
    async def on_tick(event, client):
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()

    managed = await a.add(stubborn, capability="demo")
    managed._runner._invoker.grace = 0.01
    await cluster.join("b", "bridge")
    a.publish("tick")
    await cluster.settle()
    await managed.stop()
    await cluster.clock.advance(5)
    assert cluster.nodes["b"].worker("bridge").state is STANDBY
    free.set()
    await cluster.clock.advance(2)
    assert cluster.nodes["b"].worker("bridge").state is RUNNING


async def test_a_late_handler_keeps_the_number_of_its_own_turn(cluster):
    a, clients = await cluster.join("a"), []
    worker = Worker(name="bridge")

    @worker.on_startup
    async def on_start(client):
        clients.append(client)

    managed = await a.add(worker, capability="demo")
    a.bus.broker.cut_off()
    await cluster.clock.advance(8)
    a.bus.broker.heal()
    await cluster.clock.advance(3)
    assert managed.state is RUNNING
    assert [client.fence for client in clients] == [1, 2]


async def test_over_a_broker_that_is_not_shared_nothing_is_held(cluster):
    async with Runtime(port=None) as alone:
        managed = await alone.add(cluster.worker("alone", "bridge"))
        assert managed.state is RUNNING
        assert not alone.holdings.is_on
        assert "fence" not in managed.detail()
        alone.publish("tick")
        await alone.settle()
    assert cluster.ran == [("alone", "bridge", None)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"labels": "gpu"}, "labels is 'gpu'; a list is wanted"),
        ({"labels": ["a b"]}, "a label of labels is 'a b'; letters, digits and -_. are wanted"),
        ({"node": ""}, "node is ''; letters, digits"),
        ({"require": {"bridge": ["gpu"]}}, "require names 'bridge'; capability:worker is wanted"),
        ({"require": {"demo:bridge": "gpu"}}, "require of demo:bridge is 'gpu'; a list is wanted"),
    ],
)
def test_what_is_no_node_label_or_requirement_is_refused_in_one_line(options, text):
    with pytest.raises(ValueError, match=text):
        Runtime(port=None, **options)


class Lasting(SharedBroker):
    """One that remembers when schedules ran, as the real one does."""

    capabilities = BrokerCapabilities(is_shared=True, numbers_events=True, survives_kill=True)


class Behind(VirtualClock):
    """A clock whose time of day is behind that of another, with which it goes on."""

    def __init__(self, world: VirtualClock, seconds: float) -> None:
        super().__init__()
        self._world, self._behind = world, timedelta(seconds=seconds)

    def now(self):
        return self._world.now() - self._behind

    def monotonic(self) -> float:
        return self._world.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._world.sleep(seconds)

    async def sleep_until(self, when) -> bool:
        return await self._world.sleep_until(when + self._behind)


@pytest.fixture
async def ticking(cluster):
    """Nodes a and b, whose clock is behind; gives what ran where, by the clock there."""
    ran = []

    def minutely(node: str, clock: VirtualClock) -> Worker:
        worker = Worker(name="bridge")

        @worker.every(cron="* * * * *")
        async def on_minute(client):
            ran.append((node, f"{clock.now():%H:%M}"))

        return worker

    async def start(behind: float) -> list[tuple[str, str]]:
        for name, clock in {"a": cluster.clock, "b": Behind(cluster.clock, behind)}.items():
            made = Runtime(port=None, broker=Lasting(cluster.store), clock=clock, node=name)
            cluster.nodes[name] = await cluster.stack.enter_async_context(made)
            await made.add(minutely(name, clock), capability="demo")
        await cluster.settle()
        return ran

    return start


async def test_a_tick_that_the_node_before_ran_does_not_run_again_where_the_clock_is_behind(cluster, ticking):
    ran = await ticking(300)
    await cluster.clock.advance(61)
    assert ran == [("a", "00:01")]
    await cluster.nodes["a"].stop()
    await cluster.clock.advance(8 * 60)
    assert cluster.nodes["b"].worker("bridge").state is RUNNING
    assert ran == [("a", "00:01"), ("b", "00:02"), ("b", "00:03"), ("b", "00:04")]


async def test_a_tick_does_not_run_where_no_other_node_could_know_of_it(cluster, ticking):
    ran = await ticking(20)
    await cluster.clock.advance(58)
    cluster.nodes["a"].bus.broker.cut_off()
    await cluster.clock.advance(3)  # due, and the lease of a is not lost yet
    assert ran == []
    await cluster.clock.advance(25)
    assert ran == [("b", "00:01")]


async def test_a_tick_that_the_broker_was_away_for_runs_as_soon_as_it_is_there(cluster, ticking):
    ran = await ticking(20)
    await cluster.clock.advance(58)
    cluster.nodes["a"].bus.broker.cut_off()
    await cluster.clock.advance(3)
    cluster.nodes["a"].bus.broker.heal()
    await cluster.clock.advance(2)
    assert ran == [("a", "00:01")]
    await cluster.clock.advance(60)
    assert ran == [("a", "00:01"), ("a", "00:02")]


async def test_a_tick_whose_note_was_written_though_no_answer_came_runs(cluster, ticking, monkeypatch):
    ran = await ticking(20)
    broker = cluster.nodes["a"].bus.broker
    put, failed = broker.put, []

    async def put_without_answer(key, value, **more):
        written = await put(key, value, **more)
        if "revision" in more and key.startswith("schedules/") and not failed:
            failed.append(key)
            raise NotStored("no answer came")
        return written

    monkeypatch.setattr(broker, "put", put_without_answer)
    await cluster.clock.advance(63)
    assert failed
    assert ran == [("a", "00:01")]


async def test_a_tick_that_another_node_notes_at_the_same_moment_runs_there_alone(
    cluster, ticking, monkeypatch
):
    ran = await ticking(20)
    broker = cluster.nodes["a"].bus.broker
    put, first = broker.put, []

    async def put_too_late(key, value, **more):
        if "revision" in more and key.startswith("schedules/") and not first:
            first.append(key)
            await put(key, value)  # as a node does that has held the worker since
        return await put(key, value, **more)

    monkeypatch.setattr(broker, "put", put_too_late)
    await cluster.clock.advance(63)
    assert first
    assert ran == []


async def test_the_panel_and_listings_say_why_a_worker_stands_by(cluster):
    await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    managed = b.worker("bridge")
    row = row_to_json(managed, {}, series=[], is_failing=False, why_no_rollback=None, now=Now.read())
    assert (row["state"], row["standby"]) == ("standby", "node a holds it")
    assert row["disabled"]["start"] == "it stands by: node a holds it"
    assert "stop" not in row["disabled"]
    component = managed.component()
    assert (component.status, component.detail) == ("standby", "node a holds it")


def test_a_runtime_can_be_started_again_on_another_loop():
    store = SharedStore(RealClock())
    runtime = Runtime(port=None, broker=SharedBroker(store), node="a")
    fences = []

    async def run(worker: str) -> None:
        async with runtime:
            managed = await runtime.add(Worker(name=worker), capability="demo")
            await asyncio.sleep(0.05)  # it looks on meanwhile
            fences.append(managed.detail()["fence"])

    asyncio.run(run("one"))
    asyncio.run(run("two"))
    assert fences == [1, 1]
