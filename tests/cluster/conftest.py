"""A server for each test that ends it, and one for all others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnworker.testing.nats_server import NatsServer

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # servers and nodes of `make cluster`


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that no test ends."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that a test may end."""
    with NatsServer(tmp_path / "nats") as server:
        yield server
