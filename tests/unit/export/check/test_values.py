"""Values that vary from run to run, compared and shown."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from dnworker_jupyter.export.check.values import (
    LONGEST,
    agrees,
    blend,
    is_reordered,
    is_same,
    shown,
    shown_apart,
    varying,
)

scalars = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text("ab \x00\U0001f600", max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


@example({"a": 1}, {"a": True}, None)
@example({"a": 1}, {"b": 1}, {"c": 1})
@given(values, values, values)
def test_a_blend_agrees_with_all_it_was_made_of(one, other, third):
    mixed = blend(one, other)
    assert agrees(mixed, one)
    assert agrees(mixed, other)
    wider = blend(mixed, third)
    assert all(agrees(wider, value) for value in (one, other, third))


@given(values)
def test_a_value_blended_with_itself_varies_in_nothing(value):
    assert is_same(blend(value, value), value)
    assert [*varying(blend(value, value))] == []


@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example({"a": 1}, {"a": True})
@given(values, values)
def test_what_does_not_vary_agrees_with_nothing_else(one, other):
    assert agrees(blend(one, one), other) == is_same(one, other)


@given(values, values)
def test_values_are_shown_shortly_and_apart(one, other):
    assert len(shown(one)) <= LONGEST
    json.dumps(shown(one))
    assert all(len(text) <= LONGEST + 20 for text in shown_apart(one, other))


def test_only_the_fields_that_differ_vary():
    mixed = blend({"n": 1, "at": 5.1, "deep": [{"id": "a"}]}, {"n": 1, "at": 5.2, "deep": [{"id": "b"}]})
    assert [*varying(mixed)] == ["at", "deep[0].id"]
    assert shown(mixed) == '{"at": (varies), "deep": [{"id": (varies)}], "n": 1}'


def test_what_varies_has_a_type_and_the_words_around_it():
    assert not agrees(blend(5.1, 5.2), "5.3")
    mixed = blend("took 5 ms in all", "took 7 ms in all")
    assert agrees(mixed, "took 9 ms in all")
    assert not agrees(mixed, "took 9 ms at most")
    assert shown(mixed) == "took (varies) ms in all"


def test_long_texts_are_shown_where_they_differ():
    one, other = shown_apart("x" * 5_000 + "a", "x" * 5_000 + "b")
    assert one.endswith("xa")
    assert other.endswith("xb")


def test_lists_that_have_the_same_items_in_each_run_are_compared_without_their_order():
    mixed = blend({"v": ["a", "b", "c"]}, {"v": ["c", "a", "b"]})
    assert agrees(mixed, {"v": ["b", "a", "c"]})
    assert not agrees(mixed, {"v": ["b", "a", "d"]})
    assert [*varying(mixed)] == ["v"]
    assert shown(mixed) == '{"v": ["a", "b", "c", (in any order)]}'


def test_lists_of_the_same_items_are_known():
    assert is_reordered({"v": ["a", "b", "c"], "n": 1}, {"v": ["c", "a", "b"], "n": 1})
    assert not is_reordered({"v": ["a", "b"]}, {"v": ["a", "a"]})
