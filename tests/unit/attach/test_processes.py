"""Worker processes of an attached runtime: what they do over HTTP is written down, or done there."""

from __future__ import annotations

import sys

import pytest

from dnworker import Runtime

from .rig import Proxy, attached, settled, until

SCRIPT = """
from dnworker import Worker

worker = Worker("clerk")

@worker.on_event("order.placed")
async def on_placed(event, client):
    await client.publish("order.flagged", {"id": event.payload["id"]})
    await client.create_session(session_id="ticket-7", agent=event.payload["agent"])
    end = await client.run_turn(session_id="ticket-7", message="hello")
    found = [one.session_id for one in await client.list_sessions()]
    async with client.once("order") as first:
        await client.publish("order.done", {"end": end["response_text"], "first": first, "found": found})

if __name__ == "__main__":
    worker.run()
"""
MANIFEST = f"""schema: 1
name: shop
version: "0.1.0"
description: Flags orders.
workers:
  clerk: {{command: '{sys.executable}', args: ['${{CAPABILITY_ROOT}}/clerk.py']}}
"""


@pytest.fixture
async def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "clerk.py").write_text(SCRIPT)
    (shop / "capability.yaml").write_text(MANIFEST)
    async with Runtime(port=0) as runtime:
        await runtime.load(shop)
        worker = runtime.worker("clerk")
        await until(lambda: worker.connected.is_set() and worker.has_settled, 50)
        yield runtime


async def test_a_process_in_shadow_reaches_nobody_and_is_compared(here, there):
    await there.client().create_session(session_id="s-1")
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        there.publish("order.placed", {"id": 1, "agent": None})
        await until(lambda: attachment.rows() and len(attachment.rows()[0].notebook) == 5, 30)
        await settled(attachment)
        (row,) = attachment.rows()
    assert row.worker == "shop:clerk"
    assert row.notebook[0] == 'publishes order.flagged {"id": 1}'
    assert row.notebook[1].startswith("create_session ")
    assert row.notebook[2] == 'run_turn session_id="ticket-7" message="hello"'
    assert row.notebook[3] == "once order"
    assert row.notebook[4] == 'publishes order.done {"end": "Done.", "first": true, "found": ["s-1"]}'
    assert (row.verdict, row.why) == ("unknown", "no worker clerk is there")
    assert {line.partition(" ")[0] for line in proxy.requests} == {"GET"}
    for runtime in (here, there):
        assert not {"order.flagged", "order.done"} & {event.kind for event in runtime.history.events()}
    assert [one.session_id for one in await there.client().list_sessions()] == ["s-1"]
    assert await here.client().list_sessions() == []


async def test_a_live_process_acts_there(here, there):
    there.agents.register("echo", lambda turn: f"You said: {turn.message}")
    async with attached(here, there, live=True):
        there.publish("order.placed", {"id": 1, "agent": "echo"})
        await until(lambda: "order.done" in [event.kind for event in there.history.events()], 30)
    (done,) = [event for event in there.history.events() if event.kind == "order.done"]
    assert done.payload == {"end": "You said: hello", "first": True, "found": ["ticket-7"]}
    assert "order.done" not in [event.kind for event in here.history.events()]


async def test_a_process_has_its_own_runtime_again_after_the_attachment(here, there):
    here.agents.register("echo", lambda turn: f"You said: {turn.message}")
    async with attached(here, there):
        pass
    trace = await here.fire("order.placed", {"id": 2, "agent": "echo"})
    kinds = [event.kind for event in trace.events()]
    assert "order.flagged" in kinds
    assert "order.done" in kinds
