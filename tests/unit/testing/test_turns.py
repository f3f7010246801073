"""`assert_turn` says of a turn what is another than wanted."""

from __future__ import annotations

import re

import pytest

from dnworker.testing import assert_turn

DONE = {
    "response_text": "It is 5.",
    "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 3}, "result": "5"}],
    "generation_stop_reason": "stop",
    "usage": {"input_tokens": 10, "output_tokens": 5},
    "agent": "adder",
}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"says": "5"},
        {"says": re.compile(r"\d\.$")},
        {"calls": ["add"]},
        {"calls": [("add", {"b": 3})]},
        {"agent": "adder", "stop_reason": "stop", "most_tokens": 15},
    ],
)
def test_what_is_so_passes(wanted):
    assert_turn(DONE, **wanted)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"says": "6"}, "the answer is 'It is 5.', and has no '6'"),
        ({"says": "."} | {"calls": []}, "1 tools were called, not 0: add"),
        ({"calls": ["add", "add"]}, "1 tools were called, not 2: add"),
        ({"calls": ["sub"]}, "call 1 is add(a=2, b=3), not sub"),
        ({"calls": [("add", {"a": 3})]}, "call 1 is add(a=2, b=3), not add(a=3)"),
        ({"calls": [("add", {"c": None})]}, "call 1 is add(a=2, b=3), not add(c=None)"),
        ({"agent": "other"}, "agent is 'adder', not 'other'"),
        ({"stop_reason": "length"}, "generation_stop_reason is 'stop', not 'length'"),
        ({"most_tokens": 14}, "it took 15 tokens, more than 14"),
    ],
)
def test_what_is_another_is_said(wanted, error):
    with pytest.raises(AssertionError, match=rf"^{re.escape(error)}$"):
        assert_turn(DONE, **wanted)


def test_a_turn_without_calls_and_tokens_has_none():
    assert_turn({"response_text": ""}, calls=[], most_tokens=0)
