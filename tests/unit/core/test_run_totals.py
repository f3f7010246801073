"""How many runs of each handler have ended, and how long they took, since the start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.invocation import Invocation
from dnworker.core.run_totals import BOUNDS, HANDLERS_COUNTED, OTHERS, OUTCOMES, RunTotals

RUNS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(OUTCOMES),
        st.floats(0, 1000) | st.sampled_from(BOUNDS),
        st.sampled_from(["event", "schedule", "task"]),
    )
)


def run(totals: RunTotals, handler="h", outcome="ok", took=0.0, cause="event") -> None:
    one = Invocation("cap:w", handler, cause)
    one.outcome, one.duration = outcome, took
    totals.note(one)


@given(RUNS)
def test_each_run_is_counted_once_and_in_the_bucket_that_its_duration_is_in(runs):
    totals = RunTotals()
    for handler, outcome, took, cause in runs:
        run(totals, handler, outcome, took, cause)
    for (_, handler), total in totals.read().items():
        mine = [one for one in runs if one[0] == handler]
        timed = [one[2] for one in mine if one[1] != "cancelled" and one[3] != "task"]
        assert total.outcomes == {one: sum(run[1] == one for run in mine) for one in OUTCOMES}
        assert sum(total.slots) == len(timed)
        for number, bound in enumerate(BOUNDS):
            assert sum(total.slots[: number + 1]) == sum(took <= bound for took in timed)
    assert sum(sum(total.outcomes.values()) for total in totals.read().values()) == len(runs)


def test_a_run_that_has_not_ended_is_not_counted():
    totals = RunTotals()
    totals.note(Invocation("cap:w", "h", "event"))
    assert [sum(one.outcomes.values()) for one in totals.read().values()] == [0]


def test_handlers_beyond_the_bound_are_counted_together():
    totals = RunTotals()
    for number in range(HANDLERS_COUNTED + 7):
        run(totals, f"h{number}")
    run(totals, "h0")
    read = totals.read()
    assert len(read) == HANDLERS_COUNTED + 1
    assert (read[OTHERS].outcomes["ok"], read["cap:w", "h0"].outcomes["ok"]) == (7, 2)


def test_a_handler_that_is_known_is_counted_from_zero_and_keeps_its_count():
    totals = RunTotals()
    totals.know("cap:w", "h")
    assert totals.read()["cap:w", "h"].outcomes["error"] == 0
    run(totals, outcome="error")
    totals.know("cap:w", "h")
    assert totals.read()["cap:w", "h"].outcomes["error"] == 1


def test_what_was_read_does_not_change():
    totals = RunTotals()
    run(totals)
    before = totals.read()["cap:w", "h"]
    run(totals, took=0.3)
    assert (before.outcomes["ok"], sum(before.slots), before.seconds) == (1, 1, 0.0)
