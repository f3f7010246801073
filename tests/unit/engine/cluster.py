"""Nodes on one store in one process, each with clocks of its own, for tests of what they see of each other."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from dnworker.core.clock import VirtualClock
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.node_facts import Facts
from dnworker.engine.node_records import Held, NodeRow
from dnworker.engine.nodes import Nodes
from dnworker.testing import SharedBroker, SharedStore, turn_loop


class SkewedClock:
    """A clock that shares its seconds with another, and is `off` seconds ahead of its time of day."""

    can_advance = True

    def __init__(self, clock: VirtualClock, off: float) -> None:
        self._clock = clock
        self._off = off

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._off)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def sleep_until(self, when: datetime) -> bool:
        return await self._clock.sleep_until(when)


class Holding:
    """A test double of what decides which workers a node holds."""

    def __init__(self) -> None:
        self.all: list[Held] = []

    def held(self) -> list[Held]:
        return list(self.all)


def a_worker(name: str, **facts: Any) -> Any:
    return SimpleNamespace(
        **{
            "qualified_name": name,
            "state": WorkerState.RUNNING,
            "waiting": 0,
            "stats": {},
            "definition": SimpleNamespace(members=1),
        }
        | facts
    )


class Member:
    """One node, its broker, its workers, and what it holds of them."""

    def __init__(self, clock: VirtualClock, store: SharedStore, name: str, off: float, labels: Any) -> None:
        self.clock = SkewedClock(clock, off)
        self.broker = SharedBroker(store)
        self.workers: list[Any] = []
        self.holding = Holding()
        facts = Facts(lambda: self.workers, self.clock, lambda: [0.0012], lambda: f"http://{name}:8787")
        self.nodes = Nodes(lambda: self.broker, self.clock, facts, name=name, labels=labels)
        self.nodes.holdings = self.holding

    async def open(self) -> Member:
        await self.broker.open("run")
        await self.nodes.open()
        return self

    async def close(self) -> None:
        await self.nodes.close()
        await self.broker.close()

    def kill(self) -> None:
        """End as a process does that is killed: nobody says anything."""
        for task in self.nodes._tasks:
            task.cancel()
        self.nodes._tasks = []

    def hold(self, worker: str, fence: int | None, **more: Any) -> None:
        self.workers = [*self.workers, a_worker(worker)]
        self.holding.all.append(Held(worker, fence, **more))

    def row(self, name: str) -> NodeRow:
        return next(row for row in self.nodes.rows() if row.name == name)

    def states(self) -> dict[str, str]:
        return {row.name: row.state for row in self.nodes.rows()}


class Cluster:
    """Members on one store; `advance` lets time go by for all of them."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = SharedStore(self.clock)
        self.members: list[Member] = []

    def member(self, name: str, off: float = 0.0, labels: Any = ()) -> Member:
        member = Member(self.clock, self.store, name, off, labels)
        self.members.append(member)
        return member

    async def open(self, *names: str) -> list[Member]:
        return [await self.member(name).open() for name in names]

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds, turn_loop)

    async def close(self) -> None:
        for member in self.members:
            member.broker.heal()
            await member.close()
