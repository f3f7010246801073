"""The runtime starts when it is needed, once, and again after it was stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnworker.core.errors import BrokerError
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.runtime import Runtime
from dnworker.workers.worker import Worker
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.loop_watch import LoopWatch
from dnworker_jupyter.kernel.startup import RuntimeStartup


def startup(runtime: Runtime) -> RuntimeStartup:
    return RuntimeStartup(runtime, KernelLoop(SimpleNamespace(kernel=object())), LoopWatch(runtime))


async def test_the_runtime_starts_once_for_all_who_wait(monkeypatch):
    runtime = Runtime(port=None)
    starting, starts, waits, start = startup(runtime), [], [], runtime.start

    async def counted():
        starts.append(1)
        await start()

    monkeypatch.setattr(runtime, "start", counted)
    starting.on_loop.add(lambda: waits.append(1))
    await asyncio.gather(starting.ready(), starting.ready())
    await starting.ready()
    assert runtime.is_started
    assert len(starts) == 1
    assert len(waits) >= 3
    await starting.stop()
    assert not runtime.is_started


async def test_after_a_stop_the_workers_that_ran_start_again():
    runtime = Runtime(port=None)
    starting = startup(runtime)
    await starting.ready()
    await runtime.add(Worker("bridge"))
    await runtime.stop()
    starting.note_stopped(["notebook:bridge"])
    await starting.ready()
    assert str(runtime.worker("bridge").state) == "running"
    await starting.stop()


async def test_a_journal_that_cannot_be_written_is_noted_and_left_out(tmp_path):
    (tmp_path / "file").write_text("")
    runtime = Runtime(port=None, journal=tmp_path / "file" / "j.db")
    starting = startup(runtime)
    await starting.ready()
    assert starting.journal_problem is not None
    assert runtime.journal is None
    await starting.stop()


async def test_the_stop_of_what_never_started_is_harmless():
    await startup(Runtime(port=None)).stop()


async def test_the_journal_is_that_which_is_found_at_the_start(tmp_path):
    async def locate():
        return tmp_path / "found.db"

    runtime = Runtime(port=None, journal=tmp_path / "seeming.db")
    starting = RuntimeStartup(
        runtime, KernelLoop(SimpleNamespace(kernel=object())), LoopWatch(runtime), locate
    )
    await starting.ready()
    assert (tmp_path / "found.db").is_file()
    assert not (tmp_path / "seeming.db").exists()
    await starting.stop()


async def test_a_start_that_failed_is_tried_again(tmp_path):
    runtime = Runtime(port=None, broker=SqliteBroker(tmp_path))  # a directory
    starting = startup(runtime)
    for _ in range(2):
        with pytest.raises(BrokerError, match="is a directory"):
            await starting.ready()
    runtime.use_broker(MemoryBroker())
    await asyncio.gather(starting.ready(), starting.ready())
    assert runtime.is_started
    await starting.stop()


async def test_the_journal_of_a_broker_stays_where_it_is_and_that_of_the_notebook_is_remembered(tmp_path):
    async def locate():
        return Path(tmp_path / "found.db")

    runtime = Runtime(port=None, journal=tmp_path / "seeming.db")
    starting = RuntimeStartup(
        runtime, KernelLoop(SimpleNamespace(kernel=object())), LoopWatch(runtime), locate
    )
    await starting.ready()
    await starting.stop()
    runtime.use_broker(SqliteBroker(tmp_path / "events.db"), starting.journal)
    await starting.ready()
    assert runtime.journal.path == tmp_path / "events.db"
    assert starting.journal == tmp_path / "found.db"
    await starting.stop()


async def test_what_the_next_cell_imports_is_there_before_the_journal_is_found(monkeypatch, tmp_path):
    here, go_on = [], asyncio.Event()

    async def locate():
        await go_on.wait()

    monkeypatch.setattr("dnworker_jupyter.kernel.startup.install_compat", lambda: here.append(1))
    runtime = Runtime(port=None, journal=tmp_path / "j.db")
    starting = RuntimeStartup(
        runtime, KernelLoop(SimpleNamespace(kernel=object())), LoopWatch(runtime), locate
    )
    starting.begin()
    for _ in range(5):
        await asyncio.sleep(0)
    assert here == [1]
    go_on.set()
    await starting.ready()
    assert (tmp_path / "j.db").is_file()
    await starting.stop()
