"""What a check is given of the sessions of the notebook's runtime."""

from __future__ import annotations

from dnworker import Runtime
from dnworker.testing import make_envelope
from dnworker_jupyter.magics.live_export import remembered, sessions_of


async def test_what_an_agent_answered_last_to_a_message_is_remembered():
    answers = iter(["first", "second"])

    async def reply(turn):
        return next(answers)

    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", reply)
        client = runtime.client()
        for session_id in ("s-1", "s-1"):
            await client.create_session(agent="triage", session_id=session_id)
            await client.run_turn(session_id=session_id, message="which?")
        assert remembered(runtime, "triage", "which?") == "second"
        assert remembered(runtime, "triage", "what?") is None
        assert remembered(runtime, "other", "which?") is None


async def test_live_sessions_of_events_are_known_with_their_agent_and_messages():
    async def reply(turn):
        return "well"

    async with Runtime(port=None) as runtime:
        runtime.agents.register("triage", reply)
        client = runtime.client()
        await client.create_session(agent="triage", session_id="s-1")
        await client.run_turn(session_id="s-1", message="which?")
        events = [make_envelope("demo.a", session_id=name) for name in ("s-1", "s-1", "gone", None)]
        (facts,) = sessions_of(runtime, events)
        assert (facts.session_id, facts.agent, facts.policy) == ("s-1", "triage", "interactive")
        assert [m.content for m in facts.messages] == ["which?", "well"]
