"""Clusters for tests: several runtimes over one store, in one process, with a clock that stands still."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock
from dnworker.events.brokers.base import Accepted
from dnworker.testing import SharedBroker, SharedStore

WAIT = 20.0
"""Real seconds after which a state that does not come fails a test."""


async def until(is_so: Callable[[], object]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(WAIT):
        while not is_so():
            await asyncio.sleep(0.002)


class SlowBroker(SharedBroker):
    """One to which events and reports come late, each in their order, but not in that of the others.

    Args:
        store: what it shares.
        delay: returns how late `events` and `reports` are, in seconds.
    """

    def __init__(self, store: SharedStore, delay: Callable[[str], float]) -> None:
        super().__init__(store)
        self.delay, self._due = delay, {"events": 0.0, "reports": 0.0}
        self._own: dict[str, asyncio.Future[Accepted]] = {}
        self.reports.hear = self._later("reports", self.reports.hear)
        self._bring_at_once = super().bring

    def _later(self, what: str, act: Callable[..., None]) -> Callable[..., None]:
        def later(*args: Any) -> None:
            loop = asyncio.get_running_loop()
            self._due[what] = due = max(self._due[what], loop.time() + self.delay(what)) + 1e-6
            loop.call_at(due, act, *args, context=contextvars.Context())

        return later

    def publish(self, envelope: Any, *args: Any, **kwargs: Any) -> asyncio.Future[Accepted]:
        """Accept an event once it is delivered here, as a broker promises."""
        accepted = super().publish(envelope, *args, **kwargs)
        if accepted.done():
            return accepted
        own = self._own[envelope.event_id] = asyncio.get_running_loop().create_future()
        return own

    def bring(self, envelope: Any, *args: Any) -> None:
        """Deliver an event late."""
        self._later("events", self._bring)(envelope, *args)

    def _bring(self, envelope: Any, *args: Any) -> None:
        self._bring_at_once(envelope, *args)
        if (own := self._own.pop(envelope.event_id, None)) is not None:
            own.set_result(Accepted(envelope, is_new=True))


class Clustered:
    """Nodes `n1`, `n2` and so on.

    Args:
        count: how many.
        delay: returns how late `events` and `reports` come to each, in seconds; at once by default.
    """

    def __init__(self, count: int, delay: Callable[[str], float] | None = None) -> None:
        self._delay = delay
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.nodes: list[Runtime] = []
        for _ in range(count):
            self.make()

    def make(self) -> Runtime:
        """Make one more node, which is not started."""
        slow = None if self._delay is None else SlowBroker(self.store, self._delay)
        node = Runtime(port=None, clock=self.clock, broker=slow or SharedBroker(self.store))
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
            await node.stop(within=2)  # one that fails is to end, too

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
