"""A worker of the real SDK is seen: its handlers, figures, traces and failures, over the API as in the process."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import httpx
import pytest

from dnworker import Runtime, WorkerState
from dnworker.core.handlers import HandlerKey
from dnworker.panel.model import PanelModel
from dnworker.workers import subprocess_worker
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.cells import read_notebook

from .environment import LIMIT, PROJECT, reference_python

pytestmark = [pytest.mark.interop, pytest.mark.timeout(LIMIT)]

TUTORIAL = PROJECT / "notebooks" / "01-quickstart.ipynb"
TURN = {"turn_id": "t1", "usage": {"output_tokens": 14}}

SCRIPT = """
import sys
from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="w")
seen = 0

@worker.on_startup
async def start(client):
    print("starting")

@worker.on_event("demo.ask")
async def ask(event, client):
    print("asked", event.payload["n"])
    await client.publish("demo.answer", {"n": event.payload["n"]})

@worker.on_event("demo.answer")
async def answer(event, client):
    raise KeyError("nobody")

@worker.on_event("demo.count")
async def count(event, client):
    global seen
    seen += 1

@worker.on_event("demo.hang")
async def hang(event, client):
    import asyncio
    await asyncio.Event().wait()

@worker.on_shutdown
async def stop(client):
    print("counted", seen)

if __name__ == "__main__":
    worker.run()
"""
COUNT = HandlerKey("on_event", "demo.count", "count")


@pytest.fixture(scope="session")
def sdk():
    """The interpreter of the reference's environment."""
    return reference_python()


@pytest.fixture
def root(sdk, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cap").mkdir()
    (tmp_path / "cap" / "w.py").write_text(SCRIPT)
    write_manifest(tmp_path / "cap", sdk)
    return tmp_path / "cap"


def write_manifest(root, command, *args, **env):
    entry = {"command": str(command), "args": [*args, "w.py"], "env": env}
    head = "schema: 1\nname: demo\nversion: 0.1.0\ndescription: d\nworkers:\n"
    (root / "capability.yaml").write_text(f"{head}  w: {json.dumps(entry)}\n")


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def up(runtime, root):
    await runtime.load(root)
    worker = runtime.worker("w")
    await until(worker.connected.is_set)
    return worker


def shown(runtime, worker):
    from dnworker.panel.actions import Actions

    return PanelModel(runtime, Actions(runtime)).worker_to_json(worker)


async def test_a_default_export_has_handlers_figures_traces_and_failures(sdk, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    exported = tmp_path / "quickstart"
    write(plan_export(read_notebook(TUTORIAL), default_name="quickstart"), exported)
    manifest = exported / "capability.yaml"
    head = manifest.read_text().partition("workers:")[0]
    manifest.write_text(f"{head}workers:\n  bridge: {{command: '{sdk}', args: [workers/bridge.py]}}\n")
    async with Runtime(port=0) as runtime:
        await runtime.load(exported)
        worker = runtime.worker("bridge")
        await until(worker.connected.is_set)
        trace = await runtime.fire("turn.completed", TURN, timeout=60)
        assert [(run.worker, run.outcome) for run in trace.invocations] == [("quickstart:bridge", "ok")]
        assert [below.event.kind for below in trace.invocations[0].events] == [
            "capability.quickstart.counted"
        ]
        found = shown(runtime, worker)
        assert "silent" not in found
        assert {key.trigger: stats.calls for key, stats in worker.stats.items()}["turn.completed"] == 1


async def test_a_trace_has_the_call_its_lines_what_it_published_and_the_failure_of_that(root):
    async with Runtime(port=0, process_locals=True) as runtime:
        worker = await up(runtime, root)
        trace = await runtime.fire("demo.ask", {"n": 7}, timeout=60)
        (asked,) = trace.invocations
        assert (asked.handler, asked.outcome) == ("ask", "ok")
        assert "asked 7" in [line.text for line in asked.logs]
        (below,) = asked.events
        (failed,) = below.invocations
        assert failed.error.text == "KeyError: 'nobody'"
        assert failed.error.frames[-1].source == 'raise KeyError("nobody")'
        assert dict(failed.error.frames[-1].locals)["event"] == "<RuntimeEventEnvelope>"
        lines = [line for line in runtime.logs.tail(500) if "nobody" in line.text]
        assert {line.source for line in lines} == {"runtime"}  # and not the SDK's own text of it as well
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {runtime.tokens.main}"}) as http:
            detail = (await http.get(f"{runtime.url}/api/workers/demo/w")).json()
        assert "reporting" not in detail
        await worker.stop()


async def test_a_thousand_events_are_reported_once_each(root):
    async with Runtime(port=0) as runtime:
        worker = await up(runtime, root)
        ids = [runtime.publish("demo.count", {"n": n}).event_id for n in range(1_000)]
        await until(lambda: worker.stats[COUNT].calls >= 1_000 and not worker.stats[COUNT].in_flight)
        assert worker.stats[COUNT].calls == 1_000
        assert [len(runtime.history.invocations_of(one)) for one in ids] == [1] * 1_000
        await worker.stop()
        assert "counted 1000" in worker.detail()["process"]["recent_output"]
        assert worker.losses is None


async def test_without_observing_it_runs_says_that_it_does_not_report_and_fire_does_not_wait(root):
    async with Runtime(port=0, observe=False) as runtime:
        worker = await up(runtime, root)
        trace = await runtime.fire("demo.count", {"n": 1}, timeout=60)
        assert trace.invocations == []
        assert "(w runs without reporting: what it does with this is not known)" in str(trace)
        await until(lambda: worker.why_silent is not None)
        found = shown(runtime, worker)
        assert worker.stats == {}
        assert found["silent"].startswith("it is not observed")
        assert worker.detail()["why_not_reporting"] == found["silent"]
        await worker.stop()
        assert "counted 1" in worker.detail()["process"]["recent_output"]


@pytest.mark.parametrize(
    ("args", "env", "why"),
    [(["-I"], {}, "its Python runs with -I"), ([], {"DNWORKER_OBSERVE": "0"}, "it is not observed")],
)
async def test_a_worker_that_cannot_or_will_not_be_observed_says_why(root, sdk, args, env, why):
    write_manifest(root, sdk, *args, **env)
    async with Runtime(port=0) as runtime:
        worker = await up(runtime, root)
        await until(lambda: worker.why_silent is not None)
        assert why in worker.why_silent


async def test_a_process_that_is_killed_leaves_no_run_under_way(root):
    async with Runtime(port=0) as runtime:
        worker = await up(runtime, root)
        trace = await runtime.fire("demo.hang", {}, wait=False)
        await until(lambda: trace.invocations)
        os.kill(worker.detail()["process"]["pid"], signal.SIGKILL)
        await until(lambda: worker.state is WorkerState.ERROR)
        assert [run.outcome for run in trace.invocations] == ["cancelled"]
        assert not trace.is_under_way
        assert "silent" not in shown(runtime, worker)  # it does not run


async def test_an_observer_that_fails_at_its_import_harms_nothing_and_is_said_once(
    root, tmp_path, monkeypatch
):
    broken = tmp_path / "child"
    broken.mkdir()
    for path in subprocess_worker.CHILD_HOOK.glob("*.py"):
        text = path.read_text() if path.stem != "observe" else "raise RuntimeError('broken observer')\n"
        (broken / path.name).write_text(text)
    monkeypatch.setattr(subprocess_worker, "CHILD_HOOK", broken)
    async with Runtime(port=0) as runtime:
        worker = await up(runtime, root)
        runtime.publish("demo.count", {"n": 1})
        await until(lambda: worker.why_silent is not None)
        told = [line.text for line in runtime.logs.tail(500) if line.source == "runtime"]
        assert told == ["RuntimeError: broken observer; it runs without reporting from now on"]
        assert worker.why_silent == "RuntimeError: broken observer"
        await worker.stop()
        assert "counted 1" in worker.detail()["process"]["recent_output"]
