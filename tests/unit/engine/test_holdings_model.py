"""Whatever nodes, clocks and the broker do, no worker runs on two nodes at once, and at last it runs on one.

A state machine over `Holdings` of three nodes, with stand-ins for their workers, on virtual time.
"""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dnworker.core.clock import VirtualClock, turn_loop
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.holdings import Holdings
from dnworker.engine.placement import Place
from dnworker.events.bus import EventBus
from dnworker.testing import SharedBroker, SharedStore

WORKERS = ("demo:bridge", "demo:gauge", "demo:relay")
NEEDS_GPU = "demo:relay"
AT_ONCE = frozenset({WorkerState.RUNNING, WorkerState.STOPPING})
"""The states in which handlers may run."""

EXCUSED_FOR = 0.3
"""Seconds after a pause past its lease in which a node stops what it had: fences are for those."""


class NodeClock:
    """The clock of one node: it drifts, began at another time, and stands still for who sleeps while paused."""

    can_advance = True

    def __init__(self, world: VirtualClock, rate: float, began: float) -> None:
        self.world, self.rate, self.began = world, rate, began
        self.resumed = asyncio.Event()
        self.resumed.set()

    def monotonic(self) -> float:
        return self.began + self.world.monotonic() * self.rate

    def now(self):
        return self.world.now()

    async def sleep(self, seconds: float) -> None:
        await self.world.sleep(seconds / self.rate)
        await self.resumed.wait()


class NodeBroker(SharedBroker):
    """A broker whose answers reach a paused node late."""

    clock: NodeClock

    async def _late(self, request):
        try:
            await self.clock.resumed.wait()
        except BaseException:
            request.close()
            raise
        answer = await request
        await self.clock.resumed.wait()
        return answer

    async def acquire(self, name, holder, seconds):
        return await self._late(super().acquire(name, holder, seconds))

    async def renew(self, lease, seconds):
        return await self._late(super().renew(lease, seconds))

    async def give_back(self, lease):
        return await self._late(super().give_back(lease))

    async def entries(self, prefix):
        return await self._late(super().entries(prefix))

    async def put(self, key, value, *, revision=None, seconds=None):
        return await self._late(super().put(key, value, revision=revision, seconds=seconds))


class ModelWorker:
    """What `Holdings` needs of a managed worker; its handlers take a while to end, as long as they may."""

    is_stopped = is_running_on = False
    definition = SimpleNamespace(problem=None)

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.qualified_name = node, name
        self.state = WorkerState.LOADING
        self.why_standby = ""
        self.fences: list[int] = []
        self._turn = asyncio.Lock()

    @property
    def is_at_rest(self) -> bool:
        return self.state not in AT_ONCE and not self._turn.locked()

    async def start(self) -> None:
        async with self._turn:
            await self._start()

    async def _start(self) -> None:
        self.is_stopped = False
        why = await self.node.holdings.admit(self.qualified_name)
        self.state = WorkerState.RUNNING if why is None else WorkerState.STANDBY
        if why is None:
            self.fences.append(self.node.holdings.fence(self.qualified_name))
        self.node.holdings.wake()

    async def take_up(self) -> None:
        async with self._turn:
            if self.state is WorkerState.STANDBY:
                await self._start()

    async def stand_by(self, why: str, *, within: float | None = None) -> None:
        await self._stop(WorkerState.STANDBY, 5.0 if within is None else within)

    async def stop(self) -> None:
        self.is_stopped = True
        await self._stop(WorkerState.STOPPED, 5.0)

    async def _stop(self, into: WorkerState, within: float) -> None:
        async with self._turn:
            if self.state is WorkerState.RUNNING:
                self.state = WorkerState.STOPPING
                await self.node.clock.sleep(min(within, self.node.stop_takes))
            if self.state is not WorkerState.STOPPED:
                self.state = into
            self.node.holdings.wake()

    def note_standby(self, why: str) -> None:
        self.why_standby = why

    def bound_by(self, until: float) -> None:
        raise AssertionError("the guard goes by the machine's clock")


class Node:
    """One node, from its start to its end."""

    def __init__(
        self, cluster: Cluster, name: str, labels: list[str], rate: float, stop_takes: float
    ) -> None:
        self.name, self.labels, self.stop_takes = name, labels, stop_takes
        self.clock = NodeClock(cluster.world, rate, 1000.0 * rate)
        self.broker = NodeBroker(cluster.store)
        self.broker.clock = self.clock
        EventBus(self.clock, broker=self.broker)
        self.excused_until = 0.0
        self.paused_at: float | None = None
        self.holdings = Holdings(
            Place(name, labels, {NEEDS_GPU: ["gpu"]}),
            broker=lambda: self.broker,
            clock=self.clock,
            workers=lambda: self.workers,
            log_line=lambda *args, **kwargs: None,
        )
        self.workers = [ModelWorker(self, worker) for worker in WORKERS]

    @property
    def is_paused(self) -> bool:
        return not self.clock.resumed.is_set()

    async def begin(self) -> None:
        await self.broker.open("run")
        await self.holdings.open()
        await asyncio.gather(*(worker.start() for worker in self.workers))


class Cluster:
    """The nodes that are up, on a store of its own clock."""

    def __init__(self) -> None:
        self.world = VirtualClock()
        self.store = SharedStore(self.world)
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, list[asyncio.Task]] = {}

    def check(self) -> None:
        now = self.world.monotonic()
        for name in WORKERS:
            running = [
                (node.name, worker.state.value)
                for node in self.nodes.values()
                for worker in node.workers
                if worker.qualified_name == name
                and worker.state in AT_ONCE
                and not node.is_paused
                and now >= node.excused_until
            ]
            assert len(running) <= 1, f"{name} runs on {running} at {now}"

    async def step(self) -> None:
        await turn_loop(14)
        self.check()

    async def advance(self, seconds: float) -> None:
        await self.world.advance(seconds, self.step)
        for _ in range(3):  # with no sleeper left, time has passed in one step
            await self.step()

    def spawn(self, node: str, coro) -> asyncio.Task:
        task = asyncio.get_running_loop().create_task(coro, context=contextvars.Context())
        self.tasks.setdefault(node, []).append(task)
        return task


NODES = st.sampled_from(["a", "b", "c"])
RATES = st.sampled_from([1.0, 0.96, 1.04, 0.999])
STOPS = st.sampled_from([0.0, 0.4, 6.0])
THEN = st.sampled_from([0.0, 0.5, 2.0, 4.5, 7.5, 12.0, 35.0])
"""Seconds that pass after a step."""
LABELS = {"a": [], "b": ["gpu"], "c": ["gpu"]}


class Histories(RuleBasedStateMachine):
    """What may happen to a cluster of three."""

    @initialize(rates=st.tuples(RATES, RATES, RATES), stops=st.tuples(STOPS, STOPS, STOPS), then=THEN)
    def begin(self, rates, stops, then):
        self.runner = asyncio.Runner()
        self.cluster = Cluster()
        for node, rate, stop_takes in zip("abc", rates, stops, strict=True):
            self.start(node, rate, stop_takes)
        self.wait(then)

    def run(self, coro):
        return self.runner.run(coro)

    def teardown(self):
        if hasattr(self, "cluster"):
            try:
                self.run(self._end())
            finally:
                self.runner.close()

    @rule(
        node=NODES,
        rate=RATES,
        stop_takes=STOPS,
    )
    def start(self, node, rate, stop_takes):
        if node in self.cluster.nodes:
            return

        async def begin():
            made = self.cluster.nodes[node] = Node(self.cluster, node, LABELS[node], rate, stop_takes)
            self.cluster.spawn(node, made.begin())
            await self.cluster.advance(0.3)

        self.run(begin())

    @rule(node=NODES)
    def kill(self, node):
        async def kill():
            if (killed := self.cluster.nodes.pop(node, None)) is not None:
                killed.clock.resumed.clear()
                killed.broker.cut_off()
                await killed.broker.close()
                await self._cancel(killed)

        self.run(kill())

    async def _cancel(self, node):
        of_it = [
            task
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task() and self._is_of(node, task)
        ]
        for task in of_it:
            task.cancel()
        await turn_loop(4)

    def _is_of(self, node, task):
        holdings = node.holdings
        own = {holdings._looking, *holdings._acts.values(), *holdings._stops}
        own |= {hold._keeper for hold in holdings.holds.values()}
        return task in own or task in self.cluster.tasks.get(node.name, ())

    @rule(node=NODES)
    def leave(self, node):
        async def leave():
            left = self.cluster.nodes.get(node)
            if left is None or left.is_paused:
                return

            async def end():
                left.holdings.leave()
                await asyncio.gather(*(worker.stop() for worker in left.workers))
                await left.holdings.close()
                await left.broker.close()

            ending = self.cluster.spawn(node, end())
            await self.cluster.advance(30)
            assert ending.done()
            ending.result()
            del self.cluster.nodes[node]

        self.run(leave())

    @rule(node=NODES, then=THEN)
    def cut_off(self, node, then):
        if node in self.cluster.nodes:
            self.cluster.nodes[node].broker.cut_off()
        self.wait(then)

    @rule(node=NODES, then=THEN)
    def heal(self, node, then):
        if node in self.cluster.nodes:
            self.run(self._heal(self.cluster.nodes[node]))
        self.wait(then)

    async def _heal(self, node):
        node.broker.heal()

    @rule(node=NODES, then=THEN)
    def pause(self, node, then):
        if node in self.cluster.nodes and not self.cluster.nodes[node].is_paused:
            self.cluster.nodes[node].clock.resumed.clear()
            self.cluster.nodes[node].paused_at = self.cluster.world.monotonic()
        self.wait(then)

    @rule(node=NODES, then=THEN)
    def resume(self, node, then):
        if node in self.cluster.nodes:
            self.run(self._resume(self.cluster.nodes[node]))
        self.wait(then)

    async def _resume(self, node):
        if node.is_paused:
            now = self.cluster.world.monotonic()
            if now - node.paused_at > 2.0:  # a shorter one is within the margin of the lease
                node.excused_until = now + EXCUSED_FOR
            node.clock.resumed.set()
            await self.cluster.step()

    @rule(node=NODES, worker=st.sampled_from(WORKERS))
    def stop_worker(self, node, worker):
        async def stop():
            if node in self.cluster.nodes and not self.cluster.nodes[node].is_paused:
                one = next(w for w in self.cluster.nodes[node].workers if w.qualified_name == worker)
                self.cluster.spawn(node, one.stop())
                await self.cluster.step()

        self.run(stop())

    @rule(node=NODES, worker=st.sampled_from(WORKERS))
    def start_worker(self, node, worker):
        async def start():
            if node in self.cluster.nodes and not self.cluster.nodes[node].is_paused:
                one = next(w for w in self.cluster.nodes[node].workers if w.qualified_name == worker)
                if one.state is WorkerState.STOPPED:
                    self.cluster.spawn(node, one.start())
                await self.cluster.step()

        self.run(start())

    @rule(seconds=THEN)
    def wait(self, seconds):
        self.run(self.cluster.advance(seconds))

    @precondition(lambda self: hasattr(self, "cluster"))
    @invariant()
    def no_worker_runs_twice(self):
        self.cluster.check()

    async def _end(self):
        """Let all be well again: then each worker runs where it may."""
        for node in self.cluster.nodes.values():
            node.broker.heal()
            await self._resume(node)
        await self.cluster.advance(60)
        for name in WORKERS:
            of_it = [
                w for node in self.cluster.nodes.values() for w in node.workers if w.qualified_name == name
            ]
            able = [w for w in of_it if not w.is_stopped and (name != NEEDS_GPU or "gpu" in w.node.labels)]
            running = [w.node.name for w in of_it if w.state is WorkerState.RUNNING]
            told = [(w.node.name, w.state.value, w.why_standby) for w in of_it]
            assert len(running) == (1 if able else 0), f"{name} runs on {running}: {told}"
            assert all(w.node in [one.node for one in able] for w in of_it if w.state is WorkerState.RUNNING)
        for node in self.cluster.nodes.values():
            for worker in node.workers:
                assert worker.fences == sorted(worker.fences)
        for node in [*self.cluster.nodes.values()]:
            await self._cancel(node)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turn_loop(4)


TestHistories = pytest.mark.slow(Histories.TestCase)
TestHistories.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
