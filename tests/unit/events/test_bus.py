"""The bus: order, filters, replay, bounds, tombstones."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import Gone, SubscriberTooSlow
from dnworker.events.bus import EventBus


def drain(subscription):
    """Take what is queued, without waiting."""
    return [subscription._queue.popleft() for _ in range(len(subscription))]


@pytest.mark.clause("5.5 seq")
def test_one_counter_serves_sessions_and_runtime_scope():
    bus = EventBus()
    assert [bus.publish("a").seq, bus.publish("b", session_id="s").seq, bus.publish("c").seq] == [1, 2, 3]


@pytest.mark.clause("5.5 filters")
def test_a_subscriber_gets_exactly_its_kinds():
    bus = EventBus()
    subscription = bus.subscribe(["a", "b"])
    for kind in ("a", "a.b", "b", "c"):
        bus.publish(kind)
    assert [e.kind for e in drain(subscription)] == ["a", "b"]


@pytest.mark.clause("5.5 filters")
def test_a_session_subscriber_gets_no_runtime_scope():
    bus = EventBus()
    subscription = bus.subscribe(session_id="s")
    bus.publish("a")
    bus.publish("b", session_id="s")
    bus.publish("c", session_id="other")
    assert [e.kind for e in drain(subscription)] == ["b"]


@pytest.mark.clause("13.9")
def test_live_subscribers_get_no_replay():
    bus = EventBus()
    bus.publish("a")
    assert len(bus.subscribe(["a"])) == 0


def test_replay_is_marked_and_starts_after_the_cursor():
    bus = EventBus()
    for _ in range(3):
        bus.publish("a", session_id="s")
    replayed = drain(bus.subscribe(session_id="s", replay=True, after_seq=1))
    assert [(e.seq, e.replay) for e in replayed] == [(2, True), (3, True)]


@pytest.mark.clause("5.5 buffers")
def test_the_session_buffer_keeps_the_newest_500():
    bus = EventBus()
    for _ in range(510):
        bus.publish("a", session_id="s")
    assert [e.seq for e in drain(bus.subscribe(session_id="s", replay=True))] == list(range(11, 511))


@pytest.mark.clause("5.5 buffers")
def test_the_runtime_buffer_is_bounded_by_bytes_too():
    bus = EventBus()
    for _ in range(10):
        bus.publish("a", {"x": "y" * 50_000})
    assert len(bus.subscribe(replay=True)) == 3


def test_an_unbounded_subscriber_never_loses_an_event():
    bus = EventBus()
    subscription = bus.subscribe(["a"])
    for _ in range(10_000):
        bus.publish("a")
    assert [e.seq for e in drain(subscription)] == list(range(1, 10_001))


async def test_a_slow_subscriber_gets_what_was_queued_and_is_then_told():
    bus = EventBus()
    subscription = bus.subscribe(["a"], limit=256)
    for _ in range(300):
        bus.publish("a")
    assert [(await anext(subscription)).seq for _ in range(256)] == list(range(1, 257))
    with pytest.raises(SubscriberTooSlow, match="256 events behind") as told:
        await anext(subscription)
    assert told.value.lost == 44


async def test_a_waiting_subscriber_wakes_when_an_event_comes():
    bus = EventBus()
    waiting = asyncio.ensure_future(anext(bus.subscribe(["a"])))
    await asyncio.sleep(0)
    bus.publish("a", {"n": 1})
    assert (await waiting).payload == {"n": 1}


async def test_closing_ends_a_waiting_subscriber():
    bus = EventBus()
    subscription = bus.subscribe(["a"])
    waiting = asyncio.ensure_future(anext(subscription, None))
    await asyncio.sleep(0)
    subscription.close()
    subscription.close()
    assert await waiting is None


def test_a_retargeted_subscriber_keeps_what_is_queued():
    bus = EventBus()
    subscription = bus.subscribe(["a"])
    bus.publish("a")
    subscription.retarget(["b"])
    bus.publish("a")
    bus.publish("b")
    assert [e.seq for e in drain(subscription)] == [1, 3]


@pytest.mark.clause("5.5 tombstone")
def test_a_deleted_session_refuses_events_until_it_is_opened_again():
    bus = EventBus()
    bus.open_session("s")
    bus.delete_session("s")
    with pytest.raises(Gone, match="'s' was deleted"):
        bus.publish("a", session_id="s")
    bus.open_session("s")
    assert bus.publish("a", session_id="s").session_id == "s"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, "s", "t"])), max_size=60))
def test_every_subscriber_sees_its_events_in_order_and_once(published):
    bus = EventBus()
    everything, only_a, only_s = bus.subscribe(), bus.subscribe(["a"]), bus.subscribe(session_id="s")
    sent = [bus.publish(kind, session_id=session) for kind, session in published]
    assert drain(everything) == sent
    assert drain(only_a) == [e for e in sent if e.kind == "a"]
    assert drain(only_s) == [e for e in sent if e.session_id == "s"]


async def test_a_subscriber_that_fails_keeps_no_event_from_those_after_it(caplog):
    bus = EventBus()
    failing, other = bus.subscribe(["a"], owner="n:failing"), bus.subscribe(["a"], owner="n:other")
    failing.put = lambda envelope, size=0: 1 / 0
    for only in (None, "n:failing"):
        bus.publish("a", only=only)
    assert [e.seq for e in drain(other)] == [1]
    assert caplog.text.count("an event of kind a could not be delivered to n:failing") == 2
