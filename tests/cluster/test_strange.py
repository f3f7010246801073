"""What others write to the stream and the bucket stops nobody: it is left out, and said."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.envelope import EventEnvelope, encode, pack
from dnworker.core.errors import NotStored
from dnworker.events.brokers.base import BEGINNING, Outcome
from dnworker.events.brokers.jetstream import pulling
from dnworker.events.brokers.kept import consumer as kept

from ..conformance.stage import handle_next, numbers
from .nodes import Node, nodes, until


async def write(node: Node, data: bytes, headers: dict[str, str] | None = None) -> None:
    """Write a message to the stream of events that may be none."""
    subject = node.broker.connected.names.event(None, None, None, "demo.go")
    await node.broker.connected.api.request(subject, data, headers)


WHOLE = encode(EventEnvelope(seq=1, kind="demo.go", payload=pack({})[0]))

STRANGE = {
    "no text": b"\xff\xfe\x00",
    "no object": b"[]",
    "another type": b'{"kind": 7, "payload": {}}',
    "no utf-8 within": WHOLE.replace(b"demo.go", b"demo.\xff"),
    "too deep": WHOLE.replace(b"{}", b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    "nothing": b"",
}


@pytest.mark.parametrize("name", [*STRANGE])
async def test_a_message_that_is_no_event_is_left_out_and_said_once(shared_server, caplog, name):
    async with nodes(shared_server, 1) as (node,):
        await node.publish(payload={"n": 1})
        await write(node, STRANGE[name])
        await node.publish(payload={"n": 2})
        for _ in range(2):  # live, and from the backlog
            consumer = node.broker.subscribe("demo:w", ["demo.go"], start=BEGINNING)
            assert numbers(await handle_next(consumer, 2)) == [1, 2]
            consumer.close()
            await node.broker.reset("demo:w", BEGINNING)
        assert caplog.text.count("event 2 of the stream cannot be read") == 2  # by the reader, by the backlog


async def test_a_worker_whose_page_cannot_be_read_is_tried_again(shared_server, monkeypatch, caplog):
    monkeypatch.setattr(kept, "RETRY_SECONDS", 0.01)
    async with nodes(shared_server, 1) as (node,):
        await node.publish(payload={"n": 1})
        page, problems = node.broker.page, [RuntimeError("once"), RuntimeError("twice")]

        async def failing(*args, **options):
            if problems:
                raise problems.pop(0)
            return await page(*args, **options)

        monkeypatch.setattr(node.broker, "page", failing)
        consumer = node.broker.subscribe("demo:w", ["demo.go"], start=BEGINNING)
        assert numbers(await handle_next(consumer)) == [1]
        assert "demo:w waits for its events: once" in caplog.text
        assert "Traceback" in caplog.text


async def test_what_is_due_again_and_cannot_be_read_now_comes_later(shared_server, monkeypatch):
    monkeypatch.setattr(kept, "RETRY_SECONDS", 0.01)
    async with nodes(shared_server, 1) as (node,):
        consumer = node.broker.subscribe("demo:w", ["demo.go"])
        await node.publish(payload={"n": 1})
        event = await anext(consumer)
        consumer.note_begin(event.event_id, "on_go")
        by_seq, problems = node.broker.by_seq, [RuntimeError("once")]

        async def failing(numbers):
            if problems:
                raise problems.pop()
            return await by_seq(numbers)

        monkeypatch.setattr(node.broker, "by_seq", failing)
        consumer.release(event.event_id, 0.01)
        consumer.note_end(event.event_id, Outcome("on_go", "failed"))
        consumer.handed_out(event.event_id)
        assert numbers(await handle_next(consumer)) == [1]
        assert not problems
        await until(lambda: not consumer._due)


async def test_a_consumer_that_a_tap_closes_while_an_event_is_delivered_has_not_had_it(shared_server):
    async with nodes(shared_server, 1) as (node,):
        consumer = node.broker.subscribe("demo:w", ["demo.go"])
        await consumer.claimed
        deliver = node.outlet.deliver

        def close_first(*args):
            consumer.close()
            return deliver(*args)

        node.outlet.deliver = close_first
        await node.publish(payload={"n": 1})
        node.outlet.deliver = deliver
        assert numbers(await handle_next(node.broker.subscribe("demo:w", ["demo.go"]))) == [1]


async def test_a_close_that_is_cancelled_ends_all_the_same(shared_server):
    async with nodes(shared_server, 1) as (node,):
        node.broker.subscribe("demo:w", ["demo.go"])
        await node.publish()
        node.broker._outbox._can_send = lambda: False  # as of a server that takes nothing
        begun = node.begin()
        closing = asyncio.create_task(node.broker.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(NotStored, match="closed"):
            await asyncio.wait_for(begun, 5)
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("dnworker ")]


async def test_an_event_that_is_larger_than_a_portion_comes_and_so_do_those_behind_it(
    shared_server, monkeypatch
):
    monkeypatch.setattr(pulling, "PORTION_BYTES", 10_000)
    async with nodes(shared_server, 1) as (node,):
        await node.publish(payload={"n": 1, "text": "x" * 100_000})
        await node.publish(payload={"n": 2})
        page = await node.broker.page(
            {"demo.go": 0}, 0, node.broker.delivered_seq, most=10, max_bytes=10_000, worker="demo:w"
        )
        assert [one.envelope.payload["n"] for one in page.events] == [1, 2]


async def test_a_value_of_strangers_among_what_was_let_go_keeps_no_node_from_starting(shared_server, caplog):
    async with nodes(shared_server, 1, namespace="strangers") as (node,):
        await node.broker._bucket.write("letgo", "strange", b"\xff\xff")
        async with nodes(shared_server, 1, namespace="strangers") as (late,):
            assert (await late.publish()).seq == 1
        assert "what was let go by strange cannot be read" in caplog.text
