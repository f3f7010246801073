"""The restart policy is arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.core.restarts import (
    LONGEST_DELAY,
    RestartCount,
    RestartPolicy,
    parse_budget,
    restart_policy,
)


def test_a_process_that_fails_at_once_is_restarted_after_twice_the_time_and_then_given_up():
    count = RestartCount(RestartPolicy())
    assert [count.failed(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, None, None]


def test_a_wait_is_never_longer_than_a_minute():
    count = RestartCount(RestartPolicy(max_restarts=3_000))
    assert [count.failed(0) for _ in range(3_000)][-1] == LONGEST_DELAY


def test_a_process_that_runs_longer_than_the_window_is_restarted_for_ever_after_a_second():
    count = RestartCount(RestartPolicy(max_restarts=1, window=60))
    assert [count.failed(60) for _ in range(50)] == [1] * 50


def test_a_start_by_hand_counts_from_nothing():
    count = RestartCount(RestartPolicy(max_restarts=1))
    assert count.failed(1) == 1
    assert count.failed(1) is None
    count.reset()
    assert count.failed(1) == 1


runs = st.lists(st.floats(0, 1_000), max_size=60)


@given(st.integers(1, 6), st.floats(0.5, 300), runs)
def test_within_a_window_of_running_there_are_never_more_restarts_than_allowed(most, window, ran):
    count, uptime, restarts = RestartCount(RestartPolicy(most, window)), 0.0, []
    for seconds in ran:
        uptime += seconds
        delay = count.failed(seconds)
        within = [at for at in restarts if at > uptime - window]
        assert (delay is None) == (len(within) >= most)
        if delay is not None:
            assert delay == min(2.0 ** len(within), LONGEST_DELAY)
            restarts.append(uptime)


@pytest.mark.parametrize(
    ("text", "policy"),
    [("5/60s", (5, 60)), ("20/1h", (20, 3600)), (" 3 / 1.5m ", (3, 90)), ("2/10", (2, 10))],
)
def test_a_budget_is_a_number_of_restarts_in_a_time(text, policy):
    assert parse_budget(text) == RestartPolicy(*policy)


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/60s", "0/60s", "5/0s", "-1/60s", "5/60d", "x/60s", "5/60s/2", "9/1e9s"]
)
def test_any_other_budget_is_refused(text):
    with pytest.raises(UsageError, match="5/60s"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_no_text_breaks_the_parser(text):
    try:
        policy = parse_budget(text)
    except UsageError:
        return
    assert policy.max_restarts >= 1


@pytest.mark.parametrize("given_policy", [None, "no"])
def test_without_a_policy_there_are_no_restarts(given_policy):
    assert restart_policy(given_policy) is None


def test_a_policy_by_name_is_the_default_one():
    assert restart_policy("on-failure") == RestartPolicy(5, 60)


def test_another_name_is_refused():
    with pytest.raises(UsageError, match="restart is 'always'; it is 'no', 'on-failure' or a RestartPolicy"):
        restart_policy("always")
