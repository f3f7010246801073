"""What counts as the same: everything but times and ids; and what is kept of comparisons."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Worker
from dnworker.attach.attaching import attach
from dnworker.attach.cursor import Cursor
from dnworker.attach.likeness import difference, ids_in
from dnworker.attach.sides import Act, Run, Side, judge, published, raised
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError

from .rig import TOKEN, attached, flagger, settled, until

ONE, OTHER = "0" * 31 + "a", "0" * 31 + "b"
UUID_ONE, UUID_OTHER = "01234567-89ab-cdef-0123-456789abcdef", "11234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"at": "2026-01-01T10:00:00Z"}, {"at": "2026-01-01T10:00:01.5+00:00"}),
        ({"id": ONE}, {"id": OTHER}),
        ({"id": UUID_ONE}, {"id": UUID_OTHER}),
        ({"turn": f"turn_{ONE}"}, {"turn": f"turn_{OTHER}"}),
        ({"text": f"order {ONE} at 2026-01-01 10:00"}, {"text": f"order {OTHER} at 2026-01-02 11:00"}),
        ({"created_at": 1_700_000_000}, {"created_at": 1_700_000_001.5}),
        ({"duration_ms": 5}, {"duration_ms": 7}),
        ({"seq": 1}, {"seq": 2}),
        ({"a": 1, "b": [1.0]}, {"b": [1], "a": 1.0}),
    ],
)
def test_times_and_ids_do_not_count(there, here):
    assert difference(there, here, set()) is None


@pytest.mark.parametrize(
    ("there", "here", "why"),
    [
        ({"amount": 1}, {"amount": 2}, "amount is 2, and 1 there"),
        ({"amount": True}, {"amount": 1}, "amount is 1, and true there"),
        ({"amount": None}, {"amount": 0}, "amount is 0, and null there"),
        ({"amount": "1"}, {"amount": 1}, 'amount is 1, and "1" there'),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b[1] is 3, and 2 there"),
        ({"a": [1]}, {"a": [1, 2]}, "a has 2 items, and 1 there"),
        ({"a": 1}, {}, "a is missing, and 1 there"),
        ({}, {"a": 1}, "a is 1, and missing there"),
        ({"text": "red"}, {"text": "blue"}, 'text is "blue", and "red" there'),
        ({"rate": 1}, {"rate": 2}, "rate is 2, and 1 there"),
    ],
)
def test_everything_else_counts_and_the_place_is_named(there, here, why):
    assert difference(there, here, set()) == why


def test_an_id_of_the_event_is_no_id_that_differs_by_chance():
    event = {"order": {"id": UUID_ONE.upper()}}
    assert difference({"id": UUID_ONE}, {"id": UUID_OTHER}, ids_in(event)) is not None
    assert difference({"id": UUID_ONE}, {"id": UUID_ONE}, ids_in(event)) is None


@pytest.mark.parametrize(
    "text", ["x" * 50_000, "a_" * 25_000, "0" * 50_000, "abc-" * 12_500, "2026-01-01T" * 4_000]
)
def test_a_hostile_text_takes_no_time(text):
    began = time.process_time()
    assert difference({"a": text}, {"a": f"{text[1:]}."}, ids_in({"a": text})) is not None
    assert time.process_time() - began < 2  # a search that is quadratic takes minutes


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(json)
def test_a_value_is_like_itself(value):
    assert difference(value, value, set()) is None


def side(*runs: list[Act], lacks: str = "") -> Side:
    return Side(tuple(Run("handler", tuple(acts)) for acts in runs), lacks)


def event(kind: str, **payload) -> Act:
    return published(kind, payload, None)


@pytest.mark.parametrize(
    ("there", "here", "verdict", "why"),
    [
        (side([]), side([]), "same", "neither does anything"),
        (side([event("a"), event("b")]), side([event("a"), event("b")]), "same", ""),
        (side([event("a"), event("b")]), side([event("b"), event("a")]), "different", "in another order"),
        (side([event("a")], [event("b")]), side([event("b")], [event("a")]), "same", ""),
        (side([event("a"), event("b")]), side([event("a")], [event("b")]), "same", ""),
        (side([event("a")]), side([event("a"), event("a")]), "different", "only the notebook's publishes a"),
        (side([event("a")]), side([]), "different", "only the deployed one publishes a"),
        (side([raised("ValueError: x")]), side([]), "different", "only the deployed one raised ValueError"),
        (side([event("a")], lacks="gone"), side([event("b")]), "unknown", "gone"),
        (side([event("a")]), side([event("b")], lacks="cut"), "unknown", "cut"),
        (side([]), side([Act("other", "requests POST /api/x")]), "unknown", "nobody knows"),
        (side([event("session.created")]), side([Act("session", "create_session")]), "unknown", "nobody"),
        (side([event("session.created")]), side([]), "different", "it makes 0 sessions, and 1 there"),
        (side([]), side([Act("once", "once a")]), "same", ""),
        (side([]), side([Act("publishes", "", "a", {}, is_deduped=True)]), "unknown", "has a key"),
    ],
)
def test_a_verdict_is_never_the_same_where_something_is_not_known(there, here, verdict, why):
    found, reason = judge(there, here, set())
    assert found == verdict
    assert why in reason


@given(
    st.lists(st.sampled_from("abc"), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8),
)
def test_a_cursor_takes_each_event_once_whatever_comes_again(kinds, batches):
    events = [EventEnvelope(seq=n, kind=kind) for n, kind in enumerate(kinds, 1)]
    cursor, taken, position = Cursor(), [], 0
    for back, length in [*batches, (0, 30)]:
        begin = max(0, position - back)
        batch = events[begin : begin + length]
        taken += [one.seq for one in batch if cursor.take(one)]
        position = max(position, begin + len(batch))
    assert taken == [one.seq for one in events[:position]]


def test_a_cursor_of_many_kinds_stays_small(monkeypatch):
    monkeypatch.setattr("dnworker.attach.cursor.KINDS_KEPT", 10)
    cursor = Cursor()
    for n in range(1, 1_000):
        assert cursor.take(EventEnvelope(seq=n, kind=f"kind{n}"))
        assert not cursor.take(EventEnvelope(seq=n, kind=f"kind{n}"))
        assert len(cursor._by_kind) <= 10


async def test_rows_are_bounded_and_counts_run_on(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.comparing.ROWS_KEPT", 20)
    await there.add(flagger(100))
    await here.add(flagger(100))
    async with attached(here, there) as attachment:
        for n in range(200):
            there.publish("order.placed", {"id": n, "amount": 500})
            await asyncio.sleep(0)
        await until(lambda: attachment.received == 200)
        await settled(attachment)
        assert len(attachment.rows(last=1_000)) == 20
        assert len(attachment._comparing._sizes) == 20
    assert attachment.score.total == 200
    assert attachment.score.different == 0


async def test_rows_with_large_payloads_are_bounded_in_bytes(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.comparing.BYTES_KEPT", 200_000)
    await here.add(flagger(1))
    async with attached(here, there) as attachment:
        for n in range(50):
            there.publish("order.placed", {"id": n, "amount": 0, "text": "x" * 20_000})
        await until(lambda: attachment.received == 50)
        await settled(attachment)
        assert 1 <= len(attachment.rows(last=1_000)) <= 10
        assert attachment._comparing._bytes <= 200_000
    assert attachment.score.total == 50


async def test_a_handler_that_does_too_much_is_unknown_and_effects_are_bounded(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.shadow_connection.EFFECTS_KEPT", 10)
    worker = Worker("bridge")

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        for n in range(event.payload["count"]):
            await client.publish("order.item", {"n": n})

    await here.add(worker)
    await there.add(Worker("bridge"))
    async with attached(here, there) as attachment:
        there.publish("order.placed", {"count": 10})
        there.publish("order.placed", {"count": 100})
        await until(lambda: attachment.received == 2)
        await settled(attachment)
        assert not attachment._effects._of
    assert [row.verdict for row in attachment.rows()] == ["different", "unknown"]
    assert attachment.rows()[1].why == "a handler here did too much to keep all of it"


@pytest.mark.parametrize(
    ("deployed", "verdict", "why"),
    [
        ("notebook:flagger", "different", "only the deployed one publishes"),
        ("flagger", "different", "only the deployed one publishes"),
        ("shop:flagger", "unknown", "no worker shop:flagger is there"),
        ("nobody", "unknown", "no worker nobody is there"),
    ],
)
async def test_a_deployed_worker_of_another_name_is_found_by_that(here, there, deployed, verdict, why):
    await there.add(flagger(100, "flagger"))
    await here.add(flagger(200, "bridge"))
    async with attached(here, there, counterparts={"notebook:bridge": deployed}) as attachment:
        there.publish("order.placed", {"id": 1, "amount": 150})
        await until(lambda: attachment.received == 1)
        await settled(attachment)
    (row,) = attachment.rows()
    assert row.verdict == verdict
    assert row.why.startswith(why)


async def test_another_name_is_refused_where_nothing_is_compared(here, there):
    with pytest.raises(UsageError, match="live, nothing is compared"):
        await attach(here, there.url, token=TOKEN, live=True, counterparts={"notebook:a": "b"})
    assert here.attachment is None


async def test_views_hear_of_changes_until_they_end(here, there):
    await here.add(flagger(100))
    async with attached(here, there) as attachment:
        calls = itertools.count()
        end = attachment.on_change(lambda: next(calls))
        there.publish("order.placed", {"id": 1, "amount": 1})
        await until(lambda: attachment.received == 1)
        await settled(attachment)
        heard = next(calls)
        assert heard > 0
        end()
        there.publish("order.placed", {"id": 2, "amount": 1})
        await until(lambda: attachment.received == 2)
        assert next(calls) == heard + 1
