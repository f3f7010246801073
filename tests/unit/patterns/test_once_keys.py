"""The keys by which a runtime knows what was handled: they tell handlers, kinds and types of keys apart."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.core.keys import check_key
from dnworker.patterns import once
from dnworker.patterns.doing_once import _as_text


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as one:
        yield one


def by_order(event):
    return event.payload["order"]


async def test_two_handlers_of_one_name_on_two_kinds_have_keys_of_their_own(runtime):
    worker, seen = Worker("shop"), []

    @worker.on_event("order.paid")
    @once(key=by_order)
    async def handle(event, client):
        seen.append(("paid", event.payload["order"]))

    @worker.on_event("order.sent")
    @once(key=by_order)
    async def handle(event, client):  # noqa: F811  as in two cells of a notebook
        seen.append(("sent", event.payload["order"]))

    await runtime.add(worker)
    for kind in ("order.paid", "order.sent", "order.paid", "order.sent"):
        await runtime.fire(kind, {"order": 7})
    assert seen == [("paid", 7), ("sent", 7)]


async def test_two_handlers_of_one_name_on_one_kind_have_keys_of_their_own(runtime):
    worker, seen = Worker("shop"), []
    for n in (1, 2):

        @worker.on_event("order.paid")
        @once(key=by_order)
        async def handle(event, client, n=n):
            seen.append(n)

    await runtime.add(worker)
    for _ in range(2):
        await runtime.fire("order.paid", {"order": 7})
    assert sorted(seen) == [1, 2]


async def test_one_handler_of_two_kinds_does_one_thing_for_a_key_of_both(runtime):
    worker, seen = Worker("shop"), []

    @worker.on_event("order.paid.v2")
    @worker.on_event("order.paid")
    @once(key=by_order)
    async def ship(event, client):
        seen.append(event.kind)

    await runtime.add(worker)
    for kind in ("order.paid.v2", "order.paid"):
        await runtime.fire(kind, {"order": 7})
    assert seen == ["order.paid.v2"]


async def test_a_number_and_its_text_are_two_keys(runtime):
    worker, seen = Worker("shop"), []

    @worker.on_event("order.paid")
    @once(key=by_order)
    async def ship(event, client):
        seen.append(event.payload["order"])

    await runtime.add(worker)
    for order in (1, "1", "1", 1):
        await runtime.fire("order.paid", {"order": order})
    assert seen == [1, "1"]


async def test_a_long_key_is_taken_and_told_from_one_of_the_same_begin(runtime):
    worker, seen = Worker("shop"), []

    @worker.on_event("order.paid")
    @once(key=by_order)
    async def ship(event, client):
        seen.append(event.payload["order"][-1])

    await runtime.add(worker)
    for last in "aab":
        await runtime.fire("order.paid", {"order": "x" * 2_000 + last})
    assert seen == ["a", "b"]


keys = st.recursive(
    st.text() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.tuples(inner, inner),
    max_leaves=4,
)
handlers = st.tuples(st.sampled_from(["ship", "f"]), st.sampled_from(["a", "a/b", "a', 'b", "a.b"]))


@given(handlers, keys, handlers, keys)
def test_texts_are_the_same_only_for_the_same_handler_and_key(one, key, other, another):
    is_same = one == other and repr(key) == repr(another)
    assert (_as_text(one, key) == _as_text(other, another)) == is_same


@given(handlers, keys, handlers, keys)
def test_no_text_is_one_that_an_earlier_dnworker_wrote(one, key, other, another):
    old = f"{other[0]}/{another}" if isinstance(another, str) else f"{other[0]}/{another!r}"
    assert _as_text(one, key) != old


@given(handlers, st.text(st.characters(codec="utf-8"), max_size=3_000))
def test_every_text_is_one_that_a_runtime_takes(of, key):
    assert check_key(_as_text(of, key))


async def test_what_an_earlier_dnworker_has_remembered_does_not_count_as_handled(runtime):
    worker, seen = Worker("shop"), []

    @worker.on_event("remember")
    async def remember(event, client):
        async with client.once("ship/7"):
            pass

    @worker.on_event("order.paid")
    @once(key=by_order)
    async def ship(event, client):
        seen.append(event.payload["order"])

    await runtime.add(worker)
    await runtime.fire("remember")
    for order in (7, "7"):
        await runtime.fire("order.paid", {"order": order})
    assert seen == [7, "7"]


async def test_a_partial_has_the_kind_that_it_was_registered_for(runtime):
    seen = []

    async def ship(where, event, client):
        seen.append(where)

    worker = Worker("shop")
    for kind, where in (("order.paid", "home"), ("order.sent", "away")):
        worker.on_event(kind)(once(key=by_order)(functools.partial(ship, where)))
    await runtime.add(worker)
    for kind in ("order.paid", "order.sent", "order.paid"):
        await runtime.fire(kind, {"order": 7})
    assert seen == ["home", "away"]
