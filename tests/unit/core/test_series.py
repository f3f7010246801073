"""Calls, durations and the lag of the loop by bucket."""

from __future__ import annotations

import random

import pytest

from dnworker.core.invocation import Cause, Invocation, Outcome
from dnworker.core.series import BUCKETS, HANDLERS_KEPT, SAMPLES, STEP, Count, Series

NOW = 1_000_000.0
"""10 s into a bucket."""


def call(
    series: Series,
    *,
    ago: float = 0.0,
    took: float = 0.0,
    outcome: Outcome = "ok",
    worker: str = "cap:w",
    handler: str = "h",
    cause: Cause = "event",
) -> None:
    """Let a call end."""
    one = Invocation(worker, handler, cause, started_at=NOW - ago - took)
    one.outcome, one.duration = outcome, took
    series.note(one)


def test_calls_are_counted_in_the_bucket_in_which_they_ended():
    series = Series()
    call(series, ago=STEP)
    call(series)
    call(series, outcome="error")
    assert series.whole.counts(NOW)[-3:] == [Count(0, 0), Count(1, 0), Count(2, 1)]
    assert len(series.whole.counts(NOW)) == BUCKETS


def test_what_is_older_than_fifteen_minutes_is_gone():
    series = Series()
    call(series, outcome="error")
    assert series.whole.total(NOW + STEP * (BUCKETS - 1)) == Count(1, 1)
    assert series.whole.total(NOW + STEP * BUCKETS) == Count(0, 0)
    assert set(series.whole.counts(NOW + STEP * BUCKETS * 3)) == {Count(0, 0)}


def test_a_bucket_is_empty_again_when_its_slot_comes_round():
    series = Series()
    call(series, outcome="error")
    call(series, ago=-STEP * BUCKETS)
    assert series.whole.counts(NOW + STEP * BUCKETS)[-1] == Count(1, 0)
    assert series.whole.total(NOW + STEP * BUCKETS) == Count(1, 0)


def test_a_report_that_comes_late_counts_in_its_own_bucket_and_one_from_long_ago_nowhere():
    series = Series()
    call(series)
    call(series, ago=STEP * 2)
    call(series, ago=STEP * BUCKETS)
    assert series.whole.counts(NOW)[-3:] == [Count(1, 0), Count(0, 0), Count(1, 0)]
    assert series.whole.total(NOW) == Count(2, 0)


@pytest.mark.parametrize("is_late", [False, True], ids=["what came since", "what was before"])
def test_buckets_include_those_of_another(is_late):
    early, late = Series(), Series()
    call(early, ago=STEP * 2, outcome="error")
    call(early, ago=STEP * BUCKETS)
    call(early, ago=STEP * 2)
    call(late)
    call(late, outcome="error")
    one, other = (late.whole, early.whole) if is_late else (early.whole, late.whole)
    one.include(other)
    assert one.counts(NOW)[-3:] == [Count(2, 1), Count(0, 0), Count(2, 1)]
    assert one.total(NOW) == Count(4, 2)


def test_a_worker_has_the_sum_of_its_handlers():
    series = Series()
    call(series, handler="a")
    call(series, handler="b", outcome="error")
    call(series, worker="cap:other")
    assert series.of_worker("cap:w", NOW)[-1] == Count(2, 1)
    assert series.of_worker("cap:other", NOW)[-1] == Count(1, 0)
    assert series.of_worker("cap:nobody", NOW) == [Count(0, 0)] * BUCKETS
    assert series.total_of("cap:w", "b", NOW) == Count(1, 1)


def test_cancelled_calls_do_not_count_and_tasks_have_no_duration():
    series = Series()
    call(series, outcome="cancelled", took=4.0)
    call(series, cause="task", took=90_000.0, outcome="error")
    assert series.whole.total(NOW) == Count(1, 1)
    assert series.quantiles(NOW)[-1] is None


def test_quantiles_of_few_calls_are_exact():
    series = Series()
    for took in (0.001, 0.002, 0.003, 0.1):
        call(series, took=took)
    found = series.quantiles(NOW)[-1]
    assert found is not None
    assert found == (0.002, 0.1)


def test_quantiles_of_many_calls_are_near_though_a_sample_is_kept():
    series, numbers = Series(), random.Random(4)
    for _ in range(20_000):
        call(series, took=numbers.random())
    found = series.quantiles(NOW)[-1]
    assert found is not None
    assert found.p50 == pytest.approx(0.5, abs=0.1)
    assert found.p95 == pytest.approx(0.95, abs=0.04)
    assert len(series._durations.of(int(NOW // STEP))[0]) == SAMPLES


def test_in_a_span_a_busy_bucket_weighs_more_than_its_sample():
    series = Series()
    for _ in range(SAMPLES * 20):
        call(series, took=0.01)
    for _ in range(SAMPLES):
        call(series, ago=STEP, took=1.0)
    last = int(NOW // STEP)
    assert series.spread([last - 1, last]) == (0.01, 0.01)
    assert series.spread([last - 1]) == (1.0, 1.0)
    assert series.spread([last - 9]) is None


def test_a_loop_that_was_held_was_late_in_every_bucket_meanwhile():
    series = Series()
    series.note_lag(NOW - 46, NOW)
    assert series.lag(NOW)[-5:] == [None, 46.0, 46.0, 46.0, 46.0]


def test_the_lag_is_the_99th_percentile():
    series = Series()
    for number in range(100):
        series.note_lag(NOW, NOW + number / 100_000)
    assert series.lag(NOW)[-1] == pytest.approx(98 / 100_000)


def test_of_too_many_handlers_the_silent_ones_are_forgotten():
    series = Series()
    call(series, worker="cap:busy", ago=-STEP)
    for number in range(HANDLERS_KEPT):
        call(series, worker=f"cap:{number}")
    assert series.of_worker("cap:busy", NOW + STEP)[-1] == Count(1, 0)
    assert sum(map(len, series._handlers.values())) <= HANDLERS_KEPT // 2 + 1
    assert series.whole.total(NOW + STEP) == Count(HANDLERS_KEPT + 1, 0)


def test_the_users_own_random_numbers_stay_as_they_were_seeded():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    series = Series()
    for _ in range(SAMPLES * 4):
        call(series)
    assert random.random() == expected
