"""Sessions over a kill of the runtime: with a broker that survives it, what was answered as done is there."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime
from dnworker.client.client import _failed
from dnworker.core.errors import CommandError, NotStored
from dnworker.sessions.session import Message
from dnworker.testing import make_envelope

from .surviving import Machine, SurvivingBroker


@pytest.fixture
async def machine():
    machine = Machine()
    yield machine
    await machine.stop()


async def echo(turn):
    return f"you said {turn.message}"


def kinds(machine, session_id="s"):
    return [e.kind for e in machine.disk.events if e.session_id == session_id and e.kind != "turn.event"]


async def ended(machine, turn_id):
    """Wait for the last event of a turn and return it."""
    while True:
        found = [e for e in machine.disk.events if e.turn_id == turn_id and e.terminal]
        if found:
            return found[0]
        await asyncio.sleep(0)


async def test_a_session_is_there_after_a_kill_with_all_its_facts(machine):
    runtime = await machine.restart()
    client = runtime.client()
    await client.create_session(
        session_id="s", group_id="g", project="p", labels={"a": ["b"]}, model="m", policy="guard"
    )
    await client.set_session_title("s", "a title")
    await client.set_session_policy("s", {"name": "headless", "max_steps": 3})
    before = await client.get_session("s")
    runtime = await machine.restart()
    assert await runtime.client().get_session("s") == before
    assert runtime.sessions.get("s").policy.max_steps == 3


async def test_messages_and_counts_are_there_after_a_kill(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    for n in range(3):
        await runtime.client().run_turn(session_id="s", message=f"m{n}")
    before = await runtime.client().fetch_session_messages("s")
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    assert await runtime.client().fetch_session_messages("s") == before
    assert len(before) == 6
    assert runtime.sessions.get("s").completed_turns == 3
    await runtime.client().run_turn(session_id="s", message="m3")
    runtime = await machine.restart()
    assert [m.content for m in runtime.sessions.get("s").messages][-1] == "you said m3"


async def test_a_rewound_session_has_no_message_of_before(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    for n in range(3):
        await runtime.client().run_turn(session_id="s", message=f"m{n}")
    await runtime.client().rewind_session("s", from_seq=2)
    await runtime.client().run_turn(session_id="s", message="other")
    runtime = await machine.restart()
    said = [m.content for m in runtime.sessions.get("s").messages]
    assert said == ["m0", "you said m0", "other", "you said other"]
    pages = await machine.broker.keys("sessions.messages/")
    assert len({key.split("/")[1] for key in pages}) == 1


async def test_a_deleted_session_stays_deleted(machine):
    runtime = await machine.restart()
    await runtime.client().create_session(session_id="s")
    await runtime.client().delete_session("s")
    runtime = await machine.restart()
    assert "s" not in runtime.sessions
    assert runtime.bus.is_deleted("s")
    await runtime.client().create_session(session_id="s", project="again")
    runtime = await machine.restart()
    assert runtime.sessions.get("s").project == "again"
    assert not runtime.bus.is_deleted("s")


async def test_the_turn_that_ran_fails_as_retryable_and_the_queued_ones_run(machine):
    begun = asyncio.Event()

    async def slow(turn):
        turn.say("half ")
        await turn.call_tool("look", {"at": 1}, result="nothing")
        begun.set()
        await asyncio.Event().wait()

    runtime = await machine.restart(lambda runtime: runtime.agents.default(slow))
    first = await start_turn(runtime, "one")
    second, third = await start_turn(runtime, "two"), await start_turn(runtime, "three")
    await begun.wait()
    await asyncio.sleep(0)
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    failed = await ended(machine, first)
    assert failed.kind == "turn.failed"
    assert failed.payload["retryable"] is True
    assert failed.payload["error"]["type"] == "TurnInterrupted"
    assert failed.payload["partial_response"] == "half "
    assert failed.payload["tool_calls_attempted"] == [{"name": "look", "arguments": {"at": 1}}]
    assert isinstance(failed.payload["duration_ms"], int)
    assert (await ended(machine, second)).payload["response_text"] == "you said two"
    assert (await ended(machine, third)).payload["response_text"] == "you said three"
    after = kinds(machine)[-5:]
    assert after == ["turn.failed", *["turn.started", "turn.completed"] * 2]


async def test_the_error_of_a_turn_says_whether_it_can_be_started_again():
    payload = {"turn_id": "t", "error": {"type": "TurnInterrupted", "message": "the runtime ended"}}
    for given, expected in (({"retryable": True}, True), ({}, False)):
        failed = _failed(make_envelope("turn.failed", payload | given))
        assert (failed.error_type, failed.retryable) == ("TurnInterrupted", expected)


async def test_a_turn_that_ended_is_not_ended_again(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    done = await runtime.client().run_turn(session_id="s", message="one")
    await machine.restart(lambda runtime: runtime.agents.default(echo))
    await machine.restart(lambda runtime: runtime.agents.default(echo))
    assert [e.kind for e in machine.disk.events if e.turn_id == done["turn_id"] and e.terminal] == [
        "turn.completed"
    ]


async def test_a_queued_turn_waits_for_its_agent_after_a_kill(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(forever))
    await start_turn(runtime, "one")
    second = await start_turn(runtime, "two", agent="triage")
    runtime = await machine.restart()
    queue = runtime.turns.queue(runtime.sessions.get("s"))
    assert [turn.id for turn in queue.waiting] == [second]
    runtime.agents.register("triage", echo)
    assert (await ended(machine, second)).payload["response_text"] == "you said two"


async def test_a_queued_turn_whose_agent_is_gone_fails_as_for_any_unknown_agent(machine, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    runtime = await machine.restart(lambda runtime: runtime.agents.default(forever))
    await start_turn(runtime, "one")
    second = await start_turn(runtime, "two", agent="triage")
    runtime = await machine.restart()
    runtime.turns.release(without_agent=True)
    assert (await ended(machine, second)).payload["error"]["type"] == "ModelNotConfigured"


async def test_a_queued_turn_whose_events_were_dropped_runs_after_a_kill(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(forever))
    await start_turn(runtime, "one")
    second = await start_turn(runtime, "two")
    await runtime.sessions.kept(runtime.sessions.get("s"))
    machine.disk.events = [e for e in machine.disk.events if e.turn_id != second]
    runtime = await machine.restart()
    assert [turn.id for turn in runtime.turns.queue(runtime.sessions.get("s")).waiting] == [second]


async def test_a_turn_of_which_nothing_says_that_it_was_accepted_is_dropped_and_said(machine, caplog):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    published = machine.broker.publish

    def publish(envelope, *args, **kwargs):
        if envelope.kind == "turn.accepted":  # the kill comes between the turn and this event
            machine.kill()
        return published(envelope, *args, **kwargs)

    machine.broker.publish = publish
    turn = runtime.turns.start(runtime.sessions.create("s"), request("one"))
    while machine.runtime is not None:
        await asyncio.sleep(0)
    runtime = await machine.restart()
    await runtime.sessions.kept(runtime.sessions.get("s"))
    assert f"{turn.id} of session s is dropped: nothing says that it was accepted" in caplog.text
    assert await machine.broker.keys("sessions.turns/") == []


async def test_a_stop_in_order_keeps_queued_turns_and_cancels_the_one_that_runs(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(forever))
    first = await start_turn(runtime, "one")
    second = await start_turn(runtime, "two")
    await runtime.stop()
    assert (await ended(machine, first)).payload["reason"] == "runtime_stopped"
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    assert (await ended(machine, second)).payload["response_text"] == "you said two"
    assert len([e for e in machine.disk.events if e.turn_id == first and e.terminal]) == 1


async def test_a_cancelled_turn_stays_cancelled(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(forever))
    await start_turn(runtime, "one")
    second = await start_turn(runtime, "two")
    await runtime.client().cancel_session("s")
    third = await start_turn(runtime, "three")
    assert (await runtime.client()._connection.cancel_turn("s", {"turn_id": third})) == "cancelled"
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    assert (await ended(machine, second)).kind == "turn.failed"
    assert (await ended(machine, third)).kind == "turn.cancelled"
    assert not runtime.turns.queue(runtime.sessions.get("s")).turns


async def test_a_turn_that_cannot_be_kept_is_refused_and_never_runs(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    await runtime.client().create_session(session_id="s")
    machine.disk.is_full = True
    with pytest.raises(CommandError, match="the disk is full"):
        await start_turn(runtime, "one")
    with pytest.raises(Exception, match="the disk is full"):
        await runtime.client().set_session_title("s", "a title")
    machine.disk.is_full = False
    done = await runtime.client().run_turn(session_id="s", message="two")
    assert done["message_count"] == 1
    runtime = await machine.restart()
    assert runtime.sessions.get("s").title == "a title"
    assert [m.content for m in runtime.sessions.get("s").messages] == ["two", "you said two"]


async def test_an_answered_turn_whose_end_was_not_kept_ends_as_completed(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    session = runtime.sessions.create("s")
    broker = machine.broker
    published = broker.publish

    def publish(envelope, *args, **kwargs):
        if envelope.kind == "turn.completed":  # the kill comes between the messages and this event
            machine.kill()
        return published(envelope, *args, **kwargs)

    broker.publish = publish
    turn = runtime.turns.start(session, request("one"))
    await turn.accepted()
    while turn.task is None or not turn.finished:
        await asyncio.sleep(0)
    runtime = await machine.restart()
    done = await ended(machine, turn.id)
    assert done.kind == "turn.completed"
    assert done.payload["response_text"] == "you said one"
    assert [m.content for m in runtime.sessions.get("s").messages] == ["one", "you said one"]


async def test_a_tool_that_was_allowed_for_the_session_is_so_after_a_kill(machine):
    async def calls(turn):
        await turn.call_tool("rm", {}, result="done")

    runtime = await machine.restart(lambda runtime: runtime.agents.default(calls))
    client = runtime.client()
    await client.create_session(session_id="s", policy="guard")
    required = runtime.bus.subscribe(["prompt.required"])
    turn = asyncio.create_task(client.run_turn(session_id="s", message="go"))
    request_id = (await anext(required)).payload["raw_event"]["data"]["request_id"]
    await client._connection.respond("s", {"request_id": request_id, "decision": "allow_session"})
    await turn
    runtime = await machine.restart()
    assert runtime.sessions.get("s").allowed_tools == {"rm"}


async def test_messages_that_had_to_go_do_not_come_back(machine):
    machine.options["limits"] = small()
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    for n in range(40):
        await runtime.client().run_turn(session_id="s", message=f"{n} " + "x" * 3_000)
    session = runtime.sessions.get("s")
    before, dropped = [m.content for m in session.messages], session.messages_dropped
    assert dropped > 0
    await runtime.sessions.kept(session)
    runtime = await machine.restart()
    session = runtime.sessions.get("s")
    assert [m.content for m in session.messages] == before
    assert session.messages_dropped == dropped


async def test_the_memory_broker_keeps_nothing_as_ever():
    async with Runtime(port=None) as runtime:
        runtime.agents.default(echo)
        await runtime.client().run_turn(session_id="s", message="one")
        assert not await runtime.bus.broker.keys("")


async def test_sessions_that_were_in_memory_are_kept_from_the_start_of_a_durable_broker_on(machine):
    async with Runtime(port=None) as runtime:
        runtime.agents.default(echo)
        await runtime.client().run_turn(session_id="s", message="one")
        await runtime.stop()
        runtime.use_broker(SurvivingBroker(machine.disk))
        await runtime.start()
        await runtime.sessions.kept(runtime.sessions.get("s"))
    assert len((await machine.restart()).sessions.get("s").messages) == 2


async def test_a_value_that_cannot_be_read_is_left_and_said(machine, caplog):
    runtime = await machine.restart()
    await runtime.client().create_session(session_id="s")
    await machine.broker.put("sessions/t", b"{")
    runtime = await machine.restart()
    assert [s.session_id for s in runtime.sessions.list()] == ["s"]
    assert "sessions/t of memory cannot be read" in caplog.text
    assert await machine.broker.get("sessions/t") is not None


async def test_a_session_that_cannot_be_read_keeps_its_messages_and_turns(machine):
    runtime = await machine.restart(lambda runtime: runtime.agents.default(echo))
    await runtime.client().run_turn(session_id="s", message="one")
    runtime.agents.default(forever)
    await start_turn(runtime, "two")
    third = await start_turn(runtime, "three")
    await runtime.sessions.kept(runtime.sessions.get("s"))
    record = (await machine.broker.get("sessions/s")).value
    await machine.broker.put("sessions/s", b'{"session_id": "s", "created_at": 1}')
    before = {**machine.disk.values}
    for _ in range(2):
        runtime = await machine.restart()
        assert runtime.sessions.list() == []
    assert machine.disk.values == before
    await machine.broker.put("sessions/s", record)
    session = (await machine.restart()).sessions.get("s")
    assert [m.content for m in session.messages] == ["one", "you said one"]
    assert [turn.id for turn in machine.runtime.turns.queue(session).waiting] == [third]


async def test_a_page_that_cannot_be_read_is_left_until_its_session_is_deleted(machine, monkeypatch):
    monkeypatch.setattr("dnworker.sessions.kept.CHUNK_CHARACTERS", 4)
    runtime = await machine.restart()
    session = runtime.sessions.create("s", messages=[Message(role="user", content=f"m{n}") for n in range(6)])
    await runtime.sessions.kept(session)
    del session.messages[:1]
    session.messages_dropped = 1
    runtime.sessions.note(session)
    await runtime.sessions.kept(session)
    first, *others = await machine.broker.keys("sessions.messages/")
    await machine.broker.put(first, b"[1]")
    for title in ("one", "two", "three"):
        runtime = await machine.restart()
        session = runtime.sessions.get("s")
        assert [m.content for m in session.messages] == ["m2", "m3", "m4", "m5"]
        await runtime.client().set_session_title("s", title)
    await machine.restart()
    assert (await machine.broker.get(first)).value == b"[1]"
    assert not {*others} & {*await machine.broker.keys("sessions.messages/")}
    await machine.runtime.client().delete_session("s")
    await machine.restart()
    assert await machine.broker.keys("sessions.messages/") == []


async def test_kept_waits_for_the_disk_and_says_when_it_is_full(machine):
    runtime = await machine.restart()
    session = runtime.sessions.create("s")
    machine.disk.is_full = True
    with pytest.raises(NotStored):
        await runtime.sessions.kept(session)
    machine.disk.is_full = False
    await runtime.sessions.kept(session)
    assert "s" in (await machine.restart()).sessions


# -- what they share -----------------------------------------------------------------------------------


async def forever(turn):
    await asyncio.Event().wait()


def request(message, **fields):
    from dnworker.sessions.turn import TurnRequest

    return TurnRequest(message=message, **fields)


def small():
    from dnworker.core.limits import Limits

    return Limits(sessions=100_000)


async def start_turn(runtime, message, **fields):
    """Start a turn as a client does, and return its id once that is answered."""
    events = await runtime.client()._connection.start_turn("s", {"message": message, **fields})
    events.close()
    return events.turn_id
