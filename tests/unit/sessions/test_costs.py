"""What turns cost is summed up by session, and unknown as soon as one price is."""

from __future__ import annotations

import pytest

from dnworker.sessions.transcript import Usage


@pytest.mark.parametrize(
    ("turns", "cost"),
    [
        ([[0.25, 0.5], [0.25]], 1.0),
        ([[0.25, None], [0.25]], None),
        ([[None], [0.25]], None),
        ([], 0.0),
    ],
)
async def test_a_session_costs_the_sum_of_its_turns_or_nobody_knows(runtime, turns, cost):
    async def reply(turn):
        for one in turns[int(turn.message)]:
            turn.say("x")
            turn.transcript.end_generation("stop", Usage(input_tokens=1, output_tokens=2), one)

    runtime.agents.default(reply)
    await runtime.client().create_session(session_id="s")
    for n in range(len(turns)):
        await runtime.client().run_turn(session_id="s", message=str(n))
    session = await runtime.client().get_session("s")
    assert session.total_cost_usd == cost
