"""A declared worker: its gate, its load, the states it goes through."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import Worker, WorkerState

from ..capabilities import ECHO, make_capability


@pytest.mark.clause("4.5 gate")
async def test_a_gated_worker_is_never_imported_and_its_restart_is_refused(runtime, tmp_path):
    head = "flags:\n  relay-on: {description: the relay}\n"
    files = {"echo.py": "raise SystemExit('imported')"}
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py, when: [relay-on]}", files, head))
    worker = runtime.worker("echo")
    assert worker.state is WorkerState.GATED_OFF
    assert worker.component().detail == "Requires flag: relay-on"
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await runtime.client().restart_worker("demo", "echo")
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["detail"]["reason"] == "gated_off"


async def test_a_flag_in_the_environment_opens_a_gate(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("DREADNODE_CAPABILITY_FLAG__DEMO__RELAY_ON", "on")
    head = "flags:\n  relay-on: {description: the relay}\n"
    await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py, when: [relay-on]}", {"echo.py": ECHO}, head)
    )
    assert runtime.worker("echo").state is WorkerState.RUNNING


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "import sys; sys.exit(3)",
            r"ended itself on import with SystemExit\(3\) \(.*echo.py, line 1\).*__main__",
        ),
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*echo.py, line 1\)"),
        ("x = (", r"SyntaxError"),
        ("x = 1", r"no Worker at module level.*WRK-002"),
        (None, r"No such file"),
    ],
)
@pytest.mark.clause("13.2")
async def test_a_worker_file_that_fails_is_in_error_and_its_siblings_run(runtime, tmp_path, source, error):
    import re

    files = {"good.py": ECHO.replace('"echo"', '"good"')} | ({} if source is None else {"echo.py": source})
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}\ngood: {path: good.py}", files))
    failed = runtime.worker("echo")
    assert failed.state is WorkerState.ERROR
    assert re.search(error, failed.error)
    assert runtime.worker("good").state is WorkerState.RUNNING


async def test_a_bad_gate_is_an_error_of_its_worker_alone(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py, when: [nope]}", {"echo.py": ECHO}))
    assert "FLAG-012" in runtime.worker("echo").error


async def test_a_worker_tells_the_way_it_took_and_when(runtime):
    worker = Worker("walker")
    managed = await runtime.add(worker)
    await managed.stop()
    assert [str(move.state) for move in managed.transitions] == [
        "loading",
        "starting",
        "running",
        "stopping",
        "stopped",
    ]
    times = [move.at for move in managed.transitions]
    assert times == sorted(times)


async def test_a_worker_that_two_flags_open_at_once_is_started_once_and_can_be_stopped(runtime, tmp_path):
    head = "flags:\n  one: {description: d}\n  two: {description: d}\n"
    await runtime.load(
        make_capability(tmp_path, "echo: {path: echo.py, when: [one, two]}", {"echo.py": ECHO}, head)
    )
    worker = runtime.worker("echo")
    await asyncio.gather(runtime.set_flag("demo", "one", True), runtime.set_flag("demo", "two", True))
    assert worker.state is WorkerState.RUNNING
    await worker.start()  # it runs: nothing to do
    await worker.stop()
    assert worker.state is WorkerState.STOPPED
    assert [str(step.state) for step in worker.transitions].count("running") == 1
