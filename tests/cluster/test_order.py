"""All runtimes of a namespace see one order, whatever is published where, and nothing of other namespaces."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.errors import NotStored, TooLarge
from dnworker.events.brokers.jetstream.pulling import PORTION

from ..conformance.stage import handle, next_of
from .nodes import nodes, until


async def test_two_brokers_see_the_events_of_both_in_one_order(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        begun = [(one, two)[n % 2].begin(payload={"n": n}) for n in range(400)]
        accepted = [(await each).envelope for each in begun]
        await until(lambda: len(one.seen) == len(two.seen) == 400)
        assert one.seen == two.seen
        assert [seq for seq, _ in one.seen] == [*range(1, 401)]
        assert {(each.seq, each.event_id) for each in accepted} == set(one.seen)


async def test_what_one_runtime_publishes_keeps_its_order(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        for begun in [one.begin(payload={"n": n}) for n in range(300)]:
            await begun
        await until(lambda: len(two.seen) == 300)
        assert [each.payload["n"] for each in two.outlet.delivered] == [*range(300)]


async def test_a_reader_keeps_its_consumer_over_many_portions(shared_server):
    async with nodes(shared_server, 1) as (one,):
        connected = one.broker.connected

        async def consumers() -> list[str]:
            answer = await connected.api.ask(f"CONSUMER.NAMES.{connected.names.events}", {})
            return sorted(answer["consumers"])

        await one.publish(payload={"n": 0})
        before = await consumers()
        for begun in [one.begin(payload={"n": n}) for n in range(4 * PORTION)]:
            await begun
        assert await consumers() == before != []


async def test_namespaces_whose_names_begin_alike_have_nothing_in_common(shared_server):
    async with (
        nodes(shared_server, 1, namespace="a") as (one,),
        nodes(shared_server, 1, namespace="a-ev") as (two,),
        nodes(shared_server, 1, namespace="a-b") as (three,),
    ):
        for node in (one, two, three):
            await node.publish(node.broker.settings.namespace)
            await node.broker.put("key", node.broker.settings.namespace.encode())
        for node in (one, two, three):
            assert [each.kind for each in node.outlet.delivered] == [node.broker.settings.namespace]
            assert (await node.broker.get("key")).value == node.broker.settings.namespace.encode()


HOSTILE = [
    "a.b",
    "a b",
    "*",
    ">",
    "a.>",
    "$SYS.x",
    "ä€😀",
    "_",
    "=",
    "",
    "x" * 512,
    "é" * 512,
    "a\r\nb: c",
    "\x00",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_kinds_sessions_workers_and_keys_may_be_any_text(shared_server, text):
    async with nodes(shared_server, 1) as (node,):
        other = f"{text}."
        consumer = node.broker.subscribe(text, [text])
        await node.publish(text, {"n": 1}, session=text)
        await node.publish(other, {"n": 2}, session=other)
        await node.publish(text, {"n": 3}, session=other, only=text)
        events = await next_of(consumer, 2)
        assert [event.payload["n"] for event in events] == [1, 3]
        assert [event.kind for event in events] == [text, text]
        assert [each.payload["n"] for each in await node.broker.replay(text, 0)] == [1]
        assert [each.payload["n"] for each in await node.broker.replay(other, 0)] == [2, 3]
        await node.broker.put(text, b"1", seconds=30)
        assert (await node.broker.get(text)).value == b"1"
        assert await node.broker.keys("") == [text]
        consumer.close()
        again = node.broker.subscribe(text, [text])
        assert [event.payload["n"] for event in await next_of(again, 2)] == [1, 3]
        for event in events:
            handle(again, event)
        again.close()
        assert [info.worker for info in await node.broker.cursors()] == [text]
        assert (await node.broker.acquire(text, text, 10)).holder == text


async def test_an_event_over_the_limit_of_the_server_is_refused_in_one_line(tmp_path):
    from dnworker.testing.nats_server import NatsServer

    with NatsServer(tmp_path, config="max_payload: 20000") as small:
        async with nodes(small, 1) as (node,):
            with pytest.raises(TooLarge, match=r"has 2\d,\d{3} bytes; nats://127.* takes 20,000") as info:
                await node.publish(payload={"text": "x" * 20_000})
            assert "\n" not in str(info.value)
            assert (await node.publish(payload={"text": "x" * 15_000})).seq == 1
            with pytest.raises(NotStored, match="keep it in a file"):
                await node.broker.put("key", b"x" * 20_000)


async def test_an_id_is_known_as_long_as_its_event_is_kept(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        first = await one.publish(payload={"n": 1}, event_id="i.d", is_idempotent=True)
        every = [(one, two)[n % 2].begin("demo.else", event_id="i.d", is_idempotent=True) for n in range(6)]
        for again in await asyncio.gather(*every):
            assert (again.is_new, again.envelope.seq, again.envelope.kind) == (False, first.seq, "demo.go")
        await one.publish()
        await until(lambda: len(two.seen) == 2)
        assert [seq for seq, _ in two.seen] == [1, 2]
