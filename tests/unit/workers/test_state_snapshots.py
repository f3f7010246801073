"""Snapshots of states: what is kept, within which bounds, and what code of the values can do."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError
from dnworker.workers import state_snapshots
from dnworker.workers.state_changes import differences, moment_of
from dnworker.workers.state_snapshots import Snapshots

pytest.importorskip("cloudpickle")


def event(seq: int) -> EventEnvelope:
    return EventEnvelope(seq=seq, kind="demo", payload={})


class Unwilling:
    """Raises whatever is wanted when it is pickled."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def __reduce__(self) -> Any:
        raise self.exc


class Endless:
    def __reduce__(self) -> Any:
        while True:
            pass


class EndlessBack:
    def __reduce__(self) -> Any:
        return _never_returns, ()


def _never_returns() -> Any:
    while True:
        pass


def test_a_state_comes_back_equal_and_apart_from_the_live_one():
    state: dict[str, Any] = {"n": 1, "users": ["ada"]}
    state["again"] = state["users"]
    kept = Snapshots()
    assert kept.take("w", event(12), 3, state) == []
    state["users"].append("bob")
    (snapshot,) = kept
    back = snapshot.state(state)
    assert back == {"n": 1, "users": ["ada"], "again": ["ada"]}
    assert back["users"] is back["again"]
    assert (snapshot.seq, snapshot.generation) == (12, 3)
    assert snapshot.state(state) is not back


def test_classes_that_no_module_has_come_back():
    made = type("Local", (), {"n": 1})()
    made.x = 5
    kept = Snapshots()
    kept.take("w", event(1), 1, {"made": made, "f": lambda: 7})
    back = next(iter(kept)).state({})
    assert (back["made"].x, back["made"].n, back["f"]()) == (5, 1, 7)


@pytest.mark.parametrize(
    "bad",
    [threading.Lock(), Unwilling(ValueError("no")), Unwilling(SystemExit(3)), Unwilling(KeyboardInterrupt())],
)
def test_what_cannot_be_pickled_is_said_once_with_its_key_type_and_reason(bad):
    kept = Snapshots()
    state = {"n": 1, "conn": bad}
    (said,) = kept.take("w", event(1), 1, state)
    assert said.startswith(f"state: conn ({type(bad).__name__}) cannot be pickled: ")
    assert said.endswith("; snapshots of its state are without it")
    assert kept.take("w", event(2), 1, state) == []
    assert kept.take("other", event(2), 1, state) != []


def test_connections_are_named_in_one_line_once_a_worker():
    kept, state = Snapshots(), {f"c{n}": threading.Lock() for n in range(7)}
    (said,) = kept.take("w", event(1), 1, state)
    assert said.startswith("state: c0 (lock) cannot be pickled: ")
    assert said.endswith("; snapshots of its state are without it, c1, c2, c3, c4, 2 keys more")
    assert kept.take("w", event(2), 1, {**state, "later": threading.Lock()}) == []
    assert [one.key for one in [*kept][-1].missing][-1] == "later"


def test_what_is_too_large_is_said_also_after_a_connection(monkeypatch):
    monkeypatch.setattr(state_snapshots, "LARGEST", 10_000)
    kept, state = Snapshots(), {"conn": threading.Lock()}
    kept.take("w", event(1), 1, state)
    (said,) = kept.take("w", event(2), 1, {**state, "text": "x" * 20_000})
    assert said.startswith("state: text (str) cannot be pickled: it is larger than 10,000 bytes")


def test_a_fork_is_refused_by_the_key_that_is_missing_unless_the_live_one_may_stand_in():
    kept = Snapshots()
    state = {"n": 1, "conn": threading.Lock()}
    kept.take("w", event(12), 1, state)
    state["n"] = 2
    (snapshot,) = kept
    with pytest.raises(UsageError, match=r"before #12 is not whole: conn \(lock\) .* add: --keep conn"):
        snapshot.state(state)
    back = snapshot.state(state, keep=["conn"])
    assert back == {"n": 1, "conn": state["conn"]}


def test_what_never_returns_is_left_behind_and_not_tried_again(monkeypatch):
    monkeypatch.setattr(state_snapshots, "SECONDS", 0.05)
    monkeypatch.setattr(state_snapshots, "SLOW", 1e9)
    kept = Snapshots()
    state = {"n": 1, "bad": Endless()}
    (said,) = kept.take("w", event(1), 1, state)
    assert "bad (Endless) cannot be pickled: it did not return within 0.05 s" in said
    monkeypatch.setattr(state_snapshots, "SECONDS", 1e9)
    assert kept.take("w", event(2), 1, state) == []
    for thread in threading.enumerate():
        if thread.name == "dnworker pickling":
            thread.join(30)
            assert not thread.is_alive()


def test_what_never_comes_back_is_an_error(monkeypatch):
    monkeypatch.setattr(state_snapshots, "SECONDS_BACK", 0.05)
    kept = Snapshots()
    kept.take("w", event(7), 1, {"bad": EndlessBack()})
    with pytest.raises(UsageError, match=r"before #7 cannot be unpickled: it did not return within 0\.05 s"):
        next(iter(kept)).state({})


def test_there_are_bounds_of_number_and_of_bytes_and_equal_states_are_kept_once():
    kept = Snapshots(kept=5)
    for n in range(9):
        kept.take("w", event(n), 1, {"n": n})
    assert [one.seq for one in kept] == [4, 5, 6, 7, 8]
    kept = Snapshots(limit=100_000)
    for n in range(9):
        kept.take("w", event(n), 1, {"n": str(n) * 30_000})
    assert [one.seq for one in kept] == [6, 7, 8]
    assert kept.used <= 100_000
    kept = Snapshots()
    for n in range(9):
        kept.take("w", event(n), 1, {"text": "x" * 30_000})
    assert len(kept) == 9
    assert kept.used < 60_000
    kept.forget()
    assert (len(kept), kept.used) == (0, 0)


def test_the_bytes_of_those_that_go_are_counted_back():
    kept = Snapshots(kept=3)
    for n in range(30):
        kept.take("w", event(n), 1, {"text": "x" * (1_000 * (n // 4))})
    assert kept.used == sum({id(one.data): len(one.data) for one in kept}.values()) + 500 * len(kept)


def test_a_key_that_is_too_large_is_left_out(monkeypatch):
    monkeypatch.setattr(state_snapshots, "LARGEST", 10_000)
    kept = Snapshots()
    (said,) = kept.take("w", event(1), 1, {"n": 1, "text": "x" * 20_000})
    assert said.startswith("state: text (str) cannot be pickled: it is larger than 10,000 bytes")
    assert next(iter(kept)).state({"text": "now"}, ["text"]) == {"n": 1, "text": "now"}


def test_a_container_that_becomes_good_is_in_the_next_snapshot():
    kept = Snapshots()
    state: dict[str, Any] = {"xs": [threading.Lock()]}
    assert len(kept.take("w", event(1), 1, state)) == 1
    state["xs"] = [1]
    kept.take("w", event(2), 1, state)
    assert [one.missing == () for one in kept] == [False, True]


def test_those_of_one_worker_are_forgotten():
    kept = Snapshots()
    kept.take("a", event(1), 1, {"n": 1})
    kept.take("b", event(1), 1, {"n": 1})
    assert [one.worker for one in kept.before(event(1).event_id)] == []
    assert kept.forget("a") == 1
    assert [one.worker for one in kept] == ["b"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers()) | st.tuples(inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values), st.dictionaries(st.text(), values))
def test_a_snapshot_gives_an_equal_state_and_leaves_the_live_one_untouched(state, later):
    before = moment_of(copy.deepcopy(state))
    kept = Snapshots()
    kept.take("w", event(1), 1, state)
    assert differences(before, moment_of(state)) == {}
    state.update(later)
    back = next(iter(kept)).state(state)
    assert differences(before, moment_of(back)) == {}
    now = moment_of(state)
    for value in back.values():
        if isinstance(value, list):
            value.append("new")
    back.clear()
    assert differences(now, moment_of(state)) == {}


class Slow:
    """Takes long to be pickled."""

    def __reduce__(self):
        time.sleep(0.02)
        return (int, ())


def test_after_a_slow_snapshot_none_is_taken_for_a_while_and_it_is_said(monkeypatch):
    monkeypatch.setattr(state_snapshots, "SLOW", 0.01)
    snapshots = state_snapshots.Snapshots()
    said = snapshots.take("n:w", event(1), 1, {"slow": Slow()})
    assert "none is taken for the next 30 s" in said[-1]
    assert snapshots.take("n:w", event(2), 1, {"slow": Slow()}) == []
    assert len(snapshots) == 1
