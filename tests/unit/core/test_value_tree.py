"""A value as a tree: what it shows, and that no code of the value runs."""

from __future__ import annotations

import datetime
import enum
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec
import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.value_tree import Bounds, Node, tree_of
from tests.unit import hostile


def lines(value: object, **bounds: Any) -> list[str]:
    return list(tree_of(value, "state", Bounds(**bounds)).lines())


@dataclass
class User:
    name: str
    age: int


class Slotted:
    __slots__ = ("left", "never_set")

    def __init__(self) -> None:
        self.left = 1


class Colour(enum.Enum):
    RED = 1


def test_keys_types_sizes_and_values_stand_on_a_line_each():
    state = {"count": 2, "users": ["ada"], "at": datetime.date(2026, 1, 2), 7: None, (1, "a"): 2.5}
    assert lines(state) == [
        "state  dict  5 items",
        '  "count"  int  2',
        '  "users"  list  1 item',
        '    [0]  str  "ada"',
        '  "at"  date  datetime.date(2026, 1, 2)',
        "  7  NoneType  None",
        '  (1, "a")  float  2.5',
    ]


def test_objects_show_the_attributes_that_they_hold():
    assert lines(User("ada", 36))[1:] == ['  name  str  "ada"', "  age  int  36"]
    assert lines(Slotted())[1:] == ["  left  int  1"]
    assert lines(Colour.RED) == ["state  Colour  Colour.RED"]
    struct = msgspec.defstruct("Struct", [("x", int)])(3)
    assert lines(struct)[1:] == ["  x  int  3"]


def test_subclasses_of_containers_are_shown_as_what_they_are():
    point = namedtuple("point", "x y")(1, 2)
    found = lines({"a": OrderedDict(k=1), "b": defaultdict(int, k=2), "c": point, "d": deque([3])})
    assert found[1:] == [
        '  "a"  OrderedDict  1 item',
        '    "k"  int  1',
        '  "b"  defaultdict  1 item',
        '    "k"  int  2',
        '  "c"  point  2 items',
        "    [0]  int  1",
        "    [1]  int  2",
        '  "d"  deque  1 item',
        "    [0]  int  3",
    ]


def test_arrays_and_frames_are_shown_by_shape_and_type():
    found = lines(
        {
            "a": numpy.zeros((2, 3)),
            "f": pandas.DataFrame({"x": [1, 2]}),
            "s": pandas.Series([1.5]),
            "p": PurePosixPath("/a"),
        }
    )
    assert found[1:] == [
        '  "a"  ndarray  shape (2, 3), float64, 48 bytes  [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]',
        '  "f"  DataFrame  2 rows, 1 columns',
        '  "s"  Series  1 rows, float64',
        "  \"p\"  PurePosixPath  PurePosixPath('/a')",
    ]


def test_secrets_are_masked_by_the_name_of_their_key_at_every_level():
    text = "\n".join(
        lines({"api_key": "sk-1", "db": {"password": ["hunter2"]}, "tokens": 12, "token": "t-9"})
    )
    assert not any(secret in text for secret in ("sk-1", "hunter2", "t-9"))
    assert '"api_key"  str  ***' in text
    assert '"tokens"  int  12' in text
    secret = tree_of({"x": type("Login", (), {})()}, "state")
    assert "***" not in "\n".join(secret.lines())


def test_attributes_of_objects_are_masked_too():
    login = type("Login", (), {})()
    login.password = "hunter2"
    assert "hunter2" not in "\n".join(lines({"login": login}))


def test_what_is_within_itself_is_said_to_be():
    state: dict[str, Any] = {"n": 1}
    state["me"] = state
    assert lines(state) == ["state  dict  2 items", '  "n"  int  1', '  "me"  dict  (it is within itself)']


def test_one_thing_in_two_places_is_shown_in_both():
    shared = [1]
    assert sum("[0]  int  1" in line for line in lines({"a": shared, "b": shared})) == 2


@pytest.mark.parametrize("number", hostile.NUMBERS)
def test_no_code_of_a_value_runs(number):
    value = hostile.hostile_values()[number]
    node = tree_of({"x": value, "y": [value]}, "state")
    assert [child.key for child in node.children] == ['"x"', '"y"']
    assert tree_of(value, "state").type


def test_a_hostile_object_shows_its_attributes_all_the_same():
    assert lines(hostile.hostile_object()) == ["state  Hostile", "  held  int  1"]


def test_a_tree_is_bounded_in_depth_width_number_and_bytes():
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert len(lines(deep, depth=3)) == 5
    assert lines(list(range(1_000)), width=5)[-1] == "  … 980 more"
    wide = {n: dict.fromkeys(range(100), "x" * 1_000) for n in range(100)}
    assert len(lines(wide, nodes=200)) < 400
    assert len("\n".join(lines(wide, size=20_000))) < 60_000


def test_a_tree_of_something_huge_is_made_of_its_beginning():
    huge = {"list": list(range(3_000_000)), "text": "x" * 50_000_000, "number": 1 << 10_000_000}
    node = tree_of(huge, "state")
    assert node.children[0].more > 2_900_000
    assert node.children[1].size == "50,000,000 characters"
    assert node.children[2].value == "a number of 10,000,001 bits"


def test_text_is_shown_so_that_it_moves_nothing_on_a_screen():
    assert lines({"a": "x\n\x1b[31m\u202e\ud800'\""})[1] == '  "a"  str  "x\\n\\x1b[31m\\u202e\ufffd\'\\""'


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@given(values)
def test_every_value_has_a_tree_that_is_json(value):
    node = tree_of(value, "state")
    assert msgspec.json.decode(msgspec.json.encode(node), type=Node) == node
