"""An attachment in shadow: events come, nothing is changed there, and what differs is told."""

from __future__ import annotations

import asyncio
import gc

import httpx
import pytest

from dnworker import Worker
from dnworker.attach.attachment import attachment_of

from .rig import Proxy, attached, flagger, listener, settled, until


async def test_events_of_all_scopes_come_once_with_kind_payload_session_and_turn(here, there):
    worker, got = Worker("bridge"), []

    @worker.on_event("order.placed")
    @worker.on_event("turn.completed")
    @worker.on_event("session.created")
    async def on_event(event, client) -> None:
        got.append(event)

    await here.add(worker)
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await there.client().create_session(session_id="s-1")
        await there.fire("turn.completed", {"turn_id": "t-1"}, session_id="s-1", turn_id="t-1")
        there.publish("order.placed", {"id": 2}, session_id="s-1")
        there.publish("order.other")
        await until(lambda: len(got) == 4)
        await settled(attachment)
    assert [(e.kind, e.session_id, e.turn_id, e.terminal) for e in sorted(got, key=lambda e: e.seq)] == [
        ("order.placed", None, None, False),
        ("session.created", "s-1", None, False),
        ("turn.completed", "s-1", "t-1", True),
        ("order.placed", "s-1", None, False),
    ]
    assert [e.payload for e in got if e.kind == "order.placed"] == [{"id": 1}, {"id": 2}]
    assert (attachment.received, attachment.skipped, attachment.gaps) == (4, 0, [])
    source = here.history.causes.source(got[0].event_id)
    assert source is not None
    assert source.name.startswith("Attached to 127.0.0.1:")


async def test_the_score_says_which_events_differ_and_why(here, there):
    await there.add(flagger(100))
    await here.add(flagger(1_000))
    async with attached(here, there) as attachment:
        for number, amount in enumerate((50, 500, 5_000)):
            there.publish("order.placed", {"id": number, "amount": amount})
        await until(lambda: attachment.received == 3)
        await settled(attachment)
    score = attachment.score
    assert (score.same, score.different, score.unknown, score.pending) == (2, 1, 0, 0)
    assert score.by_worker["notebook:bridge"].different == 1
    (row,) = attachment.rows(only_different=True)
    assert (row.event.payload["id"], row.notebook) == (1, [])
    assert row.deployed is not None
    assert row.deployed[0].startswith('publishes order.flagged {"id": 1, "at": ')
    assert row.why.startswith("only the deployed one publishes order.flagged")
    assert [one.verdict for one in attachment.rows(worker="bridge")] == ["same", "different", "same"]


async def test_a_shadow_changes_nothing_there(here, there):
    worker = Worker("bridge")
    done = []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        await client.publish("order.flagged", {"id": 1}, dedupe="1")
        await client.notify("flagged")
        session = await client.create_session(session_id="made-here")
        assert (await client.get_session("made-here")).session_id == session.session_id
        end = await client.run_turn(session_id="made-here", message="look at it")
        async with client.once("order/1") as first:
            done.append((first, end["turn_id"].startswith("turn_")))
        await client.subscribe_session("never-there")
        await client.cancel_session("s-1")
        await client.set_session_title("s-1", "flagged")
        await client.delete_session("s-1")
        done.append(sorted(s.session_id for s in await client.list_sessions()))
        done.append((await client.fetch_runtime_info()).runtime_id)

    await there.client().create_session(session_id="s-1")
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        event = there.publish("order.placed", {"id": 1})
        await until(lambda: len(done) == 3)
        await settled(attachment)
        (row,) = attachment.rows()
    assert done == [(True, True), ["s-1"], there.runtime_id]
    assert {line.partition(" ")[0] for line in proxy.requests} == {"GET"}
    assert [one.seq for one in there.history.events() if one.seq > event.seq] == []
    assert [one.session_id for one in await there.client().list_sessions()] == ["s-1"]
    assert [line.partition(" ")[0] for line in row.notebook] == [
        "publishes",
        "notifies",
        "create_session",
        "run_turn",
        "once",
        "subscribe_session",
        "cancel_session",
        "requests",
        "requests",
    ]
    assert (row.verdict, row.why) == ("unknown", "no worker bridge is there")
    logged = [line.text for line in here.history.invocations_of(row.local_event_id)[0].logs]
    assert 'in shadow: publishes order.flagged {"id": 1} dedupe="1"' in logged


async def test_a_client_that_a_handler_keeps_leads_back_after_the_attachment(here, there):
    worker, kept = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        kept.append(client)

    await here.add(worker)
    await here.fire("order.placed", {})
    async with attached(here, there):
        answer = await kept[0].publish("order.kept", {"n": 1})
        assert answer["seq"] == 0
    assert (await kept[0].publish("order.kept", {"n": 2}))["seq"] > 0
    assert [e.payload for e in here.history.events() if e.kind == "order.kept"] == [{"n": 2}]
    assert [e.kind for e in there.history.events() if e.kind == "order.kept"] == []


async def test_what_clients_subscribe_to_is_followed_too(here, there):
    worker, got = Worker("bridge"), []

    @worker.task
    async def follow(client) -> None:
        async for event in client.subscribe("order.shipped"):
            got.append(event.payload)

    await here.add(worker)
    await until(lambda: here.switch.heard)
    async with attached(here, there):
        there.publish("order.shipped", {"id": 1})
        await until(lambda: got)
    await here.remove("bridge")
    assert got == [{"id": 1}]
    assert not here.switch.heard


async def test_kinds_follow_the_handlers_that_come_and_go(here, there):
    first, got_first = listener("one", "order.placed")
    await here.add(first)
    async with attached(here, there) as attachment:
        second, got_second = listener("two", "order.shipped")
        await here.add(second)
        await until(lambda: attachment._follower.kinds == {"order.placed", "order.shipped"})
        for number in range(50):
            there.publish("order.placed", {"id": number})
            there.publish("order.shipped", {"id": number})
        await until(lambda: len(got_first) == len(got_second) == 50)
        await here.remove("two")
        there.publish("order.shipped", {"id": 99})
        await until(lambda: attachment.skipped == 1)
    assert [e.payload["id"] for e in got_first] == [*range(50)]
    assert [e.payload["id"] for e in got_second] == [*range(50)]


async def test_what_fails_on_both_sides_is_the_same_and_another_error_differs(here, there):
    def failing(text: str) -> Worker:
        worker = Worker("bridge")

        @worker.on_event("order.placed")
        async def on_placed(event, client) -> None:
            raise ValueError(text if event.payload["id"] == 1 else "bad")

        return worker

    await there.add(failing("old"))
    await here.add(failing("new"))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        there.publish("order.placed", {"id": 2})
        await until(lambda: attachment.received == 2)
        await settled(attachment)
    assert [(row.verdict, row.why) for row in attachment.rows()] == [
        ("different", "it raises ValueError: new, and ValueError: old there"),
        ("same", ""),
    ]


async def test_a_slow_deployed_worker_is_waited_for(here, there):
    slow, gate = Worker("bridge"), asyncio.Event()

    @slow.on_event("order.placed")
    async def on_placed(event, client) -> None:
        await gate.wait()
        await client.publish("order.flagged", {"id": 1})

    fast = Worker("bridge")

    @fast.on_event("order.placed")
    async def on_placed_fast(event, client) -> None:
        await client.publish("order.flagged", {"id": 1})

    await there.add(slow)
    await here.add(fast)
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"id": 1})
        await until(lambda: attachment.rows() and attachment.rows()[0].notebook)
        await asyncio.sleep(0)
        assert attachment.rows()[0].verdict == "pending"
        gate.set()
        await settled(attachment)
    assert attachment.rows()[0].verdict == "same"


async def test_schedules_and_tasks_are_shadowed_too(here, there):
    worker, answers = Worker("bridge"), []

    @worker.task
    async def beat(client) -> None:
        while True:
            answers.append(await client.publish("order.beat", {}))
            await asyncio.sleep(0.01)

    await here.add(worker)
    await until(lambda: answers)
    async with attached(here, there) as attachment:
        before = len(answers)
        await until(lambda: len(answers) > before + 2)
        assert answers[-1]["seq"] == 0
        assert attachment.rows() == []
    before = len(answers)
    await until(lambda: len(answers) > before + 1)
    assert answers[-1]["seq"] > 0


async def test_detaching_leaves_nothing(here, there):
    worker, got = listener()
    await here.add(worker)
    tasks = asyncio.all_tasks()
    listeners = len(here.history._listeners), len(here.bus.listened), len(here.bus.refused)
    subscribers = there.bus.listening(), len([*there.bus._subscribers.of_kind("order.placed")])
    async with attached(here, there) as attachment:
        assert attachment_of(here) is attachment
        there.publish("order.placed", {})
        await until(lambda: got)
    assert (attachment.state, attachment_of(here), here.switch.route) == ("ended", None, None)
    assert (len(here.history._listeners), len(here.bus.listened), len(here.bus.refused)) == listeners
    await until(lambda: len([*there.bus._subscribers.of_kind("order.placed")]) == subscribers[1])
    await until(lambda: not {t for t in asyncio.all_tasks() - tasks if "attach" in t.get_name()})
    await attachment.detach()
    gc.collect()


async def test_detaching_waits_for_handlers_and_cancels_those_that_never_end(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.attachment.HANDLERS_END", 0.2)
    worker, seen = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        seen.append("begun")
        try:
            await asyncio.sleep(0.05 if event.payload["quick"] else 3_600)
            seen.append((await client.publish("order.late", {}))["seq"])
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    await here.add(worker)
    async with attached(here, there):
        there.publish("order.placed", {"quick": True})
        there.publish("order.placed", {"quick": False})
        await until(lambda: seen.count("begun") == 2)
    assert seen == ["begun", "begun", 0, "cancelled"]
    assert [e.kind for e in here.history.events() if e.kind == "order.late"] == []


async def test_stopping_the_runtime_detaches_first(there):
    from dnworker import Runtime

    here = Runtime(port=None)
    await here.start()
    worker, _ = listener()
    await here.add(worker)
    async with attached(here, there) as attachment:
        await here.stop()
        assert attachment.state == "ended"


async def test_a_payload_that_this_runtime_cannot_take_is_a_gap_and_said(here, there, monkeypatch):
    worker, got = listener()
    await here.add(worker)
    async with attached(here, there) as attachment:
        monkeypatch.setattr(
            here.bus, "publish", _refusing(here.bus.publish, lambda payload: payload.get("big"))
        )
        there.publish("order.placed", {"big": True})
        there.publish("order.placed", {"big": False})
        await until(lambda: got)
    (gap,) = attachment.gaps
    assert (gap.before_seq, "cannot be taken over" in gap.detail) == (gap.after_seq + 2, True)


def _refusing(publish, is_refused):
    from dnworker.core.errors import TooLarge

    def refuse(kind, payload=None, **fields):
        if is_refused(payload):
            raise TooLarge("the payload is too large")
        return publish(kind, payload, **fields)

    return refuse


async def test_reads_raise_what_the_other_runtime_answers(here, there):
    worker, raised = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await client.fetch_session_messages("nobody")
        raised.append(caught.value.response.status_code)
        with pytest.raises(ValueError, match="reserved"):
            await client.publish("turn.started", {})

    await here.add(worker)
    async with attached(here, there) as attachment:
        there.publish("order.placed", {})
        await until(lambda: raised)
        await settled(attachment)
    assert raised == [404]
    assert not here.history.invocations()[-1].error
