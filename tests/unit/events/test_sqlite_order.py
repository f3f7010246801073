"""What comes by itself, as let go by a storm or of a kind that begins earlier, is neither lost nor doubled."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.envelope import has_payload
from dnworker.core.errors import NotStored
from dnworker.events.brokers.base import BEGINNING
from dnworker.events.brokers.kept import consumer as consumer_module
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.brokers.sqlite.reading import page
from dnworker.events.bus import EventBus

from ...conformance.stage import handle_next, next_of, numbers, staged
from .sqlite_brokers import making


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(consumer_module, "MOST_EVENTS", 8)
    async with staged(making(), tmp_path / "kept") as opened:
        yield opened


async def all_of(consumer):
    """Handle what comes until all was read, and return its numbers."""
    got = []
    async with asyncio.timeout(5):
        while len(consumer) or consumer._is_reading() or consumer._due:
            if len(consumer):
                got += numbers(await handle_next(consumer))
            await asyncio.sleep(0)
    return got


# -- let go by a storm -------------------------------------------------------------------------------------


async def test_what_is_let_go_before_it_is_on_disk_comes_after_what_was_published_before(tmp_path):
    bus = EventBus(broker=SqliteBroker(tmp_path / "events.sqlite"))
    await bus.open("run")
    try:
        consumer = bus.broker.subscribe("demo:w", ["demo.go"])
        before = bus.publish("demo.go", {"n": 0})
        held = bus.publish("demo.go", {"n": 1})
        bus.release(held, 100)
        await asyncio.gather(bus.accepted(before), bus.accepted(held))
        async with asyncio.timeout(5):
            assert numbers(await next_of(consumer, 2)) == [0, 1]
    finally:
        await bus.broker.close()


async def test_what_the_broker_refuses_is_let_go_to_nobody():
    bus = EventBus()
    subscription = bus.subscribe(["demo.go"], owner="demo:w")
    refusal = asyncio.get_running_loop().create_future()
    bus.broker.publish = lambda *args, **options: refusal
    held = bus.publish("demo.go")
    bus.release(held, 100)
    refusal.set_exception(NotStored("the disk is full"))
    with pytest.raises(NotStored):
        await bus.accepted(held)
    await asyncio.sleep(0)
    assert len(subscription) == 0


@pytest.mark.parametrize("place", [0, 5, 20, 39])
@pytest.mark.parametrize("handled", [0, 1, 8, 30])
async def test_what_is_let_go_to_a_slow_worker_comes_once(stage, place, handled):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    events = []
    for n in range(40):
        events.append(await stage.publish("demo.go", {"n": n}, is_held=n == place))
    first = numbers(await handle_next(consumer, handled))
    consumer.put(events[place], 100)
    assert sorted(first + await all_of(consumer)) == [*range(40)]


async def test_what_is_let_go_while_the_file_is_read_comes_once_and_turns_nothing_back(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    events = [await stage.publish("demo.go", {"n": n}, is_held=n == 3) for n in range(6)]
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    consumer.put(events[3], 100)
    assert await all_of(consumer) == [*range(6)]
    assert consumer._seen == events[-1].seq


async def test_what_is_held_and_let_go_while_the_file_is_read_comes_in_its_place(stage):
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    await stage.publish_all(2)
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    begun = [stage.begin_publish("demo.go", {"n": n}, is_held=n == 3) for n in range(2, 6)]
    reading, run = asyncio.Event(), stage.broker.reader.run

    async def wait(query):
        await reading.wait()
        return await run(query)

    stage.broker.reader.run = wait
    await asyncio.gather(*(accepted for _, accepted in begun))
    consumer.put(begun[1][0], 100)
    reading.set()
    assert await all_of(consumer) == [*range(6)]


# -- given back --------------------------------------------------------------------------------------------


async def test_what_comes_due_before_the_file_is_read_so_far_comes_once(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(6)
    events = await next_of(consumer, 6)
    consumer.release(events[5].event_id, 10)
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.clock.advance(20)
    assert sorted(await all_of(again)) == [*range(6)]


async def test_what_is_handled_is_kept_without_its_payload_and_comes_whole_when_it_is_given_back(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish_all(1)
    (event,) = await handle_next(consumer)
    assert [has_payload(one.envelope) for one in consumer._handled.values()] == [False]
    consumer.release(event.event_id)
    async with asyncio.timeout(5):
        assert numbers(await handle_next(consumer)) == [0]


# -- pages -------------------------------------------------------------------------------------------------


async def test_what_comes_while_the_file_is_read_stays_in_it_but_for_so_many_bytes(stage, monkeypatch):
    monkeypatch.setattr(consumer_module, "MOST_EVENTS", 100)
    monkeypatch.setattr(consumer_module, "MOST_BYTES", 4_000)
    stage.broker.subscribe("demo:w", ["demo.go"]).close()
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    for n in range(20):
        await stage.publish("demo.go", {"n": n, "x": "x" * 1_000})
    assert sum(size for _, size in consumer._tail) + consumer._bytes < 8_000
    assert await all_of(consumer) == [*range(20)]


async def test_a_page_reaches_no_further_than_what_it_has_looked_for(stage):
    """Though events are dropped between its statements."""
    events = await stage.publish_all(10)

    class Dropping:
        def __init__(self, connection):
            self.connection = connection

        def execute(self, query, values):
            if "json_each" in query:
                self.connection.execute("DELETE FROM events WHERE id = 2")
            return self.connection.execute(query, values)

    found = await stage.broker.do(
        lambda connection: page(
            Dropping(connection), {"demo.go": 0}, after=0, upto=events[-1].seq, most=4, max_bytes=1_000_000
        )
    )
    assert found.reached == events[3].seq


# -- kinds that begin earlier ------------------------------------------------------------------------------


async def test_what_was_in_flight_comes_again_though_a_kind_begins_earlier_since(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    await stage.publish("demo.b", {"n": 0})
    for n in range(1, 4):
        await stage.publish("demo.a", {"n": n})
    await next_of(consumer, 3)
    consumer.close()
    again = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"], start=BEGINNING)
    assert sorted(await all_of(again)) == [0, 1, 2, 3]


async def test_a_kind_that_begins_earlier_comes_though_nothing_was_handled(stage):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    await stage.publish("demo.go", {"n": 0})
    await stage.publish("demo.added", {"n": 1})
    await stage.publish("demo.go", {"n": 2})
    consumer.retarget(["demo.go", "demo.added"], BEGINNING)
    assert await all_of(consumer) == [0, 1, 2]


@pytest.mark.parametrize("start", [BEGINNING, 1])
async def test_an_event_that_comes_again_is_not_lost_to_a_kind_that_is_added(stage, start):
    consumer = stage.broker.subscribe("demo:w", ["demo.go"])
    first = await stage.publish("demo.go", {"n": 0})
    await next_of(consumer)
    consumer.release(first.event_id, 0)
    await stage.publish("demo.go", {"n": 1})
    consumer.retarget(["demo.go", "demo.added"], start)
    assert sorted(await all_of(consumer)) == [0, 1]


@pytest.mark.parametrize("end", ["close", "kill"])
async def test_the_first_delivery_of_a_kind_that_begins_earlier_is_the_first(stage, end):
    consumer = stage.broker.subscribe("demo:w", ["demo.a"])
    await stage.publish("demo.b", {"n": 0})
    await stage.publish("demo.a", {"n": 1})
    await next_of(consumer)
    await stage.broker.write(*stage.broker._cursors.values())
    if end == "close":
        consumer.close()
    else:
        await stage.kill()
    again = stage.broker.subscribe("demo:w", ["demo.a", "demo.b"], start=BEGINNING)
    events = await next_of(again, 2)
    assert {event.payload["n"]: again.number(event) for event in events} == {0: 1, 1: 2}
