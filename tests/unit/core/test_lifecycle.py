"""The table of states is the diagram, and the only way from one state to another."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import InvalidTransition
from dnworker.core.lifecycle import NEXT, RECORD_KEPT, TRANSITIONS_KEPT, Lifecycle, WorkerState, move

STATES = st.sampled_from(list(WorkerState))


@pytest.mark.clause("2.7 states")
def test_the_states_are_the_seven_of_the_contract_and_standby_in_a_cluster():
    seven = "loading starting running stopping stopped error gated_off".split()
    assert [str(s) for s in WorkerState] == [*seven, "standby"]


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


def test_a_lifecycle_begins_in_loading_and_keeps_its_steps():
    life = Lifecycle()
    life.to(WorkerState.STARTING)
    life.to(WorkerState.RUNNING)
    assert life.state is WorkerState.RUNNING
    assert [step.state for step in life.transitions] == ["loading", "starting", "running"]


def test_only_the_newest_steps_are_kept():
    life = Lifecycle()
    for _ in range(TRANSITIONS_KEPT):
        life.to(WorkerState.STOPPED)
        life.to(WorkerState.LOADING)
    assert len(life.transitions) == TRANSITIONS_KEPT


def test_a_lifecycle_tells_listeners_of_each_step_and_its_error():
    told = []
    life = Lifecycle()
    end = life.listen(lambda state, error: told.append((state, error)))
    life.to(WorkerState.ERROR, "no door")
    end()
    life.to(WorkerState.STOPPED)
    assert told == [(WorkerState.ERROR, "no door")]


def test_the_error_is_that_of_the_last_step():
    life = Lifecycle()
    life.to(WorkerState.ERROR, "no door \ud800")
    assert life.error == "no door \ufffd"
    life.to(WorkerState.LOADING)
    assert life.error is None


def test_a_quiet_step_is_told_to_nobody():
    told = []
    life = Lifecycle()
    life.listen(lambda state, error: told.append(state))
    life.to(WorkerState.GATED_OFF, quiet=True)
    assert (life.state, told) == (WorkerState.GATED_OFF, [])


def test_a_step_that_is_not_there_changes_nothing():
    told = []
    life = Lifecycle()
    life.listen(lambda state, error: told.append(state))
    with pytest.raises(InvalidTransition, match="from loading to running"):
        life.to(WorkerState.RUNNING, "why")
    assert (life.state, life.error, told) == (WorkerState.LOADING, None, [])


def test_a_step_says_why_it_was_taken():
    life = Lifecycle()
    life.cause = "Restart by hand"
    life.begin()
    life.to(WorkerState.STARTING)
    life.to(WorkerState.RUNNING)
    life.to(WorkerState.STOPPING)
    life.to(WorkerState.STOPPED, "shutdown errors: x\nmore")
    reasons = [step.reason for step in life.transitions]
    assert reasons[:2] == ["Restart by hand", None]
    assert reasons[2].startswith("Started in ")
    assert reasons[3:] == ["Restart by hand", "Shutdown errors: x"]


def test_a_record_has_the_steps_of_all_lifecycles_of_one_worker_and_is_bounded():
    record = deque(maxlen=RECORD_KEPT)
    for _ in range(RECORD_KEPT):
        life = Lifecycle(record)
        life.begin()
        life.to(WorkerState.STOPPED)
    assert [step.state for step in record][-2:] == [WorkerState.LOADING, WorkerState.STOPPED]
    assert len(record) == RECORD_KEPT


def test_what_happens_without_a_step_is_recorded_and_the_state_stays():
    record = deque()
    life = Lifecycle(record)
    life.note("Cell [9] ran again: generation 7")
    assert (record[-1].state, record[-1].reason) == (WorkerState.LOADING, "Cell [9] ran again: generation 7")
    assert len(life.transitions) == 1
