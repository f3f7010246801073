"""What changed in the state of a worker between two moments, and what of that is said."""

from __future__ import annotations

import copy
import datetime
import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.workers.state_changes import LARGEST_STATE, LOOKS, Large, differences, moment_of
from dnworker.workers.state_text import text_of
from tests.unit import hostile


def changes(state: dict[Any, Any], change: Any) -> list[str]:
    """Return what is said of what `change` does to a state."""
    before = moment_of(state)
    change(state)
    found = differences(before, moment_of(state))
    return [text_of(key, old, new) for key, (old, new) in found.items()]


@dataclass
class User:
    name: str
    tags: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("state", "statement", "said"),
    [
        ({"count": 1}, "state['count'] += 1", ["count 1 -> 2"]),
        ({"users": []}, "state['users'].append('ada')", ['users + "ada"']),
        ({"users": ["a", "b"]}, "state['users'].pop()", ['users - "b"']),
        ({"queue": deque([1, 2])}, "state['queue'].popleft()", ["queue - 1"]),
        ({"xs": [1, 2]}, "state['xs'][1] = 5", ["xs[1] 2 -> 5"]),
        ({"xs": [1, 2, 3]}, "state['xs'][:] = [9]", ["xs 3 items -> 1 item"]),
        ({"seen": {1, 2}}, "state['seen'] ^= {2, 3}", ["seen - 2, + 3"]),
        ({}, "state['new'] = {'a': [1]}", ['new = {"a": [1]}']),
        ({"old": 1}, "del state['old']", ["old removed"]),
        ({"c": {"host": "a"}}, "state['c']['host'] = 'b'", ['c["host"] "a" -> "b"']),
        ({"c": {"a": {"b": 1}}}, "state['c']['a']['b'] = 2", ['c["a"]["b"] 1 -> 2']),
        ({"u": User("ada")}, "state['u'].tags.append('x')", ['u.tags + "x"']),
        ({"u": {1: User("ada")}}, "state['u'][1].name = 'bob'", ['u[1].name "ada" -> "bob"']),
        ({"x": 1}, "state['x'] = True", ["x 1 -> True"]),
        ({"x": 1}, "state['x'] = 1.0", ["x 1 -> 1.0"]),
        ({"x": [1]}, "state['x'] = (1,)", ["x [1] -> (1)"]),
        ({"x": None}, "state['x'] = datetime.date(2026, 1, 2)", ["x None -> datetime.date(2026, 1, 2)"]),
        ({7: 1}, "state[7] = 2", ["7 1 -> 2"]),
        ({"7": 1}, "state['7'] = 2", ['"7" 1 -> 2']),
        ({"a b\n": 1}, "state['a b\\n'] = 2", ['"a b\\n" 1 -> 2']),
        ({("a", 1): 1}, "state['a', 1] = 2", ['("a", 1) 1 -> 2']),
        ({"token": "t1"}, "state['token'] = 't2'", ["token *** -> ***"]),
        ({"db": {"password": "p1"}}, "state['db']['password'] = 'p2'", ['db["password"] *** -> ***']),
        ({}, "state['db'] = {'password': 'p2'}", ['db = {"password": ***}']),
        (
            {"n": 0},
            "state['n'] = list(range(9)); state['m'] = 1",
            ["n 0 -> [0, 1, 2, 3, 4, 5, 6, 7, 8]", "m = 1"],
        ),
        (
            {"xs": [0] * 9},
            "state['xs'][:5] = [1] * 5",
            ["xs[0] 0 -> 1; xs[1] 0 -> 1; xs[2] 0 -> 1; and 2 more"],
        ),
        ({"b": bytearray(b"a")}, "state['b'] += b'c'", ["b b'a' -> b'ac'"]),
    ],
)
def test_a_change_is_said_from_what_to_what(state, statement, said):
    def change(state: dict[Any, Any]) -> None:
        exec(statement, {"state": state, "datetime": datetime})

    assert changes(copy.deepcopy(state), change) == said


def test_what_is_the_same_again_is_no_change():
    state: dict[str, Any] = {
        "n": 1, "d": {"a": 1, "b": 2}, "s": {3, 1, 2}, "nan": math.nan, "u": User("ada"), "o": OrderedDict(a=1),
        "f": [1.5, math.nan],
    }  # fmt: skip

    def again(state: dict[str, Any]) -> None:
        state.update(
            n=1, d={"b": 2, "a": 1}, s={2, 3, 1}, nan=float("nan"), u=User("ada"), o=OrderedDict(a=1)
        )
        state["f"] = [1.5, float("nan")]

    assert changes(state, again) == []


def test_arrays_and_frames_are_compared_by_what_they_hold():
    state = {"a": numpy.zeros(3), "f": pandas.DataFrame({"x": [1, 2]}), "s": pandas.Series(["a"])}

    def change(state: dict[str, Any]) -> None:
        state["a"][1] = 5
        state["f"].loc[0, "x"] = 9
        state["s"][0] = "b"

    assert [said.partition(" ")[0] for said in changes(state, change)] == ["a", "f", "s"]
    assert changes(state, lambda state: None) == []


def test_a_large_value_is_compared_by_type_and_size():
    state = {"log": [f"{n:0100}" for n in range(1_000)]}

    def change(state: dict[str, Any]) -> None:
        state["log"].append("y")

    assert changes(state, change) == ["log list, 1,000 items -> list, 1,001 items"]
    assert changes(state, lambda state: state["log"].__setitem__(0, "z")) == []


def test_a_value_that_is_too_large_is_not_measured_at_every_look_and_is_when_it_may_have_shrunk():
    known: dict[object, Large] = {}
    rows: list[Any] = [[f"{n:0100}"] * 10 + [f"{n:500}"] for n in range(200)]
    state = {"rows": rows}
    assert moment_of(state, known).size > 100_000
    rows[:] = [[] for _ in range(200)]
    for _ in range(LOOKS):
        assert moment_of(state, known).size > 100_000
    assert moment_of(state, known).size < 10_000
    assert known == {}
    rows[:] = [[f"{n:0100}"] * 10 + [f"{n:500}"] for n in range(200)]
    moment_of(state, known)
    rows.clear()
    assert moment_of(state, known).size < 100


def test_the_size_of_a_large_state_is_estimated_by_its_beginning():
    assert moment_of({"rows": [[0.5] * 1_000 for _ in range(1_000)]}).size > LARGEST_STATE
    assert moment_of({"text": "x" * 2_000_000}).size > LARGEST_STATE
    assert moment_of(dict.fromkeys(range(1_000), "x" * 10_000)).size > LARGEST_STATE
    assert moment_of({"a": numpy.zeros(1_000_000)}).size > LARGEST_STATE
    assert moment_of({"count": 1, "users": ["ada"]}).size < 1_000


def test_what_is_shared_over_and_over_is_told_to_be_another_one_when_it_changes():
    inner: list[Any] = [0]
    shared: Any = inner
    for _ in range(12):
        shared = [shared] * 10  # 10 to the 12th numbers, if it were unfolded
    said = "dag list, 10 items: another one of the same size"
    assert changes({"dag": shared}, lambda state: inner.append(1)) == [said]
    assert changes({"dag": shared}, lambda state: None) == []


def test_what_is_within_itself_is_compared_all_the_same():
    state: dict[str, Any] = {"n": {}}
    state["n"]["me"] = state["n"]
    state["all"] = state
    assert changes(state, lambda state: state["n"].update(x=1)) == ['n["x"] = 1', 'all["n"]["x"] = 1']


def test_what_has_only_an_identity_is_another_one_when_it_is_replaced():
    state = {"lock": object(), "it": iter([])}
    assert changes(state, lambda state: state.update(lock=object())) == ["lock <object>: another one"]


@pytest.mark.parametrize("number", hostile.NUMBERS)
def test_no_code_of_a_value_runs(number):
    value = hostile.hostile_values()[number]
    state = {"x": value, "y": [value], "z": {"k": value}}
    assert changes(state, lambda state: None) == []
    assert changes(state, lambda state: state.update(x=1, y=[], z={}))
    assert changes(state, lambda state: state.update(x=value, y=[value], z={"k": value}))


def test_deep_things_are_compared_by_type_and_size():
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    assert changes({"deep": deep}, lambda state: None) == []
    while deep:  # taken apart by hand: the interpreter itself would do it by recursion
        deep = deep.pop()


def test_a_state_that_is_no_dict_has_no_keys():
    assert moment_of(None).keys == {}
    assert moment_of([1]).keys == {}


atoms = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(width=16)
    | st.text("ab", max_size=2)
    | st.binary(max_size=1)
)
hashable = st.recursive(atoms, lambda inner: st.tuples(inner, inner), max_leaves=3)
nested = st.recursive(
    atoms | st.builds(User, st.text("ab", max_size=1)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.builds(lambda tags: User("u", tags), st.lists(inner, max_size=2))
    ),
    max_leaves=8,
)
states = st.dictionaries(st.text("abc", min_size=1, max_size=1), nested, max_size=3)


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and of one type, down to the last: what the comparison is held against."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(equal(key, k) and equal(value, v) for k, v in other.items()) for key, value in one.items()
        )
    if isinstance(one, set):
        return len(one) == len(other) and all(any(equal(item, i) for i in other) for item in one)
    return equal(vars(one), vars(other)) if isinstance(one, User) else one == other


@given(states, states)
def test_the_keys_that_are_reported_are_exactly_those_that_differ(before, after):
    found = differences(moment_of(before), moment_of(after))
    expected = {
        k for k in {*before, *after} if k not in before or k not in after or not equal(before[k], after[k])
    }
    assert {*found} == expected
    for key, (old, new) in found.items():
        assert text_of(key, old, new)


@given(states, st.data())
def test_a_change_in_place_anywhere_is_noticed_at_its_key_alone(state, data):
    targets: list[tuple[str, Any]] = []

    def collect(key: str, value: Any) -> None:
        if isinstance(value, list | dict):
            targets.append((key, value))
            for part in value if isinstance(value, list) else value.values():
                collect(key, part)
        elif isinstance(value, User):
            collect(key, value.tags)

    for key, value in state.items():
        collect(key, value)
    if not targets:
        return
    before = moment_of(state)
    key, target = data.draw(st.sampled_from(targets))
    target.append("new") if isinstance(target, list) else target.update({"new": 1})
    assert {*differences(before, moment_of(state))} == {key}
