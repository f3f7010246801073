"""The timeline as a view sees it: rows, outcomes, filters."""

from __future__ import annotations

import pytest

from dnworker.core.invocation import Invocation
from dnworker.panel.event_rows import EventFilter, EventRow, outcome_of


def run(outcome: str) -> Invocation:
    return Invocation("w", "h", "event", outcome=outcome)


def row(**fields) -> EventRow:
    known = {"id": "e1", "seq": 1, "kind": "demo.ping", "at": 0.0, "session": None, "outcome": "ok"}
    known |= {"workers": ["w"], "runs": 1, "duration": 1.0, "error": None, "is_noise": False}
    return EventRow(**known | fields)


@pytest.mark.parametrize(
    ("runs", "outcome"),
    [
        ([], "none"),
        (["ok", "ok"], "ok"),
        (["ok", "running"], "running"),
        (["cancelled", "ok"], "cancelled"),
        (["running", "error"], "error"),
        (["ok", "warning", "cancelled"], "warning"),
        (["warning", "running"], "running"),
    ],
)
def test_the_worst_outcome_counts(runs, outcome):
    assert outcome_of([run(one) for one in runs]) == outcome


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        ({}, True),
        ({"kind": "PING"}, True),
        ({"kind": "pong"}, False),
        ({"worker": "w"}, True),
        ({"worker": "other"}, False),
        ({"session": "s1"}, False),
        ({"outcome": "ok"}, True),
        ({"outcome": "error"}, False),
        ({"outcome": "warning"}, False),
    ],
    ids=str,
)
def test_a_filter_takes_the_rows_that_match(wanted, is_taken):
    assert EventFilter(**wanted).takes(row()) is is_taken


def test_noise_is_taken_only_on_request():
    assert not EventFilter().takes(row(is_noise=True))
    assert EventFilter(noise=True).takes(row(is_noise=True))
