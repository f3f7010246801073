"""What is published reaches each worker that wants it: once, and in order."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.envelope import MAX_PAYLOAD_BYTES
from dnworker.core.ids import new_id
from dnworker.core.invocation import published_via
from dnworker.events.causes import published_by

from .stage import Watcher, handle, handle_next, next_of, numbers, queued_in


async def test_a_live_worker_gets_every_event_once_and_in_order(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(500)
    assert numbers(await handle_next(consumer, 500)) == [*range(500)]
    assert consumer.take() is None


async def test_it_gets_the_kinds_that_it_listens_to_and_no_others(stage):
    one = stage.broker.subscribe("demo:one", ["demo.a"])
    both = stage.broker.subscribe("demo:both", ["demo.a", "demo.b"])
    every = stage.broker.subscribe("demo:every", None)
    await stage.publish("demo.a")
    await stage.publish("demo.b")
    assert [e.kind for e in await queued_in(both, 2)] == ["demo.a", "demo.b"]
    assert [e.kind for e in await queued_in(every, 2)] == ["demo.a", "demo.b"]
    assert [e.kind for e in await queued_in(one, 1)] == ["demo.a"]


async def test_a_new_worker_begins_with_what_is_published_from_now_on(stage):
    await stage.publish("demo.go", {"n": 1})
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 2})
    (event,) = await next_of(consumer)
    assert (event.payload, event.replay, consumer.number(event)) == ({"n": 2}, False, 1)


async def test_the_outlet_gets_what_is_accepted_in_order_before_the_publisher_knows(stage):
    known = []

    async def publish(n):
        await stage.publish("demo.go", {"n": n})
        known.append(n)

    stage.outlet.on_deliver = lambda envelope: delivered.append(envelope.payload["n"] in known)
    delivered: list[bool] = []
    await asyncio.gather(*(publish(n) for n in range(50)))
    assert delivered == [False] * 50
    assert numbers(stage.outlet.delivered) == [*range(50)]


async def test_an_event_for_one_worker_reaches_no_other(stage):
    mine = stage.broker.subscribe("demo:mine", ["demo.go"])
    yours = stage.broker.subscribe("demo:yours", ["demo.go"])
    await stage.publish("demo.go", {"n": 1}, only="demo:mine")
    await stage.publish("demo.go", {"n": 2})
    assert numbers(await queued_in(mine, 2)) == [1, 2]
    assert numbers(await queued_in(yours, 1)) == [2]


async def test_a_kind_that_is_added_later_begins_then_and_the_others_go_on(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    await stage.publish("demo.a", {"n": 1})
    await stage.publish("demo.b", {"n": 2})
    consumer.retarget(["demo.a", "demo.b"])
    await stage.publish("demo.b", {"n": 3})
    await stage.publish("demo.a", {"n": 4})
    assert numbers(await queued_in(consumer, 3)) == [1, 3, 4]


async def test_a_closed_consumer_ends_and_gets_nothing_more(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    reading = asyncio.create_task(anext(consumer))
    await asyncio.sleep(0)
    consumer.close()
    consumer.close()
    with pytest.raises(StopAsyncIteration):
        await reading
    await stage.publish()
    assert consumer.take() is None


async def test_drained_returns_when_the_reader_has_taken_everything(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    taken = []

    async def read():
        async for event in consumer:
            await asyncio.sleep(0)
            handle(consumer, event)
            taken.append(event)

    reader = asyncio.create_task(read())
    await stage.publish_all(20)
    await consumer.drained()
    assert len(taken) == 20
    consumer.close()
    await consumer.drained()
    await reader


async def test_the_watcher_expects_each_event_once_and_none_after_the_close(stage):
    watcher = Watcher()
    consumer = stage.broker.subscribe("demo:w", ["demo.go"], watcher=watcher)
    events = await stage.publish_all(5)
    assert watcher.ever == [event.event_id for event in events]
    for event in await handle_next(consumer, 2):
        watcher.delivered(event)
    consumer.close()
    assert (watcher.expected, watcher.reading) == (set(), 0)


async def test_an_id_that_is_known_is_not_delivered_again_and_names_the_first(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    name = new_id()
    first = await stage.publish("demo.go", {"n": 1}, event_id=name, is_idempotent=True)
    _, accepted = stage.begin_publish("demo.go", {"n": 2}, event_id=name, is_idempotent=True)
    envelope, is_new = await accepted
    assert (is_new, envelope.seq, envelope.payload) == (False, first.seq, {"n": 1})
    assert numbers(stage.outlet.delivered) == numbers(await queued_in(consumer, 1)) == [1]


async def test_ids_that_come_together_are_told_apart(stage):
    name = new_id()
    begun = [stage.begin_publish("demo.go", {"n": n}, event_id=name, is_idempotent=True)[1] for n in range(3)]
    assert [accepted is None or (await accepted).is_new for accepted in begun] == [True, False, False]
    assert numbers(stage.outlet.delivered) == [0]


async def test_the_largest_payload_arrives_whole(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    text = "ä" * ((MAX_PAYLOAD_BYTES - 20) // 6)
    await stage.publish("demo.go", {"text": text})
    (event,) = await next_of(consumer)
    assert event.payload == {"text": text}


async def test_a_handler_that_changes_its_payload_changes_no_other_s(stage):
    one = stage.broker.subscribe("demo:one", ["demo.go"])
    two = stage.broker.subscribe("demo:two", ["demo.go"])
    await stage.publish("demo.go", {"n": 1})
    (event,) = await next_of(one)
    event.payload["n"] = 2
    assert numbers(await next_of(two)) == [1]


async def test_events_that_are_held_reach_a_worker_when_they_are_let_go(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    held = await stage.publish("demo.go", {"n": 1}, is_held=True)
    await stage.publish("demo.go", {"n": 2})
    assert numbers(await handle_next(consumer)) == [2]
    consumer.put(held, 100)
    (event,) = await handle_next(consumer)
    assert (event.payload, consumer.number(event)) == ({"n": 1}, 1)


@pytest.mark.slow
async def test_100_000_events_reach_a_worker_that_is_slower_than_the_publisher(stage):
    watcher = Watcher()
    watcher.expect = watcher.delivered = lambda envelope: None
    consumer = stage.broker.subscribe("demo:w", ["demo.go"], watcher=watcher)
    begun = []
    for n in range(100_000):
        begun.append(stage.begin_publish("demo.go", {"n": n})[1])
        if n % 1_000 == 999:
            await asyncio.gather(*(accepted for accepted in begun if accepted is not None))
            begun.clear()
    for n in range(100_000):
        event = await anext(consumer)
        assert event.payload == {"n": n}
        handle(consumer, event)


async def test_the_events_of_a_session_are_replayed_in_order_from_a_seq(stage):
    for n in range(6):
        await stage.publish("demo.go", {"n": n}, session_id=f"s{n % 2}")
    events = await stage.broker.replay("s1", 0)
    assert numbers(events) == [1, 3, 5]
    assert all(event.replay for event in events)
    assert numbers(await stage.broker.replay("s1", events[0].seq)) == [3, 5]
    assert numbers(await stage.broker.replay("s1", 0, limit=1)) == [1]
    assert await stage.broker.replay(None, 0) == []
    await stage.publish("demo.go", {"n": 6})
    assert numbers(await stage.broker.replay(None, 0)) == [6]


@pytest.mark.needs("numbers_events")
async def test_an_event_is_delivered_with_the_runtimes_by_which_it_has_come(stage):
    found = []
    stage.outlet.on_deliver = lambda envelope: found.append(published_via.get())
    with published_by("pulled from there", ("first", "zwei\u00b2")):
        _, accepted = stage.begin_publish()
    await accepted
    await stage.publish()
    assert found == [("first", "zwei\u00b2"), ()]
