"""The outcome of an event of which several handlers ran."""

from __future__ import annotations

import pytest

from dnworker.core.invocation import Invocation
from dnworker.panel.outcomes import outcome_of


def run(outcome: str) -> Invocation:
    return Invocation("w", "h", "event", outcome=outcome)


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
