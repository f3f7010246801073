"""What is counted of a handler's runs."""

from __future__ import annotations

import pytest

from dnworker.core.envelope import EventEnvelope
from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import Invocation
from dnworker.core.stats import DURATIONS_KEPT, HandlerStats


def run(
    stats: HandlerStats, duration: float, *, started_at: float = 100.0, error: HandlerError | None = None
):
    event = EventEnvelope(seq=1, kind="k", payload={})
    invocation = Invocation("cap:w", "h", "event", event, started_at=started_at)
    stats.began()
    invocation.outcome, invocation.duration, invocation.error = "ok", duration, error
    stats.ended(invocation)
    return event


def test_a_run_under_way_is_counted_until_it_ends():
    stats = HandlerStats()
    stats.began()
    assert (stats.calls, stats.in_flight) == (1, 1)
    assert stats.quantiles() is None


def test_the_quantiles_are_those_of_the_latest_runs_and_the_longest_of_all():
    stats = HandlerStats()
    run(stats, 9.0)
    for n in range(1, DURATIONS_KEPT + 1):
        run(stats, n / 1000)
    assert stats.quantiles() == pytest.approx((0.250, 0.475, 9.0))


def test_an_error_is_kept_with_the_event_it_came_from():
    stats = HandlerStats()
    error = HandlerError("ValueError", "no", ())
    event = run(stats, 0.1, error=error)
    assert (stats.errors, stats.last_error, stats.last_failed_event) == (1, error, event.event_id)
    assert stats.is_failing
    run(stats, 0.1)
    assert (stats.is_failing, stats.last_error) == (False, error)
