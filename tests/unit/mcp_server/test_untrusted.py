"""What others wrote reaches an agent as data: no control characters, bounded, and complete over its pages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.mcp_server.untrusted import BUDGET, LARGEST, clean, page, untrusted, within

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text(max_size=2_000))
def test_a_clean_text_cannot_control_a_terminal_and_is_short(text):
    shown = clean(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert len(shown) <= 600 * 6 + 60


@given(JSON)
def test_a_value_keeps_its_form_and_has_a_bound(value):
    shown = untrusted(value)
    json.dumps(shown)
    assert isinstance(shown, (type(value), str))


def test_a_deep_and_wide_value_is_cut_and_says_so():
    deep = {"a": [[[[[[[["x"]]]]]]]], "b": list(range(100))}
    shown = untrusted(deep)
    assert "[cut: deeper values]" in json.dumps(shown)
    assert shown["b"][-1] == "[cut: 60 more]"


@given(st.lists(st.text(max_size=BUDGET), max_size=30))
def test_pages_give_every_row_once_and_in_order(rows):
    seen: list[str] = []
    cursor = None
    for _ in range(len(rows) + 1):
        shown, cursor = page(rows, cursor)
        seen += shown
        if cursor is None:
            break
    assert seen == rows


@pytest.mark.parametrize("cursor", ["-1", "x", "1.5", "\x00"])
def test_a_cursor_that_was_not_given_is_refused(cursor):
    with pytest.raises(ValueError, match="is none that was given"):
        page(["a"], cursor)


@given(JSON)
def test_whatever_is_shown_has_a_bound_as_a_whole(value):
    assert len(json.dumps(within([value] * 40))) <= 2 * LARGEST


def test_forty_long_sources_have_a_bound():
    assert len(json.dumps(within({"sources": [{"source": "x" * 100_000}] * 40}))) <= LARGEST


def test_a_character_beyond_the_first_plane_is_escaped_as_python_has_it():
    assert clean("\U000e0001") == "\\U000e0001"
