"""A live worker with `--keep-state`: what its next generation, kernel and process begin with."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from dnworker.core.errors import UsageError, WorkerFailed
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.runtime import Runtime
from dnworker.workers.kept_state import name_of
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.records import Registration, handler_records
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options, merged, read_worker_line

KEEP = Options(keep_state=True)


def counts(live, *, startup=None):
    """Return a cell whose handler counts, and whose startup may do something."""
    worker = Worker("bridge")

    @worker.on_event("demo.add")
    async def add(event, client):
        live.state["n"] = live.state.get("n", 0) + 1

    if startup is not None:
        worker.on_startup(startup)
    return Registration(Cell(1, "source", "c1"), tuple(handler_records(worker)), {})


async def stored(runtime):
    entry = await runtime.bus.broker.get(name_of("notebook:bridge"))
    return None if entry is None else json.loads(entry.value)


def live_of(runtime):
    return LiveWorker("bridge", runtime, cast(Any, None))


async def test_the_next_kernel_begins_with_the_state_of_the_last():
    broker = MemoryBroker()
    for count in (1, 2):
        async with Runtime(port=None, broker=broker) as runtime:
            live = live_of(runtime)
            await live.commit(counts(live), KEEP)
            await runtime.fire("demo.add")
            assert live.state == {"n": count}
        assert await stored(runtime) == {"n": count}


async def test_a_new_startup_handler_finds_the_state_and_one_that_fails_changes_nothing(runtime):
    live, seen = live_of(runtime), []
    await live.commit(counts(live), KEEP)
    await runtime.fire("demo.add")

    async def start(client):
        seen.append(dict(live.managed.worker_of(3).state))

    async def fails(client):
        live.managed.worker_of(2).state["n"] = 7
        raise ValueError("no")

    with pytest.raises(WorkerFailed):
        await live.commit(counts(live, startup=fails), KEEP)
    await runtime.fire("demo.add")
    await live.commit(counts(live, startup=start), KEEP)
    assert (seen, live.state) == ([{"n": 2}], {"n": 2})
    await runtime.fire("demo.add")
    await live.managed.stop()
    assert await stored(runtime) == {"n": 3}


async def test_restart_begins_with_an_empty_state(runtime):
    live = live_of(runtime)
    await live.commit(counts(live), KEEP)
    await runtime.fire("demo.add")
    await live.commit(counts(live), KEEP, stop_first=True)
    assert live.state == {}
    await runtime.fire("demo.add")
    await live.managed.stop()
    assert await stored(runtime) == {"n": 1}


async def test_the_option_given_later_keeps_what_there_is_from_then_on(runtime):
    live = live_of(runtime)
    await live.commit(counts(live), Options())
    await runtime.fire("demo.add")
    await live.commit(counts(live), KEEP)
    assert live.state == {"n": 1}
    await live.managed.stop()
    assert await stored(runtime) == {"n": 1}


def test_the_option_is_read_and_counts_from_any_cell_of_the_worker():
    line = read_worker_line("bridge --keep-state")
    assert line.options.keep_state
    assert merged([line.options, Options()]).keep_state
    with pytest.raises(UsageError, match="a program has none"):
        read_worker_line("relay --keep-state --command node")
