"""Every broker in turn; those that cannot do what a test is about are left out by `needs`."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dnworker.events.brokers.base import Broker

from .stage import Make, Stage, staged


def _memory(directory: Path) -> Broker:
    from dnworker.events.brokers.memory import MemoryBroker

    return MemoryBroker()


def _sqlite(directory: Path) -> Broker:
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    return SqliteBroker(directory / "events.sqlite")


BROKERS: dict[str, Make] = {"memory": _memory, "sqlite": _sqlite}


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
