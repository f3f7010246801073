"""Brokers of one namespace, each with a stand-in for the bus."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from dnworker.core.clock import RealClock
from dnworker.core.envelope import EventEnvelope, pack
from dnworker.events.brokers.base import Accepted
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings
from dnworker.testing.nats_server import NatsServer

from ..conformance.stage import FakeOutlet

_numbers = itertools.count(1)


class Node:
    """One runtime's broker."""

    def __init__(self, server: NatsServer, namespace: str, name: str, **settings: Any) -> None:
        settings.setdefault("max_bytes", 100_000_000)
        self.outlet = FakeOutlet()
        self.broker = JetStreamBroker(
            ServerSettings(servers=(server.url,), namespace=namespace, node=name, **settings)
        )
        self.broker.attach(self.outlet, RealClock())

    @property
    def seen(self) -> list[tuple[int, str]]:
        """What was delivered here: numbers and ids, in order."""
        return [(one.seq, one.event_id) for one in self.outlet.delivered]

    def begin(
        self, kind: str = "demo.go", payload: Any = None, session: str | None = None, **more: Any
    ) -> asyncio.Future[Accepted]:
        """Publish an event."""
        packed, size = pack(payload)
        named = {name: more.pop(name) for name in ("event_id",) if name in more}
        envelope = EventEnvelope(seq=0, kind=kind, payload=packed, session_id=session, **named)
        return self.broker.publish(envelope, size, **more)

    async def publish(self, kind: str = "demo.go", payload: Any = None, **more: Any) -> EventEnvelope:
        """Publish an event, and return it once it is accepted."""
        return (await asyncio.wait_for(self.begin(kind, payload, **more), 40)).envelope


@asynccontextmanager
async def nodes(server: NatsServer, count: int, **settings: Any) -> AsyncIterator[list[Node]]:
    """Keep some brokers of a namespace open that nothing else has."""
    namespace = settings.pop("namespace", None) or f"n{next(_numbers)}"
    made = [Node(server, namespace, f"node-{number}", **settings) for number in range(count)]
    async with AsyncExitStack() as stack:
        for node in made:
            await node.broker.open("run")
            stack.push_async_callback(node.broker.close)
        yield made


async def until(is_true: Callable[[], object], what: str = "it", seconds: float = 30) -> None:
    """Return as soon as something is so."""
    ends_at = asyncio.get_running_loop().time() + seconds
    while not is_true():
        assert asyncio.get_running_loop().time() < ends_at, f"{what} is not so after {seconds:g} s"
        await asyncio.sleep(0.005)
