"""Turns: their order, their ends and their queue; over both transports."""

from __future__ import annotations

import asyncio
import os

import pytest

from dnworker import Runtime, TurnCancelledError, TurnFailedError, Worker
from dnworker.core.errors import CommandError, Conflict, HandlerFailed, Invalid
from dnworker.sessions.turn import TurnRequest

from .events import kinds_of, next_of

# -- how a turn ends -----------------------------------------------------------------------------------


@pytest.mark.clause("5.2 completed")
async def test_an_async_functions_text_is_the_answer(client):
    async def reply(turn):
        return f"you said {turn.message}"

    client.runtime.agents.default(reply)
    done = await client.run_turn(session_id="s", message="hello")
    assert done["response_text"] == "you said hello"
    assert list(done) == [
        "turn_id",
        "response_text",
        "generation_stop_reason",
        "tool_calls",
        "usage",
        "duration_ms",
        "agent",
        "message_count",
    ]


@pytest.mark.clause("5.3 raw")
async def test_an_async_generators_pieces_are_streamed(client):
    async def reply(turn):
        yield "one "
        yield "two"

    client.runtime.agents.default(reply)
    raw = [event async for event in client.stream_chat(session_id="s", message="hello")]
    assert [r["type"] for r in raw] == [
        "agentstart",
        "generationstart",
        "generationcontent",
        "generationcontent",
        "generationend",
        "generationstep",
        "agentend",
    ]
    assert [r["data"]["content"] for r in raw if r["type"] == "generationcontent"] == ["one ", "two"]
    assert all(list(r) == ["type", "timestamp", "agent_id", "agent_name", "status", "data"] for r in raw)


@pytest.mark.clause("5.2 turn")
async def test_the_events_of_a_turn_come_in_the_contracts_order(runtime):
    runtime.agents.default(lambda turn: "done")
    await runtime.client().run_turn(session_id="s", message="hello")
    kinds = kinds_of(runtime)
    assert kinds[:3] == ["session.created", "turn.accepted", "turn.started"]
    assert set(kinds[3:-1]) == {"turn.event"}
    assert kinds[-1] == "turn.completed"
    turn = [e for e in runtime.history.events() if e.turn_id]
    assert [e.terminal for e in turn] == [False] * (len(turn) - 1) + [True]
    assert len({e.turn_id for e in turn}) == 1


@pytest.mark.clause("5.2 turn")
async def test_accepted_tells_what_was_asked_for(runtime):
    runtime.agents.default(lambda turn: "done")
    await runtime.client().run_turn(session_id="s", message="hello", agent="triage", model="m-1", reset=True)
    accepted = next(e for e in runtime.history.events() if e.kind == "turn.accepted")
    assert accepted.payload == {
        "agent": "triage",
        "model": "m-1",
        "reset": True,
        "message_length": 5,
        "queue_depth": 1,
    }


@pytest.mark.clause("5.2 failed")
@pytest.mark.clause("8.4 run")
async def test_a_script_that_raises_fails_its_turn_with_type_and_message(client):
    async def reply(turn):
        yield "so far"
        raise LookupError("no such order")

    client.runtime.agents.default(reply)
    with pytest.raises(TurnFailedError, match="no such order") as failed:
        await client.run_turn(session_id="s", message="hello")
    assert failed.value.error_type == "LookupError"
    assert failed.value.partial_response == "so far"
    assert failed.value.turn_id.startswith("turn_")
    with pytest.raises(HandlerFailed, match="no such order"):
        await client.runtime.settle()


async def test_a_script_may_fail_its_turn_on_purpose_without_failing_the_run(client):
    async def reply(turn):
        turn.fail("provider said no", "BadRequestError")

    client.runtime.agents.default(reply)
    with pytest.raises(TurnFailedError, match="provider said no") as failed:
        await client.run_turn(session_id="s", message="hello")
    assert failed.value.error_type == "BadRequestError"
    await client.runtime.settle()


@pytest.mark.clause("8.4 stream")
async def test_stream_chat_of_a_failed_turn_ends_without_raising(client):
    client.runtime.agents.default(lambda turn: turn.fail("no"))
    raw = [r["type"] async for r in client.stream_chat(session_id="s", message="hello")]
    assert raw == ["agentstart", "generationerror", "agentend"]


@pytest.mark.clause("5.2 unstarted")
async def test_without_script_and_model_a_turn_fails_before_it_starts_and_says_how_to_configure(
    client, monkeypatch
):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DNWORKER_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TurnFailedError, match=r"OPENAI_API_KEY.*use_model") as failed:
        await client.run_turn(session_id="s", message="hello", agent="triage")
    assert failed.value.error_type == "ModelNotConfigured"
    assert "runtime.agents.register('triage', reply)" in str(failed.value)
    assert str(failed.value).endswith("(DN605)")
    kinds = [k for k in kinds_of(client.runtime) if k.startswith("turn.")]
    assert kinds == ["turn.accepted", "turn.event", "turn.failed"]


async def test_an_answer_too_large_for_a_subscriber_is_cut_and_marked(runtime):
    runtime.agents.default(lambda turn: "x" * 3_000_000)
    done = await runtime.client().run_turn(session_id="s", message="hello")
    assert done["dreadnode_truncated"] is True
    assert 0 < len(done["response_text"]) < 1_000_000
    assert done["turn_id"].startswith("turn_")


async def test_a_message_that_is_no_text_is_refused(client):
    with pytest.raises(CommandError) as refused:
        await client.run_turn(session_id="s", message=5)
    assert refused.value.status_code == 400
    assert all(
        s.completed_turns == 0 and not client.runtime.turns.queue(s).waiting
        for s in client.runtime.sessions.list()
    )


async def test_a_refused_turn_creates_no_session_in_process(runtime):
    with pytest.raises(CommandError):
        await runtime.client().run_turn(session_id="s", message=5)
    assert "s" not in runtime.sessions


# -- the session afterwards ----------------------------------------------------------------------------


@pytest.mark.clause("5.2 completed")
async def test_a_completed_turns_messages_and_figures_are_kept(client):
    async def reply(turn):
        turn.say("looking ")
        await turn.call_tool("add", {"a": 1, "password": "x"}, result="2")
        return "it is 2"

    client.runtime.agents.default(reply)
    done = await client.run_turn(session_id="s", message="1+1?")
    assert done["response_text"] == "it is 2"
    masked = {"a": 1, "password": "***"}
    assert done["tool_calls"] == [{"name": "add", "arguments": masked, "result": "2"}]
    messages = await client.fetch_session_messages("s")
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "1+1?"),
        ("assistant", "looking "),
        ("tool", "2"),
        ("assistant", "it is 2"),
    ]
    assert messages[2]["tool_name"] == "add"
    session = await client.get_session("s")
    assert (session.message_count, session.total_tool_call_count, session.preview) == (1, 1, "1+1?")


async def test_a_failed_turn_leaves_no_messages(client):
    client.runtime.agents.default(lambda turn: turn.fail("no"))
    with pytest.raises(TurnFailedError):
        await client.run_turn(session_id="s", message="hello")
    assert await client.fetch_session_messages("s") == []


async def test_an_agent_is_chosen_by_name(client):
    client.runtime.agents.register("triage", lambda turn: f"{turn.agent} of {turn.session.session_id}")
    client.runtime.agents.default(lambda turn: "somebody else")
    await client.create_session(session_id="s", agent="triage")
    assert (await client.run_turn(session_id="s", message="x"))["response_text"] == "triage of s"
    assert (await client.run_turn(session_id="t", message="x"))["response_text"] == "somebody else"
    done = await client.run_turn(session_id="t", message="x", agent="triage")
    assert done["response_text"] == "triage of t"


# -- the queue -----------------------------------------------------------------------------------------


def gate(runtime):
    """Let every turn wait for its own release; returns the releases by message."""
    releases = {}

    async def reply(turn):
        yield "begun "
        await releases.setdefault(turn.message, asyncio.Event()).wait()
        yield "ended"

    runtime.agents.default(reply)
    return releases


@pytest.mark.clause("7.2 queue")
async def test_turns_of_a_session_run_one_after_the_other_in_order(runtime):
    order = []

    async def reply(turn):
        order.append(("begins", turn.message))
        await asyncio.sleep(0)
        order.append(("ends", turn.message))

    runtime.agents.default(reply)
    session = runtime.sessions.create("s")
    for message in "abc":
        runtime.turns.start(session, TurnRequest(message=message))
    await runtime.settle()
    assert order == [(what, m) for m in "abc" for what in ("begins", "ends")]
    depths = [e.payload["queue_depth"] for e in runtime.history.events() if e.kind == "turn.accepted"]
    assert depths == [1, 2, 3]


@pytest.mark.clause("7.2 queue")
async def test_turns_of_different_sessions_run_side_by_side(runtime):
    both = asyncio.Barrier(2)

    async def reply(turn):
        await both.wait()
        return "met"

    runtime.agents.default(reply)
    client = runtime.client()
    async with asyncio.timeout(60):
        await asyncio.gather(*(client.run_turn(session_id=s, message="x") for s in "ab"))


@pytest.mark.clause("13.6")
async def test_two_turns_of_one_client_on_one_session_both_end(client):
    client.runtime.agents.default(lambda turn: turn.message)
    async with asyncio.timeout(60):
        done = await asyncio.gather(*(client.run_turn(session_id="s", message=str(n)) for n in range(5)))
    assert [d["response_text"] for d in done] == ["0", "1", "2", "3", "4"]


@pytest.mark.clause("8.4 run")
async def test_cancel_stops_the_active_turn_and_the_next_one_runs(client):
    releases = gate(client.runtime)
    begun = asyncio.create_task(next_of(client.runtime, "turn.event"))
    first = asyncio.create_task(client.run_turn(session_id="s", message="a"))
    await begun
    second = asyncio.create_task(client.run_turn(session_id="s", message="b"))
    accepted = await next_of(client.runtime, "turn.accepted")
    assert accepted.payload["queue_depth"] == 2
    await client.cancel_session("s")
    with pytest.raises(TurnCancelledError, match="Turn cancelled: user_interrupt") as cancelled:
        await first
    assert cancelled.value.partial_response == "begun "
    releases.setdefault("b", asyncio.Event()).set()
    assert (await second)["response_text"] == "begun ended"


@pytest.mark.clause("5.2 cancelled")
async def test_drop_queued_cancels_the_waiting_ones_and_counts_them(runtime):
    gate(runtime)
    session = runtime.sessions.create("s")
    turns = [runtime.turns.start(session, TurnRequest(message=m)) for m in "abc"]
    await next_of(runtime, "turn.started")
    assert await runtime.turns.cancel("s", drop_queued=True) == "cancelled"
    ended = {e.turn_id: e.payload for e in runtime.history.events() if e.kind == "turn.cancelled"}
    assert ended[turns[0].id]["reason"] == "user_interrupt"
    assert ended[turns[0].id]["dropped_queued"] == 2
    assert ended[turns[1].id] == ended[turns[2].id] == {"reason": "queue_dropped"}
    assert await runtime.turns.cancel("s") == "idle"


@pytest.mark.clause("7.2 cancel")
async def test_a_waiting_turn_can_be_cancelled_alone(runtime):
    releases = gate(runtime)
    session = runtime.sessions.create("s")
    first, second = (runtime.turns.start(session, TurnRequest(message=m)) for m in "ab")
    assert await runtime.turns.cancel("s", second.id) == "cancelled"
    await next_of(runtime, "turn.started")
    releases.setdefault("a", asyncio.Event()).set()
    assert (await next_of(runtime, "turn.completed")).turn_id == first.id


@pytest.mark.clause("8.4 stream")
async def test_stream_chat_of_a_cancelled_turn_ends_with_the_cancelled_event(client):
    gate(client.runtime)
    raw = []
    async for event in client.stream_chat(session_id="s", message="a"):
        raw.append(event)
        if event["type"] == "generationcontent":
            await client.cancel_session("s")
    assert raw[-1] == {"type": "cancelled", "data": {"reason": "user_interrupt"}}


async def test_an_agent_that_ignores_its_cancellation_does_not_hold_the_session_up(runtime, monkeypatch):
    monkeypatch.setattr("dnworker.sessions.turns.CANCEL_GRACE", 0.01)
    release = asyncio.Event()

    async def reply(turn):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        yield "too late"

    runtime.agents.default(reply)
    session = runtime.sessions.create("s")
    turn = runtime.turns.start(session, TurnRequest(message="a"))
    await next_of(runtime, "turn.started")
    await runtime.turns.cancel("s")
    assert runtime.turns.queue(session).active is None
    release.set()
    await asyncio.wait({turn.task})
    ends = [e.kind for e in runtime.history.events() if e.terminal]
    assert ends == ["turn.cancelled"]


@pytest.mark.clause("7.2 prompt")
async def test_cancelling_a_turn_closes_its_question(runtime):
    async def reply(turn):
        await turn.ask("Name?")

    runtime.agents.default(reply)
    session = runtime.sessions.create("s")
    runtime.turns.start(session, TurnRequest(message="a"))
    await next_of(runtime, "prompt.required")
    await runtime.turns.cancel("s")
    queue = runtime.turns.queue(session)
    assert (queue.phase, queue.prompts) == ("idle", {})


@pytest.mark.parametrize("agent", ["x" * 513, "a\ud800"])
async def test_a_turn_that_cannot_be_accepted_leaves_the_queue_as_it_was(runtime, agent):
    runtime.agents.default(lambda turn: "ok")
    session = runtime.sessions.create("s")
    with pytest.raises(Invalid):
        runtime.turns.start(session, TurnRequest(message="a", agent=agent))
    assert (await runtime.client().run_turn(session_id="s", message="b"))["response_text"] == "ok"
    await runtime.client().delete_session("s")


async def test_a_turn_cancelled_before_its_first_step_is_over_and_the_next_one_runs(runtime):
    runtime.agents.default(lambda turn: "ok")
    session = runtime.sessions.create("s")
    runtime.turns.start(session, TurnRequest(message="a"))
    assert await runtime.turns.cancel("s") == "cancelled"
    assert (kinds_of(runtime)[-1], runtime.turns.queue(session).phase) == ("turn.cancelled", "idle")
    assert (await runtime.client().run_turn(session_id="s", message="b"))["response_text"] == "ok"
    await runtime.settle()


async def test_a_turn_that_was_told_as_cancelled_changes_nothing_later(runtime, monkeypatch):
    monkeypatch.setattr("dnworker.sessions.turns.CANCEL_GRACE", 0.01)
    release = asyncio.Event()

    async def stubborn(turn):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    runtime.agents.default(stubborn)
    session = runtime.sessions.create("s")
    turn = runtime.turns.start(session, TurnRequest(message="a"))
    await next_of(runtime, "turn.started")
    await runtime.turns.cancel("s")
    release.set()
    await asyncio.wait({turn.task})
    assert (session.messages, session.completed_turns) == ([], 0)


async def test_no_turn_begins_while_its_session_is_being_deleted(runtime, monkeypatch):
    monkeypatch.setattr("dnworker.sessions.turns.CANCEL_GRACE", 0.01)
    began = asyncio.Event()

    async def slow_to_go(turn):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            began.set()
            await asyncio.sleep(0)
            raise

    runtime.agents.default(slow_to_go)
    session = runtime.sessions.create("s")
    runtime.turns.start(session, TurnRequest(message="a"))
    await next_of(runtime, "turn.started")
    deleting = asyncio.create_task(runtime.turns.end_session("s"))
    await began.wait()
    with pytest.raises(Conflict, match="is being deleted"):
        runtime.turns.start(session, TurnRequest(message="b"))
    await deleting
    assert "s" not in runtime.sessions


async def test_an_odd_file_name_in_an_error_ends_the_turn_as_any_other_text(runtime):
    def reply(turn):
        raise OSError("no " + os.fsdecode(b"caf\xe9.txt"))

    runtime.agents.default(reply)
    with pytest.raises(TurnFailedError, match="no caf\ufffd.txt"):
        await runtime.client().run_turn(session_id="s", message="a")


# -- who owns a turn -----------------------------------------------------------------------------------


@pytest.mark.clause("11.8")
async def test_a_turn_goes_on_when_its_iterator_is_dropped(client):
    releases = gate(client.runtime)
    events = client.stream_chat(session_id="s", message="a")
    await anext(events)
    await events.aclose()
    completed = asyncio.create_task(next_of(client.runtime, "turn.completed"))
    await asyncio.sleep(0)
    releases.setdefault("a", asyncio.Event()).set()
    assert (await completed).payload["response_text"] == "begun ended"


@pytest.mark.clause("11.8")
async def test_a_turn_goes_on_when_the_worker_that_started_it_stops(runtime):
    releases = gate(runtime)
    worker = Worker("starter")

    @worker.on_event("demo.go")
    async def go(event, client):
        await client.run_turn(session_id="s", message="a")

    managed = await runtime.add(worker)
    await runtime.fire("demo.go", wait=False)
    await next_of(runtime, "turn.started")
    await managed.stop()
    completed = asyncio.create_task(next_of(runtime, "turn.completed"))
    await asyncio.sleep(0)
    releases.setdefault("a", asyncio.Event()).set()
    await completed
    assert len(runtime.sessions.get("s").messages) == 2


async def test_a_turn_belongs_to_the_trace_of_the_handler_that_started_it(runtime):
    runtime.agents.register("triage", lambda turn: "done")
    worker, seen = Worker("starter"), []

    @worker.on_event("demo.go")
    async def go(event, client):
        async for _ in client.stream_chat(session_id="s", message="a", agent="triage"):
            break  # nobody waits for the rest

    @worker.on_event("turn.completed")
    async def done(event, client):
        seen.append(event.payload["response_text"])

    await runtime.add(worker)
    trace = await runtime.fire("demo.go")
    assert seen == ["done"]
    assert "turn.completed" in [e.kind for e in trace.events()]
    assert "agent triage.turn" in str(trace)


@pytest.mark.clause("13.11")
async def test_deleting_a_session_cancels_its_turn_and_a_new_one_of_that_id_is_not_mute(client):
    gate(client.runtime)
    turn = asyncio.create_task(client.run_turn(session_id="s", message="a"))
    await next_of(client.runtime, "turn.started")
    await client.delete_session("s")
    with pytest.raises(TurnCancelledError):
        await turn
    client.runtime.agents.default(lambda turn: "again")
    await client.unsubscribe_session("s")
    assert (await client.run_turn(session_id="s", message="b"))["response_text"] == "again"


async def test_stopping_the_runtime_cancels_its_turns():
    async with Runtime(port=None) as runtime:
        gate(runtime)
        turn = runtime.turns.start(runtime.sessions.create("s"), TurnRequest(message="a"))
        await next_of(runtime, "turn.started")
    assert turn.task.done()
    assert kinds_of(runtime)[-1] == "turn.cancelled"


async def test_metadata_that_is_no_json_is_refused(runtime):
    session = runtime.sessions.create("s")
    with pytest.raises(Invalid, match=r"payload\.x is a set"):
        runtime.turns.start(session, TurnRequest(message="a", metadata={"x": {1}}))
    assert runtime.turns.queue(session).active is None
