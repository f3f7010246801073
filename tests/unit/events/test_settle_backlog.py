"""`settle` waits for what a broker still reads from disk for a worker that starts."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, Worker
from dnworker.core.errors import BrokerError
from dnworker.events.brokers.base import BEGINNING
from dnworker.events.brokers.kept.consumer import MOST_EVENTS
from dnworker.events.brokers.sqlite.broker import SqliteBroker


class GatedBroker(SqliteBroker):
    """Reads no page before the gate is open."""

    def __init__(self, path):
        super().__init__(path)
        self.gate, self.is_asked = asyncio.Event(), asyncio.Event()

    async def page(self, *args, **options):
        self.is_asked.set()
        await self.gate.wait()
        return await super().page(*args, **options)


def worker_that_notes(handled):
    worker = Worker("w")

    @worker.on_event("demo.go")
    async def go(event, client):
        handled.append(event.payload["n"])

    return worker


async def leave_behind(path, count):
    """Have a worker known to a broker, and events for it that it has not handled."""
    async with Runtime(port=None, broker=SqliteBroker(path)) as runtime:
        await runtime.add(worker_that_notes([]))
    async with Runtime(port=None, broker=SqliteBroker(path)) as runtime:
        events = [runtime.publish("demo.go", {"n": n}) for n in range(count)]
        await asyncio.gather(*(runtime.bus.accepted(event) for event in events))


@pytest.mark.parametrize("count", [1, MOST_EVENTS * 2 + 1])
async def test_it_returns_when_a_backlog_is_handled_however_late_it_is_read(tmp_path, count):
    await leave_behind(tmp_path / "b.sqlite", count)
    handled, broker = [], GatedBroker(tmp_path / "b.sqlite")
    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker_that_notes(handled))
        await broker.is_asked.wait()
        settling = asyncio.ensure_future(runtime.settle(timeout=None))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not settling.done()
        broker.gate.set()
        await settling
        assert handled == list(range(count))


async def test_it_says_what_it_waits_for_where_nothing_is_read_in_time(tmp_path):
    await leave_behind(tmp_path / "b.sqlite", 1)
    broker = GatedBroker(tmp_path / "b.sqlite")
    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker_that_notes([]))
        with pytest.raises(TimeoutError, match="queued events"):
            await runtime.settle(timeout=0.01)


async def test_a_worker_that_stops_before_its_backlog_is_read_is_waited_for_no_more(tmp_path):
    await leave_behind(tmp_path / "b.sqlite", 1)
    broker = GatedBroker(tmp_path / "b.sqlite")
    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker_that_notes([]))
        await broker.is_asked.wait()
        await runtime.remove("w")
        await runtime.settle()


async def test_a_broker_that_fails_for_a_while_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("dnworker.events.brokers.kept.consumer.RETRY_SECONDS", 0)
    await leave_behind(tmp_path / "b.sqlite", 3)
    handled, broker, tries = [], SqliteBroker(tmp_path / "b.sqlite"), []
    page = broker.page

    async def fails_twice(*args, **options):
        tries.append(1)
        if len(tries) < 3:
            raise BrokerError("the disk is away")
        return await page(*args, **options)

    monkeypatch.setattr(broker, "page", fails_twice)
    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker_that_notes(handled))
        await runtime.settle()
    assert handled == [0, 1, 2]


async def test_what_is_read_of_a_kind_that_is_new_to_a_worker_is_waited_for(tmp_path):
    broker = GatedBroker(tmp_path / "b.sqlite")
    broker.gate.set()
    async with Runtime(port=None, broker=broker) as runtime:
        consumer = broker.subscribe("demo:w", ["demo.go"], watcher=runtime.history)
        await runtime.bus.accepted(runtime.publish("demo.added", {}))
        await runtime.settle()
        broker.gate.clear()
        consumer.retarget(["demo.go", "demo.added"], BEGINNING)
        assert not runtime.history.is_idle()
        broker.gate.set()
        event = await anext(consumer)
        assert event.kind == "demo.added"
        runtime.history.delivered(event)
        await runtime.settle()
        consumer.close()
