"""A worker as a process of its own, and the harness that its tests use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from dnworker import Runtime, Worker


@pytest.fixture
async def served(monkeypatch):
    async with Runtime(port=0) as runtime:
        monkeypatch.setenv("DREADNODE_RUNTIME_URL", runtime.url)
        monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", runtime.tokens.main)
        yield runtime


@pytest.mark.clause("1.4 lifecycle")
async def test_run_until_drives_the_whole_lifecycle(served):
    worker, said, stop = Worker("w"), [], asyncio.Event()

    @worker.on_startup
    async def start(client):
        said.append("start")
        await client.publish("demo.ping")

    @worker.on_event("demo.ping")
    async def ping(event, client):
        said.append(event.kind)
        stop.set()

    @worker.on_shutdown
    async def end(client):
        said.append("end")

    running = asyncio.create_task(worker._run_until(stop))
    while not served.bus._subscribers.of_kind("demo.ping"):
        await asyncio.sleep(0)
    served.publish("demo.ping")
    await running
    assert said[0] == "start"
    assert said[-2:] == ["demo.ping", "end"]


@pytest.mark.clause("1.1 alone")
async def test_a_worker_without_a_name_does_not_run_alone():
    with pytest.raises(ValueError, match="needs a name"):
        await Worker()._run_until(asyncio.Event())


@pytest.mark.clause("1.4 error")
async def test_a_failed_startup_is_raised_after_shutdown(served):
    worker, said = Worker("w"), []

    @worker.on_startup
    async def start(client):
        raise KeyError("ws")

    @worker.on_shutdown
    async def end(client):
        said.append("end")

    with pytest.raises(RuntimeError, match="ws"):
        await worker._run_until(asyncio.Event())
    assert said == ["end"]


async def test_a_wrong_token_ends_the_worker_instead_of_leaving_it_deaf(served, monkeypatch):
    monkeypatch.setenv("DREADNODE_RUNTIME_TOKEN", "wrong")
    worker = Worker("w")

    @worker.on_event("a")
    async def on_a(event, client): ...

    with pytest.raises(RuntimeError, match="refused the event stream with 403"):
        await worker._run_until(asyncio.Event())


SCRIPT = """
from dnworker import Worker
worker = Worker(NAME)

@worker.on_startup
async def start(client):
    print("up", flush=True)
    START

@worker.on_shutdown
async def end(client):
    END

worker.run()
"""


async def spawn(*, name: str = "'w'", start: str = "pass", end: str = "pass"):
    code = SCRIPT.replace("NAME", name).replace("START", start).replace("END", end)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("end", ["pass", "raise ValueError('x')"])
@pytest.mark.clause("1.4 exit")
async def test_a_signal_is_a_clean_exit_whatever_shutdown_does(served, number, end):
    process = await spawn(end=end)
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(number)
    _, stderr = await process.communicate()
    assert process.returncode == 0
    assert (b"end (shutdown) failed" in stderr) == (end != "pass")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "None"}, "worker (no name): a worker that runs by itself needs a name"),
        ({"start": "raise KeyError('ws')"}, "start (startup) failed:"),
    ],
)
@pytest.mark.clause("1.4 exit")
async def test_a_worker_that_cannot_run_exits_with_one_and_says_why(served, options, said):
    process = await spawn(**options)
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert said in stderr.decode()
    assert "dnworker/" not in stderr.decode()


@pytest.mark.clause("1.4 exit")
async def test_a_runtime_that_is_not_there_is_an_exit_with_one(monkeypatch, unused_tcp_port):
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", f"http://127.0.0.1:{unused_tcp_port}")
    process = await spawn()
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert f"no runtime answers at http://127.0.0.1:{unused_tcp_port}" in stderr.decode()


async def test_an_exit_in_a_task_that_a_handler_starts_ends_the_worker_with_the_place(served):
    worker, said = Worker("w"), []

    async def exits():
        sys.exit(3)

    @worker.on_startup
    async def start(client):
        worker.state["task"] = asyncio.create_task(exits())

    @worker.on_shutdown
    async def end(client):
        said.append("end")

    with pytest.raises(RuntimeError, match=r"ended itself: SystemExit: 3 \(.*test_standalone.py, line \d+\)"):
        await worker._run_until(asyncio.Event())
    assert said == ["end"]
