"""Lines that say what a handler does: payloads are JSON, as everywhere, whatever they hold."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.workers.effects import effect_line, json_text, published_line

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_a_payload_is_json_on_one_line_that_a_terminal_shows(value):
    text = json_text(value)
    assert json.loads(text) == value
    assert text.isprintable()


def test_a_published_event_is_shown_as_json():
    line = published_line("order.priced", {"total": None, "paid": True, "to": "Zoë"}, "s", "7")
    assert line == (
        'publishes order.priced {"total": null, "paid": true, "to": "Zoë"} session_id="s" dedupe="7"'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (datetime.date(2026, 1, 2), '"datetime.date(2026, 1, 2)"'),
        ("\x1b[31m\u202e", '"\\u001b[31m\\u202e"'),
    ],
)
def test_what_is_no_json_has_a_text_all_the_same(value, text):
    assert json_text(value) == text


def test_a_value_that_holds_itself_has_a_text():
    itself: list = []
    itself.append(itself)
    assert effect_line("run_turn", itself) == "run_turn [[...]]"
