"""What two sides did with the same events, compared."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from dnworker import Worker
from dnworker.testing import make_envelope
from dnworker_jupyter.export.check.observe import VARIES, agrees, blend, blended, differences, observe

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@example({"a": 1}, {"a": True})
@given(values, values)
def test_a_blend_agrees_with_both_it_was_made_of(one, other):
    mixed = blend(one, other)
    assert agrees(mixed, one)
    assert agrees(mixed, other)


@given(values)
def test_a_value_blended_with_itself_is_itself(value):
    assert blend(value, value) == value


@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example({"a": 1}, {"a": True})
@given(values, values)
def test_what_does_not_vary_agrees_with_nothing_else(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # 1 is not true in JSON
    assert agrees(blend(one, one), other) == same


def test_only_the_fields_that_differ_vary():
    assert blend({"n": 1, "at": 5.1, "deep": [{"id": "a"}]}, {"n": 1, "at": 5.2, "deep": [{"id": "b"}]}) == {
        "n": 1,
        "at": VARIES,
        "deep": [{"id": VARIES}],
    }


def test_a_difference_shows_both_sides_and_what_varies():
    notebook = [("w.h", "publishes k", {"n": 1, "at": VARIES}), ("w.h", "notifies", {"title": "x"})]
    export = [("w.h", "publishes k", {"n": 2, "at": 7}), ("w.h", "notifies", {"title": "x"})]
    assert differences(notebook, export) == [
        '- w.h publishes k {"at": (varies), "n": 1}',
        '+ w.h publishes k {"at": 7, "n": 2}',
    ]
    assert (
        differences(notebook, [("w.h", "notifies", {"title": "x"}), (*notebook[0][:2], {"n": 1, "at": 3})])
        == []
    )


def test_what_is_done_twice_is_not_the_same_as_once():
    did = ("w.h", "publishes k", {})
    assert differences([did], [did, did]) == ["+ w.h publishes k {}"]


def test_steps_that_differ_from_run_to_run_tell_nothing():
    assert blended([("w.h", "publishes a", {})], [("w.h", "publishes b", {})]) is None


async def test_what_handlers_publish_notify_and_raise_is_seen_down_the_chain(runtime):
    worker = Worker("w")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await client.publish("demo.b", {"n": event.payload["n"]})
        await client.notify(title="hi")

    @worker.on_event("demo.b")
    async def on_b(event, client):
        raise ValueError(f"no {object()!r}"[:20])

    await runtime.add(worker)
    steps = []
    found = await observe(
        runtime, [make_envelope("demo.a", {"n": 1})], lambda text, done, total: steps.append(text)
    )
    (seen,) = found.events
    assert [(who, what) for who, what, _ in seen] == [
        ("w.on_a", "publishes demo.b"),
        ("w.on_a", "notifies"),
        ("w.on_b", "raises ValueError"),
    ]
    assert steps == ["firing demo.a"]


async def test_an_event_that_is_not_done_with_in_time_says_so(runtime):
    import asyncio

    worker = Worker("w")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        await asyncio.Event().wait()

    await runtime.add(worker)
    found = await observe(runtime, [make_envelope("demo.a")], lambda *_: None, timeout=0.05)
    assert found.events[0] == [("w.on_a", "is still running when its time is up", None)]


async def test_a_task_that_fails_is_seen_in_the_background(runtime):
    worker = Worker("w")

    @worker.task
    async def spin(client):
        raise NameError("LIMIT")

    await runtime.add(worker)
    found = await observe(runtime, [], lambda *_: None)
    assert found.background == [("w.spin", "raises NameError, as task", "LIMIT")]


def test_order_within_a_handler_counts_and_random_ids_hide_nothing():
    first = [("w.h", "publishes k", {"id": "a1", "n": 1}), ("w.h", "publishes k", {"id": "b2", "n": 2})]
    second = [("w.h", "publishes k", {"id": "d4", "n": 1}), ("w.h", "publishes k", {"id": "c3", "n": 2})]
    mixed = blended(first, second)
    assert mixed is not None
    assert differences(mixed, [("w.h", "publishes k", {"id": "x", "n": 700})] * 2)
