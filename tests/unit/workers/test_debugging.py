"""A debugger attaches to worker processes: where, to which commands, and that nothing else breaks meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest

from dnworker import Runtime, WorkerState
from dnworker.core.errors import UsageError
from dnworker.workers.debugging import Debugged, ProcessDebug, launch_entry, with_debugpy

from ...dap import DebugClient
from ..capabilities import ECHO, make_capability


def line_of(text: str, wanted: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if wanted in line)


def test_uv_run_is_given_debugpy_and_a_python_has_it():
    assert with_debugpy("/x/uv", ["run", "--script", "a.py"], who="w") == [
        "run",
        "--with",
        "debugpy",
        "--script",
        "a.py",
    ]
    assert with_debugpy("python3.12", ["a.py"], who="w") == ["a.py"]


@pytest.mark.parametrize(
    ("command", "args", "shown"),
    [
        ("node", ["a.mjs"], "'node a.mjs'"),
        ("uv", ["tool", "run", "x"], "'uv tool'"),
        ("python", ["-c", "1"], "'python -c'"),
    ],
)
def test_what_is_no_file_of_python_is_refused(command, args, shown):
    with pytest.raises(UsageError) as refused:
        with_debugpy(command, args, who="worker 'w'")
    assert str(refused.value).startswith(f"worker 'w' runs {shown}: a debugger attaches to")


def test_a_restart_keeps_the_port_unless_another_process_has_it():
    debug = ProcessDebug()
    first = debug.reserve()
    assert debug.reserve() == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first))
        other.listen()
        assert debug.reserve() != first


def test_the_entry_for_an_editor_is_json_that_attaches_to_the_loopback_address(tmp_path):
    entry = json.loads(launch_entry("bridge", ProcessDebug(port=4711), tmp_path))
    assert (entry["type"], entry["request"]) == ("debugpy", "attach")
    assert entry["connect"] == {"host": "127.0.0.1", "port": 4711}
    assert entry["pathMappings"] == [{"localRoot": str(tmp_path), "remoteRoot": str(tmp_path)}]


def test_a_worker_is_debugged_until_that_is_taken_back():
    debugged, debug = Debugged(), ProcessDebug()
    assert debugged.put("a:b", debug) is None
    assert (debugged.of("a:b"), [*debugged]) == (debug, ["a:b"])
    assert debugged.put("a:b", None) is debug
    assert debugged.of("a:b") is None


# -- real processes ------------------------------------------------------------------------------------


@pytest.fixture
async def served():
    async with Runtime(port=0) as started:
        yield started


async def until_state(worker, state):
    async with asyncio.timeout(60):
        while worker.state is not state:
            await asyncio.sleep(0.01)


async def load_echo(
    served, tmp_path, entry="command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']", *, wait=False
):
    """Load a capability whose worker `echo` is debugged; returns the worker and its file."""
    root = make_capability(tmp_path, f"echo: {{{entry}}}", {"echo.py": ECHO})
    served.services.debugged.put("demo:echo", ProcessDebug(wait))
    await served.load(root)
    worker = served.worker("echo")
    assert worker.state is WorkerState.RUNNING, worker.error
    return worker, root / "echo.py"


@pytest.mark.slow
async def test_a_breakpoint_in_a_worker_process_stops_it_and_events_wait(served, tmp_path):
    worker, file = await load_echo(served, tmp_path)
    answers = served.bus.subscribe(["demo.pong"])
    client = await asyncio.to_thread(DebugClient, worker.debug.port)
    await asyncio.to_thread(client.attach, {str(file): [line_of(file.read_text(), "client.publish")]})
    for n in (1, 2):
        served.publish("demo.ping", {"n": n})
    await asyncio.to_thread(client.until, "stopped")
    frame = (await asyncio.to_thread(client.frames))[0]
    assert (frame["source"]["path"], frame["name"]) == (str(file), "ping")
    assert "'n': 1" in (await asyncio.to_thread(client.variables, frame))["event"]
    await asyncio.to_thread(client.ask, "setBreakpoints", source={"path": str(file)}, breakpoints=[])
    await asyncio.to_thread(client.go_on)
    assert [(await anext(answers)).payload["echo"]["n"] for _ in range(2)] == [1, 2]
    await asyncio.to_thread(client.close)
    assert worker.state is WorkerState.RUNNING


@pytest.mark.slow
async def test_a_process_that_is_stopped_in_a_debugger_ends_within_its_grace(served, tmp_path, monkeypatch):
    from dnworker.workers.subprocess_runner import SubprocessWorkerRunner

    monkeypatch.setattr(SubprocessWorkerRunner, "DEFAULT_GRACE_PERIOD_S", 0.2)
    worker, file = await load_echo(served, tmp_path)
    port = worker.debug.port
    client = await asyncio.to_thread(DebugClient, port)
    await asyncio.to_thread(client.attach, {str(file): [line_of(file.read_text(), "client.publish")]})
    served.publish("demo.ping", {"n": 1})
    await asyncio.to_thread(client.until, "stopped")
    await worker.stop()
    assert (worker.state, worker.debug) == (WorkerState.STOPPED, None)
    client.close()
    await worker.start()
    assert worker.debug.port == port  # nothing of the process before holds it
    again = await asyncio.to_thread(DebugClient, port)
    await asyncio.to_thread(again.attach, {})
    again.close()


@pytest.mark.slow
async def test_a_process_that_waits_runs_nothing_before_a_debugger_has_attached(served, tmp_path):
    worker, file = await load_echo(served, tmp_path, wait=True)
    while not any("waiting for a debugger" in line for line in worker.detail()["process"]["recent_output"]):
        await asyncio.sleep(0.01)
    assert not worker.connected.is_set()
    client = await asyncio.to_thread(DebugClient, worker.debug.port)
    await asyncio.to_thread(client.attach, {str(file): [line_of(file.read_text(), "worker = Worker")]})
    await asyncio.to_thread(client.until, "stopped")
    assert (await asyncio.to_thread(client.frames))[0]["name"] == "<module>"
    await asyncio.to_thread(client.go_on)
    await asyncio.wait_for(worker.connected.wait(), 60)
    client.close()


@pytest.mark.slow
async def test_a_process_that_waits_ends_at_once_when_it_is_stopped(served, tmp_path):
    worker, _ = await load_echo(served, tmp_path, wait=True)
    await worker.stop()
    assert worker.state is WorkerState.STOPPED


async def test_a_command_of_another_language_is_in_error_and_says_why(served, tmp_path):
    root = make_capability(tmp_path, "echo: {command: sleep, args: ['60']}")
    served.services.debugged.put("demo:echo", ProcessDebug())
    await served.load(root)
    worker = served.worker("echo")
    assert worker.state is WorkerState.ERROR
    assert "worker 'demo:echo' runs 'sleep 60': a debugger attaches to" in worker.error


@pytest.mark.slow
async def test_a_python_without_debugpy_says_what_to_install(served, tmp_path, monkeypatch):
    (tmp_path / "hidden" / "debugpy").mkdir(parents=True)
    (tmp_path / "hidden" / "debugpy" / "__init__.py").write_text("raise ImportError('hidden')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    worker, _ = await load_echo(served, tmp_path)
    await until_state(worker, WorkerState.ERROR)
    assert (
        f"{sys.executable} has no debugpy (hidden); install it there: pip install 'dnworker[debug]'"
        in worker.error
    )


@pytest.mark.slow
async def test_a_script_finds_no_trace_of_the_port_in_its_environment(served, tmp_path):
    source = """
    import os, subprocess, sys
    print([name for name in os.environ if name in ("DNWORKER_DEBUG", "PYDEVD_DISABLE_FILE_VALIDATION")])
    subprocess.run([sys.executable, "-c", "print('child ran')"], check=True)
    """
    root = make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    served.services.debugged.put("demo:echo", ProcessDebug())
    await served.load(root)
    worker = served.worker("echo")
    await until_state(worker, WorkerState.STOPPED)
    assert worker.detail()["process"]["recent_output"] == ["[]", "child ran"]


@pytest.mark.slow
async def test_it_listens_on_the_loopback_address_alone(served, tmp_path):
    worker, _ = await load_echo(served, tmp_path)
    client = await asyncio.to_thread(DebugClient, worker.debug.port)
    listening = [
        line.split()[1]
        for file in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(file).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == worker.debug.port
    ]
    client.close()
    assert [address.partition(":")[0] for address in listening] == ["0100007F"]
    assert worker.detail()["process"]["debug"] == {
        "host": "127.0.0.1",
        "port": worker.debug.port,
        "wait": False,
    }
    assert f"debugpy listens on 127.0.0.1:{worker.debug.port}" in worker.topology_label
    assert "anybody with an account on this machine" in worker.how_to_attach()
