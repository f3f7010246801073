"""The outcome of an event of which several handlers ran, as the panel shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dnworker.core.invocation import Invocation

Outcome = Literal["none", "running", "ok", "warning", "error", "cancelled"]


def outcome_of(runs: Sequence[Invocation]) -> Outcome:
    """Return the worst of the outcomes; `none` where no handler ran."""
    outcomes = {run.outcome for run in runs}
    if "error" in outcomes or any(run.unhandled for run in runs):
        return "error"
    for outcome in ("running", "warning", "cancelled", "ok"):
        if outcome in outcomes:
            return outcome
    return "none"
