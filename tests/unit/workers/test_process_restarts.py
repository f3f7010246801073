"""Restarts of processes that fail, with real processes on virtual time."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from dnworker import RestartPolicy, Runtime, VirtualClock, WorkerState
from dnworker.core.clock import turn_loop

from ..capabilities import make_capability

FAILS = "import sys; print('no luck', flush=True); sys.exit(3)"
SLEEPS = "import time; print('up', flush=True); time.sleep(3600)"


@pytest.fixture
async def served():
    async with Runtime(
        port=0, clock=VirtualClock(), restart=RestartPolicy(max_restarts=2, window=60)
    ) as started:
        yield started


async def load(runtime, root, source, *, options=""):
    await runtime.load(
        make_capability(root, f"job: {{command: PYTHON, args: [job.py]{options}}}", {"job.py": source}, HEAD)
    )
    return runtime.worker("job")


HEAD = "flags:\n  relay: {description: d, default: true}\n"


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def until_failed(worker, restarts):
    await until(lambda: worker.state is WorkerState.ERROR and worker.restarts == restarts)


async def advance(runtime, worker, seconds, restarts):
    """Advance the clock, and return when the worker has failed again."""
    await runtime.advance(seconds)
    await until_failed(worker, restarts)


def waiting(runtime):
    """Return the tasks that wait to start a process again."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "demo:job restart"]


async def test_a_process_that_fails_is_started_again_after_twice_the_time_and_then_given_up(served, tmp_path):
    worker = await load(served, tmp_path, FAILS)
    await until_failed(worker, 0)
    assert worker.error.partition("\n")[0] == "exited with code 3; restarts after 1 s (1 of 2)"
    assert worker.component().detail == "restarts in 1 s (1 of 2)"
    assert worker.error.endswith("no luck")
    await served.advance(0.9)
    assert worker.restarts == 0
    await advance(served, worker, 0.2, 1)
    assert "restarts after 2 s (2 of 2)" in worker.error
    assert worker.detail()["process"]["restart_in"] == pytest.approx(2, abs=0.2)
    await advance(served, worker, 2.1, 2)
    first = worker.error.partition("\n")[0]
    assert first == "exited with code 3; given up after 2 restarts within 60 s of running"
    assert worker.component().detail is None
    assert worker.detail()["process"]["restarts"] == 2
    assert worker.detail()["process"]["restart_in"] is None
    await served.advance(3600)
    await turn_loop()
    assert worker.restarts == 2
    assert not waiting(served)


async def test_a_process_that_a_signal_ends_is_started_again(served, tmp_path):
    worker = await load(served, tmp_path, SLEEPS)
    first = worker.detail()["process"]["pid"]
    os.kill(first, signal.SIGKILL)
    await until_failed(worker, 0)
    assert worker.error.startswith("exited with code -9; restarts after 1 s")
    await served.advance(1)
    await until(lambda: worker.state is WorkerState.RUNNING)
    assert worker.error is None
    assert worker.component().detail is None
    assert worker.detail()["process"]["pid"] != first


async def test_a_failure_and_its_end_are_published(served, tmp_path):
    changes = served.bus.subscribe(["component.state_changed"])
    worker = await load(served, tmp_path, FAILS)
    for restarts, wait in enumerate((1, 2)):
        await until_failed(worker, restarts)
        await served.advance(wait)
    await until_failed(worker, 2)
    payloads = [event.payload for event in iter(changes.take, None)]
    failed = [one for one in payloads if one["status"] == "error"]
    assert [one["detail"] for one in failed] == ["restarts in 1 s (1 of 2)", "restarts in 2 s (2 of 2)", None]
    assert "given up after 2 restarts" in failed[-1]["error"]


async def test_a_start_by_hand_gives_all_restarts_again(served, tmp_path):
    worker = await load(served, tmp_path, FAILS)
    await until_failed(worker, 0)
    await advance(served, worker, 1, 1)
    assert await worker.restart()
    await until_failed(worker, 2)
    assert "restarts after 1 s (1 of 2)" in worker.error
    assert len(waiting(served)) == 1


@pytest.mark.parametrize("end", ["stop", "reload", "unload", "gate", "remove", "runtime"])
async def test_whatever_stops_the_worker_ends_the_wait(served, tmp_path, end):
    worker = await load(served, tmp_path, FAILS, options=", when: [relay]")
    await until_failed(worker, 0)
    (tmp_path / "job.py").write_text(SLEEPS)
    match end:
        case "stop":
            await worker.stop()
        case "reload":
            await served.reload("demo")
        case "unload":
            await served.unload("demo")
        case "gate":
            await served.set_flag("demo", "relay", False)
        case "remove":
            await served.remove("job")
        case "runtime":
            await served.stop()
    await turn_loop()
    assert not waiting(served)
    assert worker.restarts == 0
    assert worker.component().detail in (None, "Requires flag: relay")
    assert "restarts after" not in (worker.error or "")
    states = [str(one.state) for one in served.workers()]
    assert states == {
        "reload": ["running"],
        "gate": ["gated_off"],
        "stop": ["error"],
        "runtime": ["error"],
    }.get(end, [])


@pytest.mark.parametrize("source", ["", "import time; time.sleep(3600)"])
async def test_an_end_without_failure_is_no_reason(served, tmp_path, source):
    worker = await load(served, tmp_path, source)
    if source:
        await worker.stop()
    await until(lambda: worker.state is WorkerState.STOPPED)
    await served.advance(3600)
    assert worker.restarts == 0


async def test_a_program_that_is_not_there_is_not_tried_again(served, tmp_path):
    await served.load(make_capability(tmp_path, "job: {command: ./no-such-program}"))
    worker = served.worker("job")
    assert worker.state is WorkerState.ERROR
    assert "spawn failed" in worker.error
    assert not waiting(served)


async def test_a_program_that_goes_away_between_restarts_uses_them_up(served, tmp_path):
    root = make_capability(tmp_path, "job: {command: ./job}")
    (root / "job").write_text("#!/bin/sh\nexit 7\n")
    (root / "job").chmod(0o700)
    await served.load(root)
    worker = served.worker("job")
    await until_failed(worker, 0)
    (root / "job").unlink()
    await advance(served, worker, 1, 1)
    assert worker.error.startswith("spawn failed")
    assert worker.error.endswith("restarts after 2 s (2 of 2)")
    await advance(served, worker, 2, 2)
    assert "given up after 2 restarts" in worker.error


async def test_a_worker_in_this_process_is_not_started_again(served, tmp_path):
    source = """
from dnworker import Worker
worker = Worker("job")

@worker.on_startup
async def begin(client):
    raise ValueError("no luck")
"""
    await served.load(make_capability(tmp_path, "job: {path: job.py}", {"job.py": source}))
    await served.advance(3600)
    worker = served.worker("job")
    assert (worker.state, worker.error, worker.restarts) == (WorkerState.ERROR, "no luck", 0)


async def test_without_a_policy_nothing_is_started_again(tmp_path):
    async with Runtime(port=0, clock=VirtualClock()) as runtime:
        worker = await load(runtime, tmp_path, FAILS)
        await until_failed(worker, 0)
        assert worker.error.partition("\n")[0] == "exited with code 3"
        await runtime.advance(3600)
        assert worker.restarts == 0
