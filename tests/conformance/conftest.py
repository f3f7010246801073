"""Every broker in turn; those that cannot do what a test is about are left out by `needs`."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest

from dnworker.events.brokers.base import Broker
from dnworker.testing.nats_server import NatsServer

from .stage import Make, Stage, staged


def _memory(directory: Path) -> Broker:
    from dnworker.events.brokers.memory import MemoryBroker

    return MemoryBroker()


def _sqlite(directory: Path) -> Broker:
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(directory / "events.sqlite")


@cache
def server() -> NatsServer:
    """One server for all tests of this process; it keeps what it is told in a directory of its own."""
    return NatsServer(Path(tempfile.mkdtemp(prefix="dnworker-nats-"))).start()


@pytest.fixture(scope="session", autouse=True)
def _end_server() -> Iterator[None]:
    yield
    if server.cache_info().currsize:
        server().kill()
        shutil.rmtree(server().directory)


def _jetstream(directory: Path) -> Broker:
    from dnworker.events.brokers.jetstream.broker import JetStreamBroker
    from dnworker.events.brokers.jetstream.connecting import ServerSettings

    namespace = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return JetStreamBroker(
        ServerSettings(servers=(server().url,), namespace=namespace, max_bytes=200_000_000)
    )


async def _remove(broker: Broker) -> None:
    """Have the server forget a namespace: it reserves the room that its streams may take."""
    import nats

    client = await nats.connect(server().url)
    for stream in (broker.connected.names.events, broker.connected.names.store):
        await client.jetstream().delete_stream(stream)
    await client.close()


BROKERS: dict[str, Make] = {"memory": _memory, "sqlite": _sqlite, "jetstream": _jetstream}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test for every broker that can do what it needs."""
    if "stage" in metafunc.fixturenames:
        there = [name for name in BROKERS if importlib.util.find_spec(f"dnworker.events.brokers.{name}")]
        metafunc.parametrize("stage", there, indirect=True)


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """A broker that is open; left out where it lacks what `@pytest.mark.needs(...)` names."""
    async with staged(BROKERS[request.param], tmp_path / "kept") as opened:
        for mark in request.node.iter_markers("needs"):
            for ability in mark.args:
                if not getattr(opened.broker.capabilities, ability):
                    pytest.skip(f"{request.param} does not have {ability}")
        yield opened
    if request.param == "jetstream":
        await _remove(opened.broker)
