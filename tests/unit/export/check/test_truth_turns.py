"""Notebooks whose truth is known, same or different: sessions, agents, turns, prompts."""

from __future__ import annotations

import pytest

from dnworker.capability.agents import AgentDefinition
from dnworker_jupyter.export.check.record import SessionFacts

from .book import Book, green, handler, no_process, red, told  # noqa: F401

ASKS = """
session = await client.create_session(agent="triage", session_id="s-1")
done = await client.run_turn(session_id=session.session_id, message=f"decide: {event.payload['text']}")
await client.publish("demo.decided", {"verdict": json.loads(done["response_text"])["verdict"]})
"""
TRIAGE = "%%agent triage\nimport json\nasync def reply(turn):\n    return json.dumps({'verdict': len(turn.message)})"


def asking(*cells: str, body: str = ASKS, **options) -> Book:
    book = Book("import json, asyncio", *cells, handler(body))
    book.record("demo.a", {"text": "hello"})
    return book


async def test_the_notebooks_scripted_agent_answers_on_both_sides():
    report = await asking(TRIAGE).check()
    assert green(report)
    assert "stand-in" not in told(report)


async def test_an_agent_that_answers_something_else_each_time_is_no_difference():
    agent = "%%agent triage\nimport json, random\nasync def reply(turn):\n    return json.dumps({'verdict': random.random()})"
    report = await asking(agent).check()
    assert green(report)
    assert "w.on_a publishes demo.decided: verdict" in told(report)


async def test_without_a_script_a_stand_in_answers_and_what_fails_on_both_sides_is_not_green():
    report = await asking().check()
    assert red(
        report, "1 handler fails in the notebook and in the export alike", "w.on_a raises JSONDecodeError"
    )
    assert "a stand-in answered for triage: script it, by a cell that begins with %%agent triage" in told(
        report
    )


async def test_what_a_model_answered_before_is_answered_again():
    def remembered(agent, message):
        assert (agent, message) == ("triage", "decide: hello")
        return '{"verdict": "close"}'

    report = await asking().check(remembered=remembered)
    assert green(report)
    assert "stand-in" not in told(report)


STEPS = """
%%agent triage
async def reply(turn):
    yield "looking "
    found = await turn.call_tool("look", {"word": turn.message})
    yield f"found {found} "
    try:
        await turn.call_tool("missing", {})
    except LookupError:
        yield "no such tool "
    yield await turn.ask("Close it?", ["yes", "no"])
"""
SAYS = """
session = await client.create_session(agent="triage", session_id="s-1")
done = await client.run_turn(session_id=session.session_id, message="word")
await client.publish("demo.said", {"text": done["response_text"], "tools": [c["name"] for c in done["tool_calls"]]})
"""


async def test_tools_and_questions_of_an_agent_are_the_same_and_a_stand_in_answers_for_the_person():
    book = asking(
        "CALLS = []\ndef look(word: str) -> str:\n    CALLS.append(word)\n    return word.upper()",
        STEPS,
        body=SAYS,
    )
    book.tools["look"] = book.names["look"]
    report = await book.check()
    assert green(report)
    assert "a stand-in answered 1 question of agents to a person" in told(report)
    assert book.names["CALLS"] == [], "tools of the notebook are copied with what they reach"


async def test_a_handler_that_answers_for_the_person_is_quicker_than_the_stand_in():
    answers = handler(
        "request = event.payload['raw_event']['data']\n"
        "await client.send_human_input_response(event.session_id, {'request_id': request['request_id'],"
        " 'action': 'submit', 'answers': [{'selected_labels': ['no']}]})",
        "prompt.required", "answer", "person",
    )  # fmt: skip
    agent = "%%agent triage\nasync def reply(turn):\n    return await turn.ask('Close it?', ['yes', 'no'])"
    report = await asking(agent, answers, body=SAYS).check()
    assert green(report)
    assert "stand-in" not in told(report)


FAILING = """
%%agent triage
async def reply(turn):
    yield "well, "
    turn.fail("the knowledge base is down", "Down")
"""
CAREFUL = """
session = await client.create_session(agent="triage", session_id="s-1")
try:
    await client.run_turn(session_id=session.session_id, message="word")
except TurnFailedError as failed:
    await client.publish("demo.failed", {"why": str(failed)})
"""


@pytest.mark.parametrize(
    "agent", [FAILING, "%%agent triage\nasync def reply(turn):\n    raise ValueError('broken')"]
)
async def test_a_turn_that_fails_fails_alike_on_both_sides(agent):
    report = await asking("from dnworker import TurnFailedError", agent, body=CAREFUL).check()
    assert green(report)


async def test_handlers_of_turns_run_on_both_sides_with_what_the_turn_gave():
    listens = handler(
        "await client.publish('demo.heard', {'text': event.payload['response_text'], 'agent': event.payload['agent']})",
        "turn.completed",
        "on_turn",
        "listener",
    )
    assert green(await asking(TRIAGE, listens).check())


async def test_another_message_to_the_agent_is_a_difference():
    body = ASKS.replace("decide:", "{WORD}:")
    book = asking(TRIAGE, "WORD = 'decide'", body=body)
    book.names["WORD"] = "choose"
    assert red(await book.check(), '- w.on_a asks triage: {"message": "choose: hello"}')


HEAD = "%%capability\nname: demo\nversion: 1.0.0\ndescription: d"
IN_CAPABILITY = ASKS.replace('agent="triage"', 'capability="demo", agent="triage"')


def agent_file(directory, name="triage"):
    (directory / "agents").mkdir(parents=True, exist_ok=True)
    (directory / "agents" / f"{name}.md").write_text(f"---\nname: {name}\ndescription: d\n---\nYou decide.\n")
    return directory


async def test_agents_of_the_target_directory_are_there_for_the_notebook_too(tmp_path):
    report = await asking(HEAD, TRIAGE, body=IN_CAPABILITY).check(agent_file(tmp_path / "demo"))
    assert green(report)


async def test_an_agent_of_the_capability_without_a_script_is_found_on_both_sides(tmp_path):
    body = IN_CAPABILITY.replace('json.loads(done["response_text"])["verdict"]', 'done["agent"]')
    report = await asking(HEAD, body=body).check(agent_file(tmp_path / "demo"))
    assert green(report)
    assert "a stand-in answered for triage" in told(report)


async def test_an_agent_that_only_a_cell_has_is_a_difference_where_the_capability_is_named():
    report = await asking(HEAD, TRIAGE, body=IN_CAPABILITY).check()
    assert red(
        report,
        "capability 'demo' has no agent 'triage'",
        "put triage into agents/triage.md of the export's directory",
    )


async def test_agents_that_only_the_notebooks_directory_has_are_a_difference():
    book = asking(HEAD, body=IN_CAPABILITY.replace('json.loads(done["response_text"])["verdict"]', "1"))
    book.agents_beside = {"demo": [AgentDefinition("triage", "demo")]}
    assert red(await book.check(), "capability 'demo' has no agent 'triage'")


async def test_events_of_a_session_find_its_agent_and_messages():
    body = """
    done = await client.run_turn(session_id=event.session_id, message="and?")
    await client.publish("demo.said", {"agent": done["agent"], "text": done["response_text"]})
    """
    book = Book("import json", TRIAGE, handler(body))
    book.record("demo.a", {}, session_id="s-7")
    report = await book.check(sessions=[SessionFacts("s-7", agent="triage")])
    assert green(report)
    assert "stand-in" not in told(report)


async def test_an_agent_that_keeps_count_in_the_notebook_begins_anew_in_each_run():
    agent = (
        "%%agent triage\nCOUNT = []\nasync def reply(turn):\n    COUNT.append(1)\n    return str(len(COUNT))"
    )
    book = asking(agent, body=SAYS)
    report = await book.check()
    assert green(report)
    assert "varies" not in told(report)
    assert book.names["COUNT"] == []
