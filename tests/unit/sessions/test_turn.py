"""What a scripted agent can do in its turn: say, call tools, ask, sleep; over both transports."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dnworker import Runtime, TurnFailedError, VirtualClock
from dnworker.core.errors import CommandError
from dnworker.sessions.prompts import PromptCancelled

from .events import next_of


@pytest.mark.parametrize("answer", [5, ["a"], b"bytes"])
async def test_an_answer_that_is_no_text_fails_the_turn_and_says_so(runtime, answer):
    runtime.agents.default(lambda turn: answer)
    with pytest.raises(TurnFailedError, match="answers with text, not with"):
        await runtime.client().run_turn(session_id="s", message="hello")


async def test_text_that_is_no_unicode_is_mended(runtime):
    runtime.agents.default(lambda turn: "a\ud800b")
    done = await runtime.client().run_turn(session_id="s", message="hello")
    assert done["response_text"] == "a\ufffdb"


async def test_a_script_sees_the_turns_before_it_and_reset_forgets_them(client):
    client.runtime.agents.default(lambda turn: f"{len(turn.history)} before")
    answers = [
        (await client.run_turn(session_id="s", message="a", reset=reset))["response_text"]
        for reset in (False, False, True)
    ]
    assert answers == ["0 before", "2 before", "0 before"]


async def test_raw_events_are_dated_by_the_runtimes_clock():
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with Runtime(port=None, clock=VirtualClock(start)) as runtime:

        async def reply(turn):
            yield "now, "
            await turn.sleep(3600)
            yield "and an hour later"

        runtime.agents.default(reply)
        asked = runtime.client().stream_chat(session_id="s", message="a")
        dates: dict[str, str] = {}
        async for raw in asked:
            dates[raw["type"]] = raw["timestamp"]
            if raw["type"] == "generationcontent" and len(dates) == 3:
                moving = asyncio.create_task(runtime.clock.advance(3600))
        await moving
        session = await runtime.client().get_session("s")
        assert session is not None
        assert datetime.fromisoformat(session.created_at) == start
    assert dates["generationstart"] == start.isoformat()
    assert {dates[kind] for kind in ("generationcontent", "generationend", "agentend")} == {
        (start + timedelta(hours=1)).isoformat()
    }


async def test_a_scripts_delays_follow_the_virtual_clock():
    async with Runtime(port=None, clock=VirtualClock()) as runtime:

        async def reply(turn):
            await turn.sleep(3600)
            return "an hour later"

        runtime.agents.default(reply)
        turn = asyncio.create_task(runtime.client().run_turn(session_id="s", message="a"))
        await next_of(runtime, "turn.started")
        moving = asyncio.create_task(runtime.clock.advance(3600))
        assert (await turn)["duration_ms"] == 3_600_000
        await moving


@pytest.mark.clause("6.3 tools")
async def test_a_registered_tool_is_called_with_checked_arguments(client):
    async def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    client.runtime.tools.register(add)

    async def reply(turn):
        return await turn.call_tool("add", {"a": 3})

    client.runtime.agents.default(reply)
    assert (await client.run_turn(session_id="s", message="x"))["response_text"] == "5"
    (tool,) = await client.fetch_tools()
    assert (tool.name, tool.description) == ("add", "Add two numbers.")
    assert tool.parameters_schema["required"] == ["a"]


@pytest.mark.clause("5.3 raw")
async def test_a_tools_failure_is_told_and_raised_in_the_script(client):
    client.runtime.tools.register(lambda: 1 / 0, name="broken")

    async def reply(turn):
        try:
            await turn.call_tool("broken")
        except ZeroDivisionError:
            return "caught"

    client.runtime.agents.default(reply)
    raw = [r async for r in client.stream_chat(session_id="s", message="x")]
    types = [r["type"] for r in raw]
    assert types[2:5] == ["toolstart", "toolend", "toolstep"]
    assert (raw[3]["data"]["error"], raw[3]["data"]["error_type"]) == (
        "division by zero",
        "ZeroDivisionError",
    )


async def test_an_unknown_tool_is_named_with_those_there_are(runtime):
    runtime.tools.register(lambda: "", name="known")

    async def reply(turn):
        await turn.call_tool("unknown")

    runtime.agents.default(reply)
    with pytest.raises(TurnFailedError, match="no tool 'unknown'; there are: known"):
        await runtime.client().run_turn(session_id="s", message="x")


async def answer_prompt(client, respond):
    """Wait for a prompt and answer it; return its raw event."""
    event = await next_of(client.runtime, "prompt.required")
    status = client.runtime.turns.queue(client.runtime.sessions.get("s")).phase
    await respond(event.payload["raw_event"]["data"])
    return event.payload, status


@pytest.mark.clause("7.2 prompt")
async def test_a_question_is_put_to_the_human_and_answered(client):
    async def reply(turn):
        return "chose " + await turn.ask("Which?", ["red", "blue"])

    client.runtime.agents.default(reply)

    async def respond(prompt):
        answer = {"selected_labels": ["blue"]}
        response = {"request_id": prompt["request_id"], "action": "submit", "answers": [answer]}
        await client.send_human_input_response("s", response)

    answering = asyncio.create_task(answer_prompt(client, respond))
    done = await client.run_turn(session_id="s", message="x")
    payload, phase = await answering
    assert done["response_text"] == "chose blue"
    assert phase == "awaiting_input"
    assert payload["event_type"] == "userinputrequired"
    (question,) = payload["raw_event"]["data"]["questions"]
    assert [o["label"] for o in question["options"]] == ["red", "blue"]


@pytest.mark.parametrize("answers", [[], [{}], [{"answer": "red"}], [{"text": "a"}, {"text": "b"}]])
async def test_an_answer_that_says_nothing_is_refused_with_the_right_shape(runtime, answers):
    runtime.agents.default(lambda turn: turn.ask("Which?", ["red"]))
    client = runtime.client()
    turn = asyncio.create_task(client.run_turn(session_id="s", message="x"))
    prompt = await next_of(runtime, "prompt.required")
    request_id = prompt.payload["raw_event"]["data"]["request_id"]
    response = {"request_id": request_id, "action": "submit", "answers": answers}
    with pytest.raises(CommandError, match="selected_labels") as refused:
        await client.send_human_input_response("s", response)
    assert refused.value.status_code == 400
    await client.send_human_input_response("s", response | {"answers": [{"text": "red"}]})
    assert (await turn)["response_text"] == "red"


async def test_a_closed_question_raises_in_the_script(client):
    async def reply(turn):
        try:
            await turn.ask("Name?")
        except PromptCancelled:
            return "nobody answered"

    client.runtime.agents.default(reply)

    async def respond(prompt):
        await client.send_human_input_response("s", {"request_id": prompt["request_id"], "action": "cancel"})

    answering = asyncio.create_task(answer_prompt(client, respond))
    assert (await client.run_turn(session_id="s", message="x"))["response_text"] == "nobody answered"
    await answering


@pytest.mark.parametrize(("decision", "answer"), [("allow", "ok"), ("deny", "not allowed")])
@pytest.mark.clause("7.2 prompt")
async def test_under_the_guard_policy_every_tool_needs_leave(client, decision, answer):
    async def reply(turn):
        try:
            return await turn.call_tool("rm", {"path": "/"}, result="ok")
        except PermissionError:
            return "not allowed"

    client.runtime.agents.default(reply)
    await client.create_session(session_id="s", policy="guard")

    async def respond(prompt):
        assert prompt["tool_approval"]["tool_name"] == "rm"
        await client.send_permission_response("s", prompt["request_id"], decision)

    answering = asyncio.create_task(answer_prompt(client, respond))
    assert (await client.run_turn(session_id="s", message="x"))["response_text"] == answer
    _, phase = await answering
    assert phase == "awaiting_permission"


async def test_leave_for_the_session_is_asked_once(runtime):
    client = runtime.client()

    async def reply(turn):
        return await turn.call_tool("rm", result="ok")

    runtime.agents.default(reply)
    await client.create_session(session_id="s", policy="guard")
    first = asyncio.create_task(client.run_turn(session_id="s", message="x"))
    prompt = await next_of(runtime, "prompt.required")
    request_id = prompt.payload["raw_event"]["data"]["request_id"]
    await client.send_permission_response("s", request_id, "allow_session")
    await first
    assert (await client.run_turn(session_id="s", message="x"))["response_text"] == "ok"


@pytest.mark.clause("7.2 prompt")
async def test_an_answer_to_no_open_question_is_a_409(client):
    await client.create_session(session_id="s")
    with pytest.raises(CommandError) as refused:
        await client.send_human_input_response("s", {"request_id": "req-1", "action": "cancel"})
    assert refused.value.status_code == 409
    await client.send_permission_response("s", "req-1", "allow")  # a decision is always acknowledged
