"""`client.publish(..., dedupe=key)`: one event a key, whatever is killed in between."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import Runtime, VirtualClock, Worker
from dnworker.core.errors import Invalid, NotStored
from dnworker.core.keys import KEY_SECONDS
from dnworker.engine.dedupe import Deduped
from dnworker.engine.engine import Engine
from dnworker.events.brokers.base import Accepted
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.bus import EventBus


def client_of(runtime, worker="bridge"):
    return runtime.client(worker=worker, capability="demo")


async def test_the_second_of_a_key_is_not_published_and_gets_the_first_ones_id(runtime):
    heard = runtime.bus.subscribe(["demo.paid"])
    client = client_of(runtime)
    first = await client.publish("demo.paid", {"n": 1}, dedupe="order-1")
    second = await client.publish("demo.paid", {"n": 2}, dedupe="order-1")
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert (first["event_id"], first["seq"]) == (second["event_id"], second["seq"])
    assert [event.payload for event in heard.queued()] == [{"n": 1}]
    assert runtime.bus.latest_seq == first["seq"]


async def test_workers_have_keys_of_their_own_and_events_without_one_are_as_before(runtime):
    heard = runtime.bus.subscribe(["demo.paid"])
    for client in (client_of(runtime), client_of(runtime, "relay"), runtime.client()):
        await client.publish("demo.paid", dedupe="a")
    assert await client_of(runtime).publish("demo.paid") == {
        "event_id": heard.queued()[3].event_id,
        "seq": heard.queued()[3].seq,
    }


async def test_a_handler_publishes_once_and_the_trace_has_one_event(runtime):
    worker = Worker("bridge")

    @worker.on_event("demo.order")
    async def on_order(event, client):
        await client.publish("demo.paid", dedupe=f"paid-{event.payload['order']}")

    await runtime.add(worker)
    first, second = [await runtime.fire("demo.order", {"order": 1}) for _ in range(2)]
    assert [event.kind for event in first.events()] == ["demo.order", "demo.paid"]
    assert [event.kind for event in second.events()] == ["demo.order"]


async def test_two_at_the_same_time_are_one_event(runtime):
    heard = runtime.bus.subscribe(["demo.paid"])
    client = client_of(runtime)
    answers = await asyncio.gather(*(client.publish("demo.paid", dedupe="a") for _ in range(10)))
    assert len({answer["event_id"] for answer in answers}) == len(heard) == 1
    assert [answer["duplicate"] for answer in answers].count(False) == 1


async def test_after_a_day_of_the_runtimes_clock_the_key_is_free():
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        client = client_of(runtime)
        first = await client.publish("demo.paid", dedupe="a")
        await runtime.clock.advance(KEY_SECONDS + 1)
        second = await client.publish("demo.paid", dedupe="a")
        assert (second["duplicate"], second["event_id"] == first["event_id"]) == (False, False)


async def test_a_key_that_is_none_is_refused(runtime):
    with pytest.raises(Invalid, match="a key is text"):
        await client_of(runtime).publish("demo.paid", dedupe="")


async def test_the_next_runtime_on_the_same_broker_publishes_it_no_more():
    broker, clock = MemoryBroker(), VirtualClock()
    async with Engine(clock=clock, broker=broker) as engine:
        first = await client_of(engine).publish("demo.paid", dedupe="a")
    async with Engine(clock=clock, broker=broker) as engine:
        again = await client_of(engine).publish("demo.paid", dedupe="a")
        assert again == first | {"duplicate": True}


async def test_what_the_broker_has_already_is_neither_told_nor_counted_again():
    bus, told = EventBus(), []
    bus.tap(lambda envelope: told.append(envelope.seq))
    heard = bus.subscribe()
    first = await bus.accepted(bus.publish("a", event_id="e1", may_exist=True))
    second = bus.publish("a", event_id="e1", may_exist=True)
    assert await bus.accepted(second) == first
    assert (told, len(heard), first.event_id) == ([first.seq], 1, "e1")


class Late(MemoryBroker):
    """Accepts a moment later, as a durable broker does."""

    def publish(self, envelope, size, *args, **options):
        accepted = asyncio.get_running_loop().create_future()

        def accept():
            before = super(Late, self).publish(envelope, size, *args, **options)
            accepted.set_result(before.result() if before is not None else Accepted(envelope, is_new=True))

        asyncio.get_running_loop().call_soon(accept)
        return accepted


async def test_who_published_is_known_where_the_broker_accepts_it_later():
    async with Runtime(port=None, broker=Late()) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.order")
        async def on_order(event, client):
            published = runtime.bus.publish("demo.paid", event_id="e", may_exist=True)
            assert (await runtime.bus.accepted(published)).event_id == "e"

        await runtime.add(worker)
        first, second = [await runtime.fire("demo.order") for _ in range(2)]
        assert [event.kind for event in first.events()] == ["demo.order", "demo.paid"]
        assert [event.kind for event in second.events()] == ["demo.order"]


class Killed(Exception):
    """The runtime was killed at this moment."""


class Mortal(MemoryBroker):
    """Dies before or after one of its operations."""

    def __init__(self):
        super().__init__()
        self.lives = 10_000

    def _live(self):
        self.lives -= 1
        if self.lives <= 0:
            raise Killed

    async def put(self, *args, **options):
        self._live()
        entry = await super().put(*args, **options)
        self._live()
        return entry

    def publish(self, *args, **options):
        self._live()
        accepted = super().publish(*args, **options)
        self._live()
        return accepted


@given(st.lists(st.integers(1, 8), max_size=6))
def test_wherever_the_runtime_is_killed_the_event_is_published_once(kills):
    asyncio.run(_publish_until_done(kills))


async def _publish_until_done(kills):
    broker, clock, delivered = Mortal(), VirtualClock(), []
    for lives in [*kills, 10_000]:
        bus = EventBus(clock, broker=broker)
        bus.deliver = lambda envelope, *_: delivered.append(envelope.event_id)
        broker.lives = lives
        deduped = Deduped(bus, clock)

        with contextlib.suppress(Killed):
            await deduped.publish("w", "a", partial(bus.publish, "demo.paid"))
    assert len(delivered) == 1


async def test_a_publish_that_was_refused_is_published_by_the_next_try(runtime, monkeypatch):
    heard = runtime.bus.subscribe(["demo.paid"])
    client = client_of(runtime)

    def refuse(*args, **options):
        raise NotStored("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(runtime.bus.broker, "publish", refuse)
        with pytest.raises(Exception, match="the disk is full"):
            await client.publish("demo.paid", dedupe="a")
    answer = await client.publish("demo.paid", dedupe="a")
    assert (answer["duplicate"], len(heard)) == (False, 1)
