"""`core/json_diff.py`: what differs between two JSON values, bounded, and that it applies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core import json_diff
from dnworker.core.json_diff import Added, Bounds, Changed, Inside, Removed, Same, apply, diff, places

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda some: st.lists(some, max_size=6) | st.dictionaries(st.sampled_from("abcd"), some, max_size=4),
    max_leaves=20,
)
encode = json_diff._encode


@given(VALUES, VALUES)
def test_the_difference_applied_to_the_one_gives_the_other(left, right):
    assert encode(apply(diff(left, right), left)) == encode(right)


@given(VALUES, VALUES, st.integers(0, 4), st.integers(0, 6), st.integers(0, 3))
def test_it_applies_within_any_bounds(left, right, depth, changes, steps):
    bounds = Bounds(depth=depth, changes=changes, steps=steps)
    assert encode(apply(diff(left, right, bounds), left)) == encode(right)


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_lists_are_aligned_with_no_more_differences_than_items(left, right):
    found = [*places(diff(left, right))]
    assert len(found) <= len(left) + len(right)
    assert (not found) == (left == right)


@given(VALUES)
def test_a_value_does_not_differ_from_itself(value):
    assert isinstance(diff(value, value), Same)


@given(VALUES, VALUES)
def test_it_holds_no_more_differences_than_wanted(left, right):
    assert sum(1 for _ in places(diff(left, right, Bounds(changes=3)))) <= 3 + 3 * 4 + 6


def rows(count, changed=None):
    return [
        {"ean": f"400638{n:07}", "price": "12,50" if n == changed else "12.50", "stock": n}
        for n in range(count)
    ]


def test_the_one_changed_row_among_400_is_found():
    left, right = {"file": "a.csv", "rows": rows(400)}, {"file": "a.csv", "rows": rows(400, 317)}
    found = diff(left, right)
    assert [*places(found)] == [(("rows", 317, "price"), Changed("12.50", "12,50", "price"))]
    assert isinstance(found, Inside)
    inside = found.parts[1]
    assert isinstance(inside, Inside)
    kinds = [(type(part), len(part.values) if isinstance(part, Same) else 1) for part in inside.parts]
    assert kinds == [(Same, 317), (Inside, 1), (Same, 82)]


def test_a_changed_row_is_found_where_others_came_and_went():
    left = rows(400)
    right = [{"ean": "new", "price": "1", "stock": 0}, *rows(400, 317)]
    del right[20]
    found = [*places(diff(left, right))]
    assert found == [
        ((0,), Added([right[0]])),
        ((20,), Removed([left[19]])),
        ((317, "price"), Changed("12.50", "12,50", "price")),
    ]


def test_a_row_that_came_beside_a_changed_one_is_told_from_it():
    left, right = rows(3), rows(3, 1)
    right.insert(1, {"ean": "new", "price": "9", "stock": 9})
    found = [*places(diff(left, right))]
    assert found == [((1,), Added([right[1]])), ((2, "price"), Changed("12.50", "12,50", "price"))]


@pytest.mark.parametrize(
    ("left", "right"), [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("1", 1), (None, {})]
)
def test_values_whose_json_differs_differ(left, right):
    assert [one.part for one in places(diff({"a": left, "b": 0}, {"a": right, "b": 0}))] == [
        Changed(left, right, "a")
    ]


def test_the_order_of_keys_is_no_difference():
    assert isinstance(diff({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}), Same)


def test_integers_of_any_length_are_told_apart():
    left, right = 12345678901234567890, 12345678901234567891
    assert [*places(diff([left, 0], [right, 0]))] == [((0,), Changed(left, right))]


def test_values_with_nothing_in_common_are_replaced_as_a_whole():
    assert diff({"a": 1}, {"b": 2}) == Changed({"a": 1}, {"b": 2})


def nested(depth, value):
    for _ in range(depth):
        value = {"a": value, "b": 0}
    return value


def test_what_is_nested_too_deep_is_replaced_there():
    [(path, part)] = places(diff(nested(200, 1), nested(200, 2), Bounds(seconds=60)))
    assert len(path) == Bounds().depth
    assert apply(part, None) == nested(200 - Bounds().depth, 2)


def test_two_payloads_of_a_megabyte_that_differ_in_every_row_are_bounded():
    left = [{"n": n, "text": "x" * 20} for n in range(20_000)]
    right = [{"n": n + 1, "text": "y" * 20, "more": n % 7} for n in range(19_000)]
    found = diff(left, right)
    assert apply(found, left) == right
    assert sum(1 for _ in places(found)) <= 2 * Bounds().changes
