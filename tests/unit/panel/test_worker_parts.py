"""What a worker's drawer is sent: handlers, what fails, its life, its code; and nothing that is secret."""

from __future__ import annotations

import json

import pytest

from dnworker import Runtime, Worker
from dnworker.panel import worker_parts
from dnworker.panel.pace import Pace

from ..capabilities import make_capability

ECHO = 'from dnworker import Worker\nworker = Worker(name="echo")\n'


async def read(runtime, part, **wanted):
    reader = getattr(worker_parts, f"read_{part}")
    return json.loads(json.dumps(await reader(runtime.feed.model, wanted, Pace())))


async def test_a_drawer_is_sent_handlers_with_their_times_and_the_runs_of_a_schedule(runtime, bridge):
    bridge.run_schedule(next(key for key in bridge.stats if key.decorator == "every"))
    await runtime.settle()
    found = await read(runtime, "worker", worker="notebook:bridge")
    event, schedule = found["handlers"]
    assert (event["key"], event["calls"], event["runs"]) == (["on_event", "demo.ping", "on_ping"], 0, [])
    ((at, took, outcome),) = schedule["runs"]
    assert (at > 1e12, took >= 0, outcome) == (True, True, "ok")
    assert [line["text"] for line in found["log"]] == ["ticked"]
    assert found["silent"] is None


async def test_a_banner_counts_what_failed_since_the_generation_took_over(runtime, bridge):
    for _ in range(3):
        await runtime.fire("demo.ping", {"n": 1})
    next(iter(bridge.stats.values())).note_generation()
    await runtime.fire("demo.ping", {"n": 1})
    trace = None
    for _ in range(2):
        trace = await runtime.fire("demo.ping", {"bad": True})
    failure = (await read(runtime, "worker", worker="notebook:bridge"))["failure"]
    assert (failure["handler"], failure["failed"], failure["calls"]) == ("on_ping", 2, 3)
    assert (failure["event"], failure["seq"]) == (trace.event.event_id, trace.event.seq)
    assert failure["text"] == "ValueError: bad ping"
    await runtime.fire("demo.ping", {"n": 1})
    assert (await read(runtime, "worker", worker="notebook:bridge"))["failure"] is None


async def test_a_worker_that_is_gone_is_said_to_be_gone(runtime):
    assert (await read(runtime, "worker", worker="a:b"))["gone"]
    assert (await read(runtime, "life", worker="a:b"))["gone"]
    assert (await read(runtime, "code", worker="a:b", to=1))["why"] == "the worker is gone"


async def test_the_life_of_a_worker_has_steps_reasons_and_failed_calls(runtime, bridge):
    await runtime.fire("demo.ping", {"bad": True})
    life = await read(runtime, "life", worker="notebook:bridge")
    assert [step["state"] for step in life["steps"]] == ["loading", "starting", "running"]
    assert [step["reason"] for step in life["steps"]][:2] == ["Added", None]
    assert life["steps"][-1]["reason"].startswith("Started in ")
    assert sum(count for _, count in life["failures"]) == 1
    assert (life["generations"], life["present"], life["previous"]) == ([], 1, None)


async def test_a_restart_by_the_panel_is_noted_as_by_hand(runtime, bridge, screen):
    await screen.open()
    await screen.ask("control", verb="restart", worker="notebook:bridge")
    await screen.ask("control", verb="stop", worker="notebook:bridge")
    steps = (await read(runtime, "life", worker="notebook:bridge"))["steps"]
    assert [one["reason"] for one in steps if one["state"] in ("loading", "stopped")][1:] == [
        "Restart by hand",
        "Restart by hand",
        "Stopped by hand",
    ]


async def test_the_texts_of_a_file_are_generations_that_are_compared(runtime, tmp_path):
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO}))
    (tmp_path / "echo.py").write_text(ECHO + "x = 1\n")
    await runtime.reload()
    life = await read(runtime, "life", worker="demo:echo")
    assert [(one["number"], one["why"]) for one in life["generations"]] == [(1, "Loaded"), (2, "Reloaded")]
    assert life["present"] == 2
    code = await read(runtime, "code", worker="demo:echo", **{"from": 1, "to": 2})
    (section,) = code["sections"]
    assert section["name"] == "echo.py"
    assert section["lines"][-1] == ["+", "x = 1"]
    alone = await read(runtime, "code", worker="demo:echo", to=1)
    assert [text for _, text in alone["sections"][0]["lines"]] == ECHO.splitlines()
    gone = await read(runtime, "code", worker="demo:echo", to=9)
    assert gone["why"] == "this generation is not kept any more"


@pytest.fixture
async def served():
    async with Runtime(port=0) as started:
        yield started


async def test_no_value_of_a_variable_that_may_be_a_secret_is_sent(served, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE", "postgres://me:hunter2@db")
    env = "{URL: '${DATABASE}', KEY: hunter3, BOTH: 'x${DATABASE}', DEFAULT: '${DATABASE:-hunter4}'}"
    head = "flags:\n  relay: {description: d, default: true}\n"
    job = {"job.py": "import time; time.sleep(60)"}
    await served.load(
        make_capability(tmp_path, f"job: {{command: PYTHON, args: [job.py], env: {env}}}", job, head)
    )
    found = (await read(served, "life", worker="demo:job"))["env"]
    assert "hunter" not in json.dumps(found)
    values = {name: (value, source) for name, value, source in found}
    assert values["URL"] == ("${DATABASE}", "declared")
    assert values["KEY"] == values["BOTH"] == values["DEFAULT"] == ("***", "declared")
    assert values["CAPABILITY_FLAG__DEMO__RELAY"] == ("1", "flag")
    assert values["DREADNODE_RUNTIME_TOKEN"] == ("***", "runtime")
    worker = await read(served, "worker", worker="demo:job")
    assert worker["process"]["pid"] > 0


async def test_a_drawer_of_a_worker_of_many_handlers_is_bounded(runtime):
    worker = Worker("many")
    for number in range(worker_parts.HANDLERS_SHOWN + 5):

        @worker.on_event(f"kind.{number}")
        async def handle(event, client): ...

    await runtime.add(worker)
    found = await read(runtime, "worker", worker="notebook:many")
    assert len(found["handlers"]) == worker_parts.HANDLERS_SHOWN
    assert found["allHandlers"] == worker_parts.HANDLERS_SHOWN + 5
    assert len(json.dumps(found)) < 100_000


async def test_the_end_of_the_log_is_found_behind_the_lines_of_others(runtime, bridge, monkeypatch):
    monkeypatch.setattr(worker_parts, "CHUNK", 3)
    monkeypatch.setattr(worker_parts, "LINES_SEARCHED", 30)
    runtime.log_line("notebook:bridge", "long ago")
    for number in range(10):
        runtime.log_line("notebook:other", f"noise {number}")
    runtime.log_line("notebook:bridge", "just now")
    lines = (await read(runtime, "worker", worker="notebook:bridge"))["log"]
    assert [one["text"] for one in lines] == ["long ago", "just now"]
    for number in range(40):
        runtime.log_line("notebook:other", f"noise {number}")
    assert (await read(runtime, "worker", worker="notebook:bridge"))["log"] == []
