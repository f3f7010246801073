"""Who publishes which kind is counted, and how much that has grown in the last fifteen minutes is known."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.events import flow_counts
from dnworker.events.causes import published_by
from dnworker.events.flow_counts import (
    PROGRAM,
    QUARTER,
    QUARTERS,
    RUNTIME,
    SESSIONS,
    PublishedCounts,
    Rings,
    publisher_of,
)


def event(kind="a.b"):
    return EventEnvelope(seq=1, kind=kind)


@pytest.fixture
def counts():
    return PublishedCounts()


def test_an_event_counts_for_the_handler_that_publishes_it(counts):
    token = current_invocation.set(Invocation("demo:bridge", "on", "event"))
    counts.note_event(event())
    current_invocation.reset(token)
    assert counts.totals == {("demo:bridge", "a.b"): 1}


def test_an_event_without_a_handler_counts_for_whom_it_comes_by(counts):
    counts.note_event(event())
    with published_by("HTTP"):
        counts.note_event(event())
    assert counts.totals == {(None, "a.b"): 1, ("HTTP", "a.b"): 1}


@pytest.mark.parametrize(
    ("name", "kind", "publisher"),
    [
        (None, "a.b", PROGRAM),
        (None, "turn.completed", SESSIONS),
        (None, "component.state_changed", RUNTIME),
        ("agent default", "turn.event", SESSIONS),
        ("demo:bridge", "a.b", "demo:bridge"),
    ],
)
def test_publishers_have_names(name, kind, publisher):
    assert publisher_of(name, kind) == publisher


def test_more_pairs_than_can_be_kept_are_not_counted(counts, monkeypatch):
    monkeypatch.setattr(flow_counts, "MOST", 2)
    for kind in ("a", "b", "c", "a"):
        counts.note_event(event(kind))
    assert counts.totals == {(None, "a"): 2, (None, "b"): 1}


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.1, 2_000)), min_size=1, max_size=60))
def test_growth_is_that_of_the_window(steps):
    clock = Clock()
    rings = Rings(clock)
    noted = []
    for total, (grown, later) in zip(accumulate(grown for grown, _ in steps), steps, strict=True):
        rings.note([("x", total)])
        noted.append((int(clock.now / QUARTER), grown))
        here = int(clock.now / QUARTER)
        for minutes in (1, 15):
            quarters = minutes * 4
            expected = sum(count for quarter, count in noted if here - quarters < quarter <= here)
            assert rings.sums(minutes).get("x", 0) == expected
        assert sum(rings.series(lambda key: key == "x")) == rings.sums(15).get("x", 0)
        clock.now += later


def test_the_loop_may_turn_while_many_totals_are_summed_up(monkeypatch):
    monkeypatch.setattr(flow_counts, "AT_ONCE", 10)
    rings = Rings(Clock())
    rings.note((n, n) for n in range(1, 96))
    rings.note((n, 2 * n) for n in range(1, 96))
    assert sum(1 for _ in rings.summing(15)) == 9
    assert rings.sums(15) == {n: 2 * n for n in range(1, 96)}


def test_a_total_that_begins_anew_counts_in_full():
    rings = Rings(Clock())
    rings.note([("x", 5)])
    rings.note([("x", 2)])
    assert rings.sums(1) == {"x": 7}


def test_what_is_quiet_and_gone_is_forgotten():
    clock = Clock()
    rings = Rings(clock)
    rings.note([("gone", 1), ("there", 1)])
    rings.forget(lambda key: key == "there")
    assert set(rings.sums(15)) == {"gone", "there"}
    clock.now += QUARTER * QUARTERS
    rings.forget(lambda key: key == "there")
    assert set(rings.sums(15)) == {"there"}


def test_soon_after_the_start_the_time_that_has_passed_counts():
    clock = Clock()
    rings = Rings(clock)
    clock.now += 6
    assert rings.passed(1) == pytest.approx(0.1)
    clock.now += 3_600
    assert 0.75 <= rings.passed(1) <= 1


def test_a_total_of_nothing_takes_no_room():
    rings = Rings(Clock(), most=2)
    rings.note((n, 0) for n in range(10))
    rings.note([(8, 3), (9, 4)])
    assert rings.sums(1) == {8: 3, 9: 4}


def test_a_kind_that_is_silent_makes_room_for_another_and_begins_anew(counts, monkeypatch):
    monkeypatch.setattr(flow_counts, "MOST", 1)
    clock = Clock()
    rings = Rings(clock, most=1)

    def note(kind):
        counts.note_event(event(kind))
        rings.note(counts.totals.items())
        list(rings.forget_silent(counts.totals))

    note("a")
    note("b")
    assert rings.sums(15) == {(None, "a"): 1}
    clock.now += QUARTER * QUARTERS
    list(rings.forget_silent(counts.totals))
    note("b")
    assert counts.totals == {(None, "b"): 1}
    assert rings.sums(15) == {(None, "b"): 1}
