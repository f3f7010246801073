"""Whatever versions nodes have and change, no worker runs twice, and at last all run where the target is.

The state machine of `test_holdings_model`, whose nodes have versions of the capability that change, and some
of which do not start.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from dnworker.core.lifecycle import WorkerState
from dnworker.engine.holdings import Holdings
from dnworker.engine.placement import Place
from dnworker.engine.versions import Loaded

from . import test_holdings_model as model
from .test_holdings_model import NEEDS_GPU, NODES, RATES, STOPS, THEN, WORKERS, Histories

VERSIONS = st.sampled_from(
    [Loaded("0.1.0", "d1"), Loaded("0.1.0", "d2"), Loaded("0.2.0", "d3"), Loaded("0.3.0", "broken")]
)


class Worker(model.ModelWorker):
    """One that goes to `error` where the version of its node is broken."""

    error = "it is broken"

    async def _start(self) -> None:
        await super()._start()
        if self.state is WorkerState.RUNNING and self.node.loaded.digest == "broken":
            self.state = WorkerState.ERROR

    async def _stop(self, into: WorkerState, within: float) -> None:
        await super()._stop(into, within)
        if self.state is WorkerState.ERROR:
            self.state = into


class Node(model.Node):
    """A node that has loaded a version of the capability `demo`."""

    loaded = Loaded("0.1.0", "d1")

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.holdings = Holdings(
            Place(self.name, self.labels, {NEEDS_GPU: ["gpu"]}),
            broker=lambda: self.broker,
            clock=self.clock,
            workers=lambda: self.workers,
            log_line=lambda *args, **kwargs: None,
            loaded=lambda: {"demo": self.loaded},
        )
        self.workers = [Worker(self, worker) for worker in WORKERS]


class Upgrades(Histories):
    """What may happen to a cluster of three, whose nodes are upgraded."""

    @initialize(rates=st.tuples(RATES, RATES, RATES), stops=st.tuples(STOPS, STOPS, STOPS), then=THEN)
    def begin(self, rates, stops, then):
        self.of_next = Loaded("0.1.0", "d1")
        super().begin(rates, stops, then)

    @rule(node=NODES, rate=RATES, stop_takes=STOPS)
    def start(self, node, rate, stop_takes):
        if node not in self.cluster.nodes:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(model, "Node", Node)
                patch.setattr(Node, "loaded", self.of_next)
                super().start(node, rate, stop_takes)
                if node in self.cluster.nodes:
                    self.cluster.nodes[node].loaded = self.of_next

    @rule(version=VERSIONS)
    def deploy(self, version):
        """Let nodes that start from now on have another version."""
        self.of_next = version

    @rule(node=NODES, version=VERSIONS, then=THEN)
    def reload(self, node, version, then):
        async def reload():
            if (one := self.cluster.nodes.get(node)) is None or one.is_paused:
                return
            again = [worker for worker in one.workers if not worker.is_stopped]
            for worker in again:
                self.cluster.spawn(node, worker._stop(WorkerState.LOADING, 0.0))
            await self.cluster.step()
            one.loaded = version
            for worker in again:
                self.cluster.spawn(node, worker.start())
            await self.cluster.step()

        self.run(reload())
        self.wait(then)

    async def _settled(self):
        for node in self.cluster.nodes.values():
            node.broker.heal()
            await self._resume(node)
        await self.cluster.advance(150)

    async def _end(self):
        """Let all be well again: then each worker that can runs, with the target where that starts."""
        await self._settled()
        nodes = [*self.cluster.nodes.values()]
        targets = [node.holdings.versions.targets["demo"] for node in nodes]
        assert len({target.loaded for target in targets}) <= 1, targets
        for name in WORKERS:
            of_it = [w for node in nodes for w in node.workers if w.qualified_name == name]
            able = [w for w in of_it if not w.is_stopped and (name != NEEDS_GPU or "gpu" in w.node.labels)]
            well = [w for w in able if w.node.loaded.digest != "broken"]
            running = [w for w in of_it if w.state is WorkerState.RUNNING]
            told = [(w.node.name, w.state.value, w.why_standby, w.node.loaded.digest) for w in of_it]
            assert len(running) == (1 if well else 0), f"{name}: {told}, {targets[:1]}"
            best = [w for w in well if w.node.loaded == targets[0].loaded]
            if best:
                assert running[0] in best, f"{name} runs on another version: {told}, {targets[0]}"
        for node in [*self.cluster.nodes.values()]:
            await self._cancel(node)
        for task in model.asyncio.all_tasks() - {model.asyncio.current_task()}:
            task.cancel()
        await model.turn_loop(4)


TestUpgrades = pytest.mark.slow(Upgrades.TestCase)
TestUpgrades.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
