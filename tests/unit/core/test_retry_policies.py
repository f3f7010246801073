"""The words of `--retry`, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.core.retry_policies import (
    RetryPolicies,
    RetryPolicy,
    parse_retry,
    parse_worker_retry,
    retry_policies,
    words_for_worker,
)


def test_a_number_alone_is_a_policy_for_all_kinds_with_the_waits_of_tasks():
    assert parse_retry(["5"]) == RetryPolicies(((None, RetryPolicy(5, 1, 300)),))


def test_a_word_may_name_a_kind_its_waits_and_its_exceptions():
    policies = parse_retry(["demo.kind=2,backoff=500ms..5m,on=httpx.TransportError,on=OSError"])
    assert policies is not None
    assert policies.of("demo.kind") == RetryPolicy(2, 0.5, 300, ("httpx.TransportError", "OSError"))
    assert policies.of("demo.other") is None


def test_one_wait_is_the_first_and_the_longest():
    assert parse_retry(["2,backoff=10s"]) == RetryPolicies(((None, RetryPolicy(2, 10, 10)),))


def test_a_worker_is_named_with_its_capability_and_may_have_kinds():
    found = parse_worker_retry(["demo:bridge=5", "demo:bridge/demo.kind=1", "demo:other=2"])
    assert {worker: [kind for kind, _ in own.of_kinds] for worker, own in found.items()} == {
        "demo:bridge": [None, "demo.kind"],
        "demo:other": [None],
    }


def test_the_words_of_one_worker_can_be_said_on_the_command_line():
    words = ["5,backoff=1s..5m", "demo.kind=2,on=OSError"]
    found = parse_worker_retry(words_for_worker("demo:bridge", words))
    assert found == {"demo:bridge": parse_retry(words)}


def test_a_runtime_takes_words_numbers_and_policies():
    policy = RetryPolicy(3)
    assert retry_policies(None) == {}
    assert retry_policies({"a:b": 3}) == retry_policies(["a:b=3"]) == retry_policies({"a:b": policy})


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("often", "'often' is no number of retries; write it like 5,"),
        ("", "'' is no number of retries"),
        ("0", "a number from 1 to 1,000 is wanted"),
        ("=5", "a kind is missing before ="),
        ("5,backof=1s", "'backof=1s' is neither backoff= nor on="),
        ("5,backoff=soon", "'soon' are no two waits; write backoff=1s..5m"),
        ("5,backoff=5m..1s", "the longest wait comes last, as in 1s..5m"),
        ("5,on=7", "'7' is no name of an exception"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused_with_the_way_out(word, problem):
    with pytest.raises(UsageError) as refused:
        parse_retry([word])
    assert f"--retry {word}" in str(refused.value)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_policies_for_the_same_kind_are_refused():
    with pytest.raises(UsageError, match="there is a policy for all kinds already"):
        parse_retry(["5", "3"])


@pytest.mark.parametrize("word", ["bridge=5", "demo:bridge", "demo:=5", "demo:bridge/=5", "5"])
def test_a_word_of_the_command_line_names_a_worker(word):
    with pytest.raises(UsageError, match="name a worker, as in --retry demo:bridge=5"):
        parse_worker_retry([word])


@pytest.mark.parametrize(
    ("names", "wanted", "is_covered"),
    [
        (("httpx.ConnectError", "httpx.TransportError", "builtins.Exception"), "httpx.TransportError", True),
        (("requests.exceptions.ConnectionError",), "requests.ConnectionError", True),
        (("builtins.ConnectionError", "builtins.OSError"), "OSError", True),
        (("builtins.ConnectionError",), "httpx.ConnectionError", False),
        (("ConnectError",), "httpx.ConnectError", True),
        (("ConnectError",), "httpx.TransportError", False),
        (("builtins.ValueError",), "Value", False),
    ],
)
def test_exceptions_are_meant_by_the_names_of_their_classes(names, wanted, is_covered):
    assert RetryPolicy(1, on=(wanted,)).covers(names) is is_covered


@given(
    times=st.integers(1, 1_000),
    first=st.floats(0, 1e6),
    more=st.floats(0, 1e6),
    attempt=st.integers(1, 1_001),
)
def test_waits_are_within_their_bounds_and_never_shorter_than_the_one_before(times, first, more, attempt):
    policy = RetryPolicy(times, first, first + more)
    assert policy.first <= policy.delay(attempt) <= policy.longest
    assert policy.delay(attempt) <= policy.delay(attempt + 1)
