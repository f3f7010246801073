"""A client that resumes a session after the runtime was killed gets what it missed, in order, without a double."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from ..sessions.surviving import Machine
from .test_interactive import Frames


@pytest.fixture
async def machine():
    machine = Machine(port=0, token="s3cret")
    yield machine
    await machine.stop()


@asynccontextmanager
async def socket(machine):
    url = machine.runtime.url.replace("http", "ws", 1) + "/api/ws"
    headers = {"Authorization": "Bearer s3cret"}
    async with connect(url, additional_headers=headers, proxy=None) as opened:
        frames = Frames(opened)
        await frames.ask("hello")
        yield frames


async def publish(machine, count):
    """Publish to the session, and return the `seq` of each."""
    envelopes = [machine.runtime.publish("demo.go", {"n": n}, session_id="s") for n in range(count)]
    return [(await machine.runtime.bus.accepted(envelope)).seq for envelope in envelopes]


async def resumed(frames, after_seq, last):
    """Subscribe after an event, and return the frames up to the event `last`."""
    await frames.send("subscribe", "s", {"after_seq": after_seq})
    found = []
    while not found or found[-1].get("seq") != last:
        found.append(await frames.next())
    return found


async def test_what_came_before_the_kill_comes_again_in_order_and_then_what_is_new(machine):
    await machine.restart()
    machine.runtime.sessions.create("s")
    before = await publish(machine, 3)
    await machine.runtime.sessions.kept(machine.runtime.sessions.get("s"))
    await machine.restart()
    after = await publish(machine, 2)
    async with socket(machine) as frames:
        found = await resumed(frames, before[0], after[-1])
    assert [f["kind"] for f in found[:2]] == ["command.ack", "session.snapshot"]
    assert [f["seq"] for f in found[2:]] == [*before[1:], *after]
    assert {f["replay"] for f in found[2:]} == {True}


async def test_more_than_memory_holds_is_replayed_without_a_kill_too(machine):
    await machine.restart()
    machine.runtime.sessions.create("s")
    sent = await publish(machine, 1_700)
    async with socket(machine) as frames:
        found = await resumed(frames, sent[0], sent[-1])
    assert [f["seq"] for f in found if "seq" in f] == sent[1:]


async def test_events_that_come_while_the_broker_is_asked_are_there_once(machine):
    await machine.restart()
    machine.runtime.sessions.create("s")
    before = await publish(machine, 3)
    await machine.runtime.sessions.kept(machine.runtime.sessions.get("s"))
    await machine.restart()
    replay, meanwhile = machine.broker.replay, []

    async def slow(*args, **kwargs):
        if len(meanwhile) < 4:
            meanwhile.extend(await publish(machine, 1))
        found = await replay(*args, **kwargs)
        if len(meanwhile) < 4:
            meanwhile.extend(await publish(machine, 1))
        return found

    machine.broker.replay = slow
    async with socket(machine) as frames:
        await frames.send("subscribe", "s", {"after_seq": before[0]})
        await frames.until("session.snapshot")
        last = (await publish(machine, 1))[0]
        found = []
        while not found or found[-1] != last:
            found.append((await frames.next())["seq"])
    assert found == [*before[1:], *meanwhile, last]


async def test_a_client_of_a_session_that_was_deleted_is_told_to_look_anew(machine):
    await machine.restart()
    machine.runtime.sessions.create("s")
    first = (await publish(machine, 2))[0]
    await machine.runtime.turns.end_session("s")
    machine.runtime.sessions.create("s")
    await publish(machine, 1)
    await machine.runtime.sessions.kept(machine.runtime.sessions.get("s"))
    await machine.restart()
    async with socket(machine) as frames:
        await frames.send("subscribe", "s", {"after_seq": first})
        frames = await frames.until("session.snapshot")
    assert [f["kind"] for f in frames] == ["command.ack", "transport.resync_required", "session.snapshot"]


async def test_a_client_whose_events_are_gone_is_told_to_look_anew(machine):
    await machine.restart()
    machine.runtime.sessions.create("s")
    sent = await publish(machine, 3)
    await machine.runtime.sessions.kept(machine.runtime.sessions.get("s"))
    await machine.restart()

    async def dropped_to():
        return sent[1]

    machine.broker.dropped_to = dropped_to
    async with socket(machine) as frames:
        await frames.send("subscribe", "s", {"after_seq": sent[0]})
        kinds = [f["kind"] for f in await frames.until("session.snapshot")]
        assert "transport.resync_required" in kinds
        await frames.send("unsubscribe", "s")
        await frames.send("subscribe", "s", {"after_seq": sent[1]})
        kinds = [f["kind"] for f in await frames.until("demo.go")]
        assert "transport.resync_required" not in kinds


async def test_a_turn_is_acknowledged_once_it_is_kept(machine):
    await machine.restart(lambda runtime: runtime.agents.default(lambda turn: "done"))
    async with socket(machine) as frames:
        answer = await frames.ask("turn.start", "s", {"message": "one"})
        assert f"sessions.turns/{answer['payload']['turn_id']}" in machine.disk.values or any(
            e.terminal for e in machine.disk.events
        )
        machine.disk.is_full = True
        assert (await frames.refused("turn.start", "s", {"message": "two"}))[0] == 507
        assert (await frames.refused("subscribe", "other"))[0] == 507
        machine.disk.is_full = False
        assert json.dumps(await frames.ask("turn.start", "s", {"message": "three"}))


async def test_the_runtimes_own_scope_is_replayed_after_a_kill(machine):
    await machine.restart()
    sent = [machine.runtime.publish("demo.go", {"n": n}) for n in range(60)]
    await machine.runtime.bus.accepted(sent[-1])
    await machine.restart()
    subscription = machine.runtime.bus.subscribe(["demo.go"], replay=True)
    found = [subscription.take() for _ in range(50)]
    assert [e.payload["n"] for e in found if e.kind == "demo.go"][-1] == 59
    assert all(e.replay for e in found)
    await asyncio.sleep(0)
