"""Schedules and backoff are arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.schedule import Backoff, ScheduleSpec, make_schedule, seconds_of

NOON = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)


def wait(spec, now):
    return (spec.next_run(now) - now).total_seconds()


@pytest.mark.clause("2.3 interval")
def test_an_interval_waits_its_full_length():
    assert wait(make_schedule(seconds=30), NOON) == 30


def test_cron_waits_until_the_next_tick():
    assert wait(make_schedule(cron="*/5 * * * *"), NOON) == 270


@pytest.mark.clause("2.3 cron")
def test_cron_is_read_in_utc_whatever_the_zone_of_now():
    local = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert wait(make_schedule(cron="0 13 * * *"), local) == 3570


@given(st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1)))
def test_cron_never_waits_a_negative_time(moment):
    assert 0 <= wait(ScheduleSpec(cron_expr="17 3 * * 1"), moment.replace(tzinfo=UTC)) <= 7 * 86_400


@pytest.mark.clause("2.4 backoff")
@pytest.mark.clause("11.3")
def test_backoff_doubles_from_one_second_to_five_minutes():
    backoff = Backoff()
    assert [backoff.ended(0) for _ in range(11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_run_of_a_minute_clears_the_backoff():
    backoff = Backoff()
    delays = [backoff.ended(0), backoff.ended(0), backoff.ended(60), backoff.ended(0)]
    assert delays == [1, 2, 1, 1]


@pytest.mark.clause("14.1")
def test_a_task_is_exhausted_when_it_ends_again_after_the_longest_wait():
    backoff = Backoff()
    exhausted = []
    for _ in range(11):
        backoff.ended(0)
        exhausted.append(backoff.exhausted)
    assert exhausted == [False] * 10 + [True]


@given(st.lists(st.floats(0, 200), max_size=40))
def test_every_delay_is_between_one_second_and_five_minutes(runs):
    backoff = Backoff()
    assert all(1 <= backoff.ended(run) <= 300 for run in runs)


@pytest.mark.parametrize(
    ("label", "seconds"),
    [("30s", 30.0), ("0.5s", 0.5), ("1e+06s", 1e6)]
    + [
        (label, None)
        for label in ("", "s", "hourly", "xs", "nans", "infs", "-5s", "1e300s", "cron * * * * *")
    ],
)
def test_the_seconds_of_a_label_are_none_for_what_is_no_interval(label, seconds):
    assert seconds_of(label) == seconds
