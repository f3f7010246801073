"""Every broker in turn; those that cannot do what a test is about are left out by `needs`."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

import pytest

from dnworker.events.brokers.base import Broker
from dnworker.testing.nats_server import NatsServer

from .stage import Make, Stage, staged

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from nats_servers import nats_servers


def _memory(directory: Path) -> Broker:
    from dnworker.events.brokers.memory import MemoryBroker

    return MemoryBroker()


def _sqlite(directory: Path) -> Broker:
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(directory / "events.sqlite")


SERVERS = {"jetstream": 1, "jetstream, three servers": 3}
"""How many servers keep what, by the name of the broker in these tests."""

_running = ExitStack()


@cache
def servers(name: str) -> list[NatsServer]:
    """Servers for all tests of this process; they keep what they are told in a directory of their own."""
    directory = Path(tempfile.mkdtemp(prefix="dnworker-nats-"))
    _running.callback(shutil.rmtree, directory)
    return _running.enter_context(nats_servers(directory, SERVERS[name]))


@pytest.fixture(scope="session", autouse=True)
def _end_servers() -> Iterator[None]:
    with _running:
        yield


def _jetstream(name: str, directory: Path) -> Broker:
    from dnworker.events.brokers.jetstream.broker import JetStreamBroker
    from dnworker.events.brokers.jetstream.connecting import ServerSettings

    namespace = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    urls = tuple(server.url for server in servers(name))
    return JetStreamBroker(ServerSettings(servers=urls, namespace=namespace, max_bytes=200_000_000))


async def _remove(name: str, broker: Broker) -> None:
    """Have the servers forget a namespace: they reserve the room that its streams may take."""
    import nats

    client = await nats.connect([server.url for server in servers(name)])
    for stream in (
        broker.connected.names.events,
        broker.connected.names.store,
        broker.connected.names.reports,
    ):
        await client.jetstream().delete_stream(stream)
    await client.close()


BROKERS: dict[str, Make] = {
    "memory": _memory,
    "sqlite": _sqlite,
    **{name: partial(_jetstream, name) for name in SERVERS},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test for every broker that can do what it needs."""
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", BROKERS, indirect=True)


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """A broker that is open; left out where it lacks what `@pytest.mark.needs(...)` names."""
    async with staged(BROKERS[request.param], tmp_path / "kept") as opened:
        for mark in request.node.iter_markers("needs"):
            for ability in mark.args:
                if not getattr(opened.broker.capabilities, ability):
                    pytest.skip(f"{request.param} does not have {ability}")
        yield opened
    if request.param in SERVERS:
        await _remove(request.param, opened.broker)
