"""`--limit NAME=VALUE`."""

from __future__ import annotations

import pytest

from dnworker.core.errors import UsageError
from dnworker.core.limits import Limits, parse_limits


def test_without_texts_every_limit_is_the_default():
    assert parse_limits([]) == Limits()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("history=128MB", "history", 128_000_000),
        ("log=500k", "log", 500_000),
        ("queue=1.5 GB", "queue", 1_500_000_000),
        ("held_seconds=2.5", "held_seconds", 2.5),
        ("held-seconds=30", "held_seconds", 30.0),
        ("connections=64", "connections", 64),
    ],
)
def test_a_text_sets_one_limit(text, field, value):
    assert getattr(parse_limits([text]), field) == value


@pytest.mark.parametrize(
    "text", ["", "history", "histroy=1", "history=", "history=-1", "history=0", "log=x", "=1"]
)
def test_a_text_of_another_form_is_refused_with_what_fits(text):
    with pytest.raises(UsageError, match="--limit"):
        parse_limits([text])


def test_a_name_that_is_nearly_right_is_named():
    with pytest.raises(UsageError, match="did you mean history"):
        parse_limits(["histroy=64MB"])
