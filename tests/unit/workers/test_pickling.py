"""What is pickled on the caller's own thread runs no code of somebody else."""

from __future__ import annotations

import collections
import pickle
import threading

from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.workers import pickling
from dnworker.workers.pickling import PLAIN_MOST, dumps, is_plain
from dnworker.workers.state_snapshots import Snapshots

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Loud:
    def __reduce__(self):
        raise AssertionError("its code ran")


class Number(int):
    """A number that has code."""


HOSTILE = [
    Loud(),
    Number(3),
    bytearray(b"x"),
    collections.OrderedDict(a=1),
    object,
    len,
    collections.Counter(),
]


@given(PLAIN)
def test_what_is_made_of_builtin_types_is_plain_and_comes_back(value):
    assert is_plain(value)
    assert repr(pickle.loads(dumps(value, 10_000_000))) == repr(value)


@given(PLAIN, st.sampled_from(HOSTILE))
def test_one_value_of_another_type_anywhere_makes_it_not_plain(value, hostile):
    for whole in (
        [value, hostile],
        {"a": (value, [hostile])},
        {hostile if hostile is len else 1: {"b": hostile}},
    ):
        assert not is_plain(whole)


def test_what_contains_itself_or_is_large_is_not_plain():
    circle = []
    circle.append(circle)
    assert not is_plain(circle)
    assert not is_plain([0] * (PLAIN_MOST + 1))
    assert not is_plain([[0] * 40] * 40)


def test_a_plain_state_is_kept_without_a_thread_and_any_other_by_one(monkeypatch):
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self)))
    snapshots = Snapshots()
    assert (
        snapshots.take(
            "demo:w", EventEnvelope(seq=1, kind="demo.go", payload={}), 1, {"count": 1, "names": ["a"]}
        )
        == []
    )
    assert started == []
    assert (
        snapshots.take(
            "demo:w",
            EventEnvelope(seq=1, kind="demo.go", payload={}),
            1,
            {"names": collections.OrderedDict(a=1)},
        )
        == []
    )
    assert started == ["dnworker pickling"]
    assert [pickle.loads(one.data) for one in snapshots] == [
        {"count": 1, "names": ["a"]},
        {"names": collections.OrderedDict(a=1)},
    ]


def test_a_plain_state_that_is_nested_deeper_than_the_stack_is_told():
    deep = []
    for _ in range(990):
        deep = [deep]
    said = Snapshots().take("demo:w", EventEnvelope(seq=1, kind="demo.go", payload={}), 1, {"deep": deep})
    assert said == [] or "deep" in said[0]


def test_a_plain_state_that_another_thread_changes_while_it_is_kept_is_kept_or_told(monkeypatch):
    names = dict.fromkeys(range(3), "x" * 100000)
    write = pickling._Bounded.write

    def change_first(self, data):
        names.setdefault(len(names), "y")
        return write(self, data)

    monkeypatch.setattr(pickling._Bounded, "write", change_first)
    said = Snapshots().take("demo:w", EventEnvelope(seq=1, kind="demo.go", payload={}), 1, {"names": names})
    assert "names" in said[0]
    assert "changed size" in said[0]
