"""A worker as a process: its environment, its token, its output, its errors."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from dnworker import Runtime, Worker, WorkerState
from dnworker.engine.retries import NOT_OF_PROCESSES
from dnworker.panel.pace import Pace
from dnworker.panel.worker_parts import read_worker
from dnworker.workers import subprocess_worker

from ..capabilities import ECHO, make_capability


@pytest.fixture
async def served():
    async with Runtime(port=0) as started:
        yield started


async def until_state(worker, state):
    async with asyncio.timeout(60):
        while worker.state is not state:
            await asyncio.sleep(0.01)


@pytest.mark.clause("13.1")
async def test_an_unset_variable_is_an_error_that_names_it(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {command: PYTHON, args: ['${NO_SUCH_VAR}']}"))
    worker = runtime.worker("echo")
    assert worker.state is WorkerState.ERROR
    assert "worker 'demo:echo', args[0]: ${NO_SUCH_VAR} is not set" in worker.error


async def test_a_process_without_a_server_to_talk_to_says_what_to_do(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {command: PYTHON}"))
    assert "Runtime(port=0)" in runtime.worker("echo").error


@pytest.mark.clause("13.14")
async def test_a_worker_process_misses_nothing_published_since_its_spawn(served, tmp_path):
    root = make_capability(
        tmp_path, "echo: {command: PYTHON, args: ['${CAPABILITY_ROOT}/echo.py']}", {"echo.py": ECHO}
    )
    answers = served.bus.subscribe(["demo.pong"])
    await served.load(root)
    for n in range(50):
        served.publish("demo.ping", {"n": n})
    got = [(await anext(answers)).payload["echo"]["n"] for _ in range(50)]
    assert sorted(got) == list(range(50))


async def test_a_worker_process_that_raises_on_startup_is_in_error_with_its_output(served, tmp_path):
    source = ECHO.replace(
        "@worker.on_event",
        "@worker.on_startup\nasync def start(client):\n    raise KeyError('ws')\n\n@worker.on_event",
    )
    root = make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    states = served.bus.subscribe(["component.state_changed"])
    await served.load(root)
    while (change := await anext(states)).payload["status"] != "error":
        pass
    assert "exited with code 1\n\nWorker output:\n" in change.payload["error"]
    assert "raise KeyError('ws')" in change.payload["error"]


@pytest.mark.clause("3.2 layers")
@pytest.mark.clause("11.6")
async def test_the_environment_of_a_worker_process_is_the_contracts(served, tmp_path):
    source = """
    import json, os
    names = ("CAPABILITY_ROOT", "DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_ID", "CAPABILITY_FLAG__DEMO__LIVE", "LEVEL")
    print(json.dumps([os.environ[n] for n in names] + [os.getcwd()]))
    """
    head = "flags:\n  live: {description: d, default: true}\n"
    entry = "echo: {command: PYTHON, args: [env.py], env: {LEVEL: '${CAPABILITY_ROOT}/x'}}"
    states = served.bus.subscribe(["component.state_changed"])
    await served.load(make_capability(tmp_path, entry, {"env.py": source}, head))
    while (await anext(states)).payload["status"] != "stopped":
        pass

    (line,) = served.worker("echo").detail()["process"]["recent_output"]
    root = str(tmp_path)
    assert json.loads(line) == [root, served.url, served.runtime_id, "1", f"{root}/x", root]


REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "environment.md"


def documented(section: str) -> set[str]:
    """Return the variables that a section of the reference lists."""
    part = REFERENCE.read_text(encoding="utf-8").partition(f"### {section}\n")[2].partition("\n#")[0]
    return set(re.findall(r"^- `(\w+)`: ", part, re.MULTILINE))


async def test_what_a_real_child_has_beyond_the_layers_is_what_the_reference_lists(
    served, tmp_path, monkeypatch
):
    for name in documented("Not handed on"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MULTI", "a\n\nb")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    head = "flags:\n  live: {description: d, default: true}\ndependencies: {path: [tools]}\n"
    entry = "echo: {command: env, args: ['-0'], env: {LEVEL: info}}"
    await served.load(make_capability(tmp_path, entry, {}, head))
    await until_state(served.worker("echo"), WorkerState.STOPPED)
    log = Path(served.worker("echo").detail()["process"]["log_path"]).read_text(encoding="utf-8")
    child = dict(pair.split("=", 1) for pair in log.split("\0") if pair)

    connection = {"DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_TOKEN", "DREADNODE_RUNTIME_ID"}
    layers = {**os.environ, "CAPABILITY_FLAG__DEMO__LIVE": "1", "LEVEL": "info"}
    beyond = {name for name, value in child.items() if name not in connection and layers.get(name) != value}
    assert beyond == documented("Beyond these")
    assert layers.keys() - child.keys() == documented("Not handed on")
    assert connection <= child.keys()
    assert child["PATH"] == f"{os.environ['PATH']}{os.pathsep}{tmp_path / 'tools'}"
    assert child["PYTHONPATH"] == f"{subprocess_worker.CHILD_HOOK}{os.pathsep}/theirs"


async def test_a_worker_prints_line_by_line_into_its_log(served, tmp_path):
    source = "print('early')\nprint('no end', end='')\nimport time; time.sleep(100)"
    root = make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    await served.load(root)
    async with asyncio.timeout(60):
        while not served.worker("echo").detail()["process"]["recent_output"]:
            await asyncio.sleep(0.01)
    assert served.worker("echo").detail()["process"]["recent_output"] == ["early"]


async def test_a_restarted_process_has_a_token_of_its_own_and_the_old_one_is_dead(served, tmp_path):
    source = "import os, signal; print(os.environ['DREADNODE_RUNTIME_TOKEN'], flush=True); signal.pause()"
    await served.load(make_capability(tmp_path, "echo: {command: PYTHON, args: [t.py]}", {"t.py": source}))
    worker = served.worker("echo")
    tokens = []
    for _ in range(2):
        while not (output := worker.detail()["process"]["recent_output"]):
            await asyncio.sleep(0)
        tokens.append(output[0])
        await worker.restart(force=True)
    assert tokens[0] != tokens[1]
    assert not served.tokens.accepts(tokens[0])


@pytest.mark.clause("11.5")
async def test_a_shutdown_error_of_a_worker_process_is_in_its_health(served, tmp_path):
    source = ECHO.replace(
        "@worker.on_event",
        "@worker.on_shutdown\nasync def end(client):\n    raise ValueError('X')\n\n@worker.on_event",
    )
    await served.load(
        make_capability(tmp_path, "echo: {command: PYTHON, args: [echo.py]}", {"echo.py": source})
    )
    answers = served.bus.subscribe(["demo.pong"])
    served.publish("demo.ping")
    await anext(answers)
    worker = served.worker("echo")
    await worker.stop()
    assert (worker.state, worker.error) == (WorkerState.STOPPED, "shutdown errors: end: X")


async def test_the_output_of_a_process_is_not_that_of_the_handler_that_restarted_it(served, tmp_path):
    source = "import signal; print('mine', flush=True); signal.pause()"
    await served.load(make_capability(tmp_path, "relay: {command: PYTHON, args: [r.py]}", {"r.py": source}))
    await served.worker("relay").stop()
    worker = Worker("w")

    @worker.on_event("restart")
    async def restart(event, client):
        await client.restart_worker("demo", "relay")

    await served.add(worker)
    trace = await served.fire("restart")
    while not served.worker("relay").detail()["process"]["recent_output"]:
        await asyncio.sleep(0)
    assert [line.text for line in trace.invocations[0].logs] == []


async def test_a_start_that_is_interrupted_at_any_step_leaves_no_process_and_no_file(served, tmp_path):
    await served.load(make_capability(tmp_path, "job: {command: sleep, args: ['3600']}"))
    worker = served.worker("job")
    await worker.stop()
    open_files = len([*Path("/proc/self/fd").iterdir()])
    for steps in range(12):
        start = asyncio.create_task(worker.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait({start})
        await worker.stop()
        assert worker.state is WorkerState.STOPPED
        pid = worker.detail()["process"]["pid"]
        assert pid is None or not Path(f"/proc/{pid}").exists()
    assert len([*Path("/proc/self/fd").iterdir()]) == open_files


async def test_a_process_that_memory_gives_nothing_again_says_so_where_it_is_looked_at(tmp_path):
    async with Runtime(port=None, retry={"demo:echo": "2"}) as runtime:
        await runtime.load(make_capability(tmp_path, "echo: {command: PYTHON}\nother: {command: PYTHON}"))
        worker, other = runtime.worker("echo"), runtime.worker("other")
        assert worker.detail()["why_not_retried"] == NOT_OF_PROCESSES
        assert (await read_worker(runtime.feed.model, {"worker": "demo:echo"}, Pace()))["notRetried"]
        async with runtime.client() as client:
            answer = await client.connection.request("GET", "/api/dead-letters")
        assert answer["not_retried"] == {"demo:echo": NOT_OF_PROCESSES}
        assert "why_not_retried" not in other.detail()
