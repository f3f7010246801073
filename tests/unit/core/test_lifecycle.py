"""The table of states is the diagram, and the only way from one state to another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import InvalidTransition
from dnworker.core.lifecycle import NEXT, WorkerState, move

STATES = st.sampled_from(list(WorkerState))


@pytest.mark.clause("2.7 states")
def test_the_states_are_the_seven_of_the_contract():
    assert [
        str(s) for s in WorkerState
    ] == "loading starting running stopping stopped error gated_off".split()


@given(STATES, st.lists(STATES, max_size=30))
@pytest.mark.clause("2.7 states")
def test_a_walk_never_leaves_the_table(state, wishes):
    for wish in wishes:
        try:
            state = move(state, wish)
        except InvalidTransition:
            assert wish not in NEXT[state]
        else:
            assert state is wish


def test_from_every_state_there_is_a_way_to_stopped():
    for start in WorkerState:
        reached, waiting = set(), [start]
        while waiting:
            state = waiting.pop()
            if state not in reached:
                reached.add(state)
                waiting += NEXT[state]
        assert WorkerState.STOPPED in reached


def test_a_step_that_is_not_there_names_both_states():
    with pytest.raises(InvalidTransition, match="from gated_off to running"):
        move(WorkerState.GATED_OFF, WorkerState.RUNNING)
