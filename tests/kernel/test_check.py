"""Checks of exports in a kernel: green where the export does the same, red where it does not."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

CHECK = "%capability check --topology in-process --target dnworker"
HEAD = "%%capability\nname: desk\nversion: 1.0.0\ndescription: d"
AGENT = "%%agent triage\nimport json\nasync def reply(turn):\n    print('thinking')\n    yield json.dumps({'verdict': len(turn.message)})"
WORKER = """%%worker desk
import json

@worker.on_startup
async def start(client):
    print("up")
    await client.publish("desk.up", {})

@worker.on_event("desk.asked")
async def on_asked(event, client):
    session = await client.create_session(agent="triage", session_id=event.payload["id"])
    done = await client.run_turn(session_id=session.session_id, message="decide: " + event.payload["text"])
    print("decided")
    await client.publish("desk.decided", json.loads(done["response_text"]))
"""
IN_CAPABILITY = WORKER.replace('agent="triage"', 'capability="desk", agent="triage"')


def test_a_scripted_agent_answers_on_both_sides_and_nothing_is_printed(kernel):
    for cell in (HEAD, AGENT, WORKER, "%fire desk.asked id=a text=hello"):
        assert kernel.run(cell, cell[:20]).status == "ok", cell
    answer = kernel.run(CHECK)
    assert answer.status == "ok", answer.error
    assert "1 event fired: notebook and export do the same" in answer.text
    assert "stand-in" not in answer.text
    assert "thinking" not in answer.streams.get("stdout", "")
    assert kernel.run("len(dn.runtime().sessions.list())").result["text/plain"] == "1", (
        "of the live event alone"
    )


def test_an_agent_beside_the_manifest_is_found_by_the_name_of_the_capability(kernel, tmp_path):
    for cell in (HEAD, AGENT, IN_CAPABILITY):
        assert kernel.run(cell, cell[:20]).status == "ok", cell
    (tmp_path / "desk" / "agents").mkdir(parents=True)
    (tmp_path / "desk" / "agents" / "triage.md").write_text(
        "---\nname: triage\ndescription: d\n---\nDecide.\n"
    )
    (tmp_path / "events.jsonl").write_text(
        '{"kind": "desk.asked", "payload": {"id": "a", "text": "hello"}}\n'
    )
    answer = kernel.run(f"{CHECK.replace('check', 'check desk')} --events events.jsonl")
    assert answer.status == "ok", answer.error
    assert "1 event fired: notebook and export do the same" in answer.text
    assert "stand-in" not in answer.text


SHARING = [
    "SHARED = []",
    "%%worker one\n@worker.on_event('demo.a')\nasync def on_a(event, client):\n    SHARED.append(1)\n    await client.publish('demo.b', {})",
    "%%worker two\n@worker.on_event('demo.b')\nasync def on_b(event, client):\n    await client.publish('demo.c', {'n': len(SHARED)})",
]


@pytest.mark.parametrize(("topology", "status"), [("in-process", "ok"), ("python", "error")])
def test_a_name_that_two_workers_share_is_shared_in_one_process_only(kernel, topology, status):
    for cell in (*SHARING, "%fire demo.a"):
        assert kernel.run(cell, cell[:12]).status == "ok", cell
    answer = kernel.run(CHECK.replace("in-process", topology))
    assert answer.status == status, answer.text
    if status == "error":
        assert "'SHARED': handlers of one change it, and two uses it too" in answer.text


def test_what_handlers_print_is_compared_in_any_topology(kernel):
    kernel.run("WORD = 'one'")
    cell = "%%worker w\n@worker.on_event('demo.a')\nasync def on_a(event, client):\n    print(WORD, end='')"
    assert kernel.run(cell, "w").status == "ok"
    kernel.run("%fire demo.a")
    for topology in ("in-process", "python"):
        answer = kernel.run(CHECK.replace("in-process", topology))
        assert answer.status == "ok", answer.error
    kernel.run("exec('WORD = \\'two\\'')")
    answer = kernel.run(CHECK)
    assert answer.status == "error"
    assert "'WORD': it is 'two' in the notebook, and would be 'one' in the script" in answer.text


LEAVES = """%%worker w
import asyncio

async def later():
    raise ValueError("nobody waits")

@worker.on_event("demo.a")
async def on_a(event, client):
    task = asyncio.create_task(later())
    await asyncio.sleep(0.01)
    del task
    await client.publish("demo.b", {})
"""


@pytest.mark.parametrize("topology", ["in-process", "python"])
def test_a_task_that_handlers_leave_and_that_fails_on_both_sides_is_no_difference(kernel, topology):
    assert kernel.run(LEAVES, "w").status == "ok"
    kernel.run("%fire demo.a")
    answer = kernel.run(CHECK.replace("in-process", topology))
    assert answer.status == "ok", answer.error
