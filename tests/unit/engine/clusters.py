"""Clusters for tests: several runtimes over one store, in one process, with a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock
from dnworker.testing import SharedBroker, SharedStore

WAIT = 20.0
"""Real seconds after which a state that does not come fails a test."""


async def until(is_so: Callable[[], object]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(WAIT):
        while not is_so():
            await asyncio.sleep(0.002)


class Clustered:
    """Nodes `n1`, `n2` and so on.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.nodes: list[Runtime] = []
        for _ in range(count):
            self.make()

    def make(self) -> Runtime:
        """Make one more node, which is not started."""
        node = Runtime(port=None, clock=self.clock, broker=SharedBroker(self.store))
        self.nodes.append(node)
        node.cluster.node = f"n{len(self.nodes)}"
        return node

    async def __aenter__(self) -> Clustered:
        for node in self.nodes:
            await node.start()
        await self.known()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            if (broker := node.bus.broker).is_cut_off:
                broker.heal()
            await node.stop()

    async def add(self, at: int, worker: Worker) -> None:
        """Run a worker on one node; returns once all know what it listens to."""
        await self.nodes[at].add(worker)
        await self.known()

    async def known(self) -> None:
        """Return when all nodes know of each other, and who listens to what."""
        await until(lambda: all(self._is_known(one) for one in self.nodes if one.cluster.elsewhere))

    def _is_known(self, node: Runtime) -> bool:
        seen = {peer.node: peer.listens for peer in node.cluster.elsewhere.peers()}
        there = {one.cluster.node: one.bus.listening() for one in self.nodes if one.cluster.elsewhere}
        return seen == {name: kinds for name, kinds in there.items() if name != node.cluster.node}

    async def passes(self, is_so: Callable[[], object]) -> None:
        """Let virtual time pass until something is so."""
        async with asyncio.timeout(WAIT):
            while not is_so():
                await self.clock.advance(0.5)
                await asyncio.sleep(0.03)  # reports gather in real time
