"""A notebook's runtime goes to a broker that others share, and back, with its workers and its name."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest

from dnworker.core.clock import RealClock
from dnworker.core.errors import BrokerError
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.placement import Place
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.runtime import Runtime
from dnworker.testing import SharedBroker, SharedStore
from dnworker.workers.worker import Worker
from dnworker_jupyter.magics.durable import use_broker
from tests.unit.kernel.test_startup import startup


class Closed(SharedBroker):
    """One that cannot be opened."""

    async def open(self, run: str) -> None:
        raise BrokerError("no server answers")


@pytest.fixture
async def notebook():
    """A runtime as a notebook has it, with one worker that runs."""
    runtime = Runtime(port=None)
    starting = startup(runtime)
    await starting.ready()
    await runtime.add(Worker("bridge"))
    yield SimpleNamespace(
        runtime=runtime, startup=starting, mcp=SimpleNamespace(stop=AsyncMock(return_value=False))
    )
    await starting.stop()


async def becomes(worker, state: WorkerState) -> None:
    async with asyncio.timeout(20):
        while worker.state is not state:
            await asyncio.sleep(0.01)


async def test_a_notebook_joins_though_another_node_holds_its_worker_which_runs_again_after_it_leaves(
    notebook,
):
    store = SharedStore(RealClock())
    async with Runtime(port=None, broker=SharedBroker(store), node="a") as other:
        await other.add(Worker("bridge"))
        await use_broker(notebook, SharedBroker(store), Place("nb"))
        worker = notebook.runtime.worker("bridge")
        assert worker.state is WorkerState.STANDBY
        assert worker.why_standby == "node a holds it"
        await use_broker(notebook, MemoryBroker())
        await becomes(notebook.runtime.worker("bridge"), WorkerState.RUNNING)
        assert other.worker("bridge").state is WorkerState.RUNNING


async def test_a_second_join_that_fails_leaves_the_notebook_the_node_that_it_was(notebook):
    store, runtime = SharedStore(RealClock()), notebook.runtime
    await use_broker(notebook, SharedBroker(store), Place("first", ["gpu"]))
    with pytest.raises(BrokerError, match="no server answers"):
        await use_broker(notebook, Closed(store), Place("second"))
    assert runtime.is_started
    assert (runtime.holdings.node, runtime.holdings.labels) == ("first", ["gpu"])
    assert (runtime.nodes.name, runtime.cluster.node) == ("first", "first")
    await becomes(runtime.worker("bridge"), WorkerState.RUNNING)
