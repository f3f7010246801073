"""How the fields of recorded payloads change over time, and what is no news."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dnworker.catalogue.drift import ENOUGH, Drift, drift
from dnworker.catalogue.fields import MOST_PATHS, Recorded, observe

START = datetime(2026, 7, 1, 14, 0, tzinfo=UTC)


def recorded(payloads: list[Any], first: int = 410) -> list[Recorded]:
    return [
        Recorded(first + n, f"{n:032x}", START + timedelta(minutes=n), payload)
        for n, payload in enumerate(payloads)
    ]


def changes(payloads: list[Any], **options: Any) -> list[Drift]:
    return drift(observe(recorded(payloads)), now=START + timedelta(hours=1), **options)


def test_a_field_that_has_another_type_since_an_event_is_told():
    (change,) = changes([{"amount": 1}, {"amount": 2.5}, {"amount": "3"}])
    assert change.text == "`amount` was a number until 14:01 UTC, text since #412 (14:02 UTC)"
    assert (change.change, change.seq, change.before, change.since) == ("type", 412, "a number", "text")


def test_older_times_are_told_with_their_date():
    observed = observe(recorded([{"amount": 1}, {"amount": "3"}]))
    (change,) = drift(observed, now=START + timedelta(days=2))
    assert "until 2026-07-01 14:00 UTC" in change.text


def test_fields_within_objects_and_lists_have_paths():
    before, since = {"order": {"items": [{"price": 1}]}}, {"order": {"items": [{"price": "1"}]}}
    (change,) = changes([before, since])
    assert change.path == "order.items[].price"


def test_a_field_that_is_null_at_times_or_holds_whole_and_other_numbers_is_no_news():
    assert changes([{"a": None}, {"a": 1}, {"a": None}, {"a": 1.5}, {"a": 2}]) == []


def test_a_list_of_several_types_is_no_news():
    assert changes([{"a": [1, "x"]}, {"a": ["x"]}, {"a": [1, "y"]}]) == []


def test_a_field_whose_type_is_another_each_time_is_told_once():
    values = [1, "x", [], {}, True]
    (change,) = changes([{"amount": values[n % 5]} for n in range(57)])
    assert change.change == "mixed"
    assert "it has changed 56 times, last in #466" in change.text


def test_a_field_is_added_where_all_events_before_and_since_agree():
    (change,) = changes([{"a": 1}] * ENOUGH + [{"a": 1, "b": 2}] * ENOUGH)
    assert change.text == "`b` is there since #415 (14:05 UTC), and was not before"


def test_a_field_has_vanished_where_all_events_before_and_since_agree():
    (change,) = changes([{"a": 1, "b": 2}] * ENOUGH + [{"a": 1}] * ENOUGH)
    assert change.text == "`b` is gone since #415 (14:05 UTC), and was there before"


def test_few_events_say_nothing_about_a_field_that_is_added():
    assert changes([{"a": 1}] * (ENOUGH - 1) + [{"a": 1, "b": 2}] * 50) == []
    assert changes([{"a": 1}] * 50 + [{"a": 1, "b": 2}] * (ENOUGH - 1)) == []


def test_a_field_that_a_schema_lets_lack_is_neither_added_nor_gone():
    assert changes([{"a": 1}] * 9 + [{"a": 1, "b": 2}] * 9, optional={("b",)}) == []


def test_an_object_that_is_added_is_told_once_and_not_with_its_fields():
    (change,) = changes([{"a": 1}] * 9 + [{"a": 1, "b": {"c": {"d": 1}}}] * 9)
    assert change.path == "b"


def test_fields_that_are_there_at_random_are_never_news():
    chance = random.Random(7)
    for _ in range(200):
        payloads = [{f"f{n}": 1 for n in range(5) if chance.random() < 0.5} for _ in range(40)]
        assert changes(payloads) == []


def test_very_many_keys_are_one_field_and_a_deep_payload_ends():
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(5_000):
        inner["x"] = inner = {}
    many = {f"k{n}": n for n in range(100_000)}
    observed = observe(recorded([many, deep, many]))
    assert ("*",) in observed.fields
    assert len(observed.fields) < 20


def test_the_fields_that_are_followed_are_bounded():
    observed = observe(recorded([{f"k{n}_{m}": 1 for m in range(100)} for n in range(100)]))
    assert len(observed.fields) == MOST_PATHS
    assert observed.is_cut


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=12))
def test_every_change_names_a_recorded_event_and_a_payload_that_repeats_has_none(payloads):
    seqs = {one.seq for one in recorded(payloads)}
    assert all(change.seq in seqs for change in changes(payloads))
    assert not any(changes([payload] * 12) for payload in payloads[:1])
