"""What of a payload JSON has no form for is named by its path, and nothing strange is asked."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import pathlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.not_json import way_to_json, why_not_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
    max_leaves=20,
)
STEPS = st.lists(st.sampled_from(["key", 0]), max_size=20)


class Hostile:
    def __getattribute__(self, name):
        if name == "__class__":  # `match` asks
            return Hostile
        raise RuntimeError("asked")

    def __repr__(self):
        raise RuntimeError("asked")


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int = 1


@given(st.dictionaries(st.text("ab"), JSON))
def test_what_json_has_a_form_for_is_not_complained_about(payload):
    assert why_not_json(payload) is None


@given(STEPS)
def test_a_value_without_a_form_is_named_by_its_path(steps):
    value: object = object()
    for step in reversed(steps):
        value = {"key": value} if step == "key" else [value]
    path = "".join(".key" if step == "key" else "[0]" for step in steps)
    assert why_not_json({"top": value}) == f"payload.top{path} is an object, which JSON has no form for"


def test_the_same_object_at_two_places_is_no_circle():
    shared = {"a": 1}
    assert why_not_json({"x": shared, "y": [shared, shared]}) is None


@pytest.mark.parametrize(
    ("value", "way"),
    [
        (decimal.Decimal(1), "str(value)"),
        (uuid.UUID(int=1), "str(value)"),
        (pathlib.Path("x"), "str(value)"),
        (Colour.RED, "value.value"),
        (Point(), "dataclasses.asdict(value)"),
        ((n for n in "a"), "list(value)"),
        (frozenset("a"), "sorted(value)"),
    ],
)
def test_there_is_a_way_for_common_values(value, way):
    assert way_to_json(value) == f"; use {way}"


@pytest.mark.parametrize(
    ("module", "name", "way"),
    [
        ("numpy", "generic", "value.item()"),
        ("numpy", "ndarray", "value.tolist()"),
        ("pandas.core.frame", "DataFrame", 'value.to_dict("records")'),
        ("torch", "Tensor", "value.tolist()"),
    ],
)
def test_values_of_packages_that_are_not_installed_are_known_by_name(module, name, way):
    derived = type("Mine", (type(name, (), {"__module__": module}),), {})
    assert way_to_json(derived()) == f"; use {way}"


def test_nothing_of_a_hostile_value_is_called():
    assert why_not_json({"x": Hostile()}) == "payload.x is a Hostile, which JSON has no form for"
