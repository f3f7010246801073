"""The runtime starts when it is needed, once, and again after it was stopped."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

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
