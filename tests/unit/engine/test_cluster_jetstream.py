"""Reports of nodes over a real NATS server: live, after the server was away, and once each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import NotStored
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings, connect
from dnworker.events.brokers.jetstream.reports import JetStreamReports
from dnworker.testing.nats_server import NatsServer
from tests.unit.engine.clusters import until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of this test's own."""
    started = NatsServer(tmp_path / "nats").start()
    yield started
    started.kill()


def settings(server: NatsServer) -> ServerSettings:
    return ServerSettings(servers=(server.url,), namespace="test", max_bytes=50_000_000)


def node(server: NatsServer, name: str) -> Runtime:
    runtime = Runtime(port=None, broker=JetStreamBroker(settings(server)))
    runtime.cluster.node = name
    return runtime


def worker(name: str, kind: str, *below: str) -> Worker:
    made = Worker(name)

    @made.on_event(kind)
    async def on_it(event, client):
        for one in below:
            await client.publish(one, {})

    return made


def known(runtime: Runtime, count: int) -> bool:
    """Return whether a node knows of so many workers that listen elsewhere."""
    return sum(len(peer.listens) for peer in runtime.cluster.elsewhere.peers()) == count


async def test_a_cascade_over_three_nodes_is_one_trace(server):
    async with node(server, "n1") as first, node(server, "n2") as second, node(server, "n3") as third:
        await second.add(worker("a", "go", "deep"))
        await third.add(worker("b", "deep"))
        await until(lambda: known(first, 2))
        for _ in range(20):
            trace = await first.fire("go", {}, timeout=10)
            assert [(run.worker, run.node, run.outcome) for run in trace.runs()] == [
                ("notebook:a", "n2", "ok"),
                ("notebook:b", "n3", "ok"),
            ]
            assert trace.ok
        await until(lambda: not third.history.running())
        (*_, ran) = third.history.invocations("notebook:b")
        (*_, above) = third.history.invocations("notebook:a")
        assert ran.parent == f"00-{trace.event.event_id}-{above.id}-01"


async def test_what_happened_while_the_server_was_away_comes_afterwards(server):
    held, go_on = asyncio.Event(), asyncio.Event()
    made = Worker("a")

    @made.on_event("go")
    async def on_go(event, client):
        held.set()
        await go_on.wait()

    async with node(server, "n1") as first, node(server, "n2") as second:
        await second.add(made)
        await until(lambda: known(first, 1))
        fired = asyncio.ensure_future(first.fire("go", {}, timeout=None))
        await held.wait()
        await until(first.history.invocations)
        server.kill()
        go_on.set()
        await until(lambda: not second.history.running())
        server.start()
        trace = await asyncio.wait_for(fired, 30)
        assert [(run.node, run.outcome) for run in trace.runs()] == [("n2", "ok")]


async def test_reports_come_in_one_order_and_once_though_they_are_added_again(server):
    connected = [await connect(settings(server)) for _ in range(2)]
    logs = [JetStreamReports(one) for one in connected]
    heard: list[list[bytes]] = [[], []]
    for log, kept in zip(logs, heard, strict=True):
        await log.open()
        log.follow(kept.append)
    for n in range(50):
        await logs[n % 2].add(b"%d" % n)
        await logs[n % 2].add(b"%d" % n)
    await until(lambda: len(heard[0]) == len(heard[1]) == 50)
    assert heard[0] == heard[1] == [b"%d" % n for n in range(50)]
    server.kill()
    with pytest.raises(NotStored):
        await logs[0].add(b"more")
    for log, one in zip(logs, connected, strict=True):
        await log.close()
        await one.close()
