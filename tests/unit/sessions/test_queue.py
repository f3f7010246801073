"""What runs and what waits in a session, and the phase that follows from it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from dnworker.sessions.prompts import HumanPrompt, PendingPrompt, ToolApproval
from dnworker.sessions.queue import TurnQueue


def pending(approval=None):
    return PendingPrompt(HumanPrompt(tool_approval=approval), asyncio.get_running_loop().create_future())


APPROVAL = ToolApproval(tool_name="add", arguments={}, tool_call_id="call_1")


@pytest.mark.parametrize(
    ("is_active", "approvals", "phase"),
    [
        (False, [], "idle"),
        (True, [], "running"),
        (True, [None], "awaiting_input"),
        (True, [None, APPROVAL], "awaiting_permission"),
        (True, [APPROVAL, None], "awaiting_input"),
    ],
    ids=["idle", "running", "question", "permission-last", "question-last"],
)
async def test_the_phase_is_that_of_the_newest_prompt(is_active, approvals, phase):
    queue = TurnQueue(active=SimpleNamespace(id="a") if is_active else None)
    queue.prompts.update({str(n): pending(approval) for n, approval in enumerate(approvals)})
    assert queue.phase == phase


def test_the_active_turn_comes_before_those_that_wait():
    first, second = SimpleNamespace(id="a"), SimpleNamespace(id="b")
    queue = TurnQueue(active=first)
    queue.waiting.append(second)
    assert queue.turns == [first, second]
    assert (queue.find_waiting("b"), queue.find_waiting("a")) == (second, None)
