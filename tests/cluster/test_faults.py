"""What is accepted is kept and handled, whatever becomes of the server; what is gone is said."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from dnworker.core.errors import BrokerError, NotStored
from dnworker.events.brokers.base import BEGINNING
from dnworker.events.brokers.jetstream import backlog, connecting, cursors, outbox
from dnworker.events.brokers.jetstream.api import Away

from ..conformance.stage import handle, handle_next, next_of, numbers, queued_in
from .nodes import Node, nodes, until


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Connect again without waiting long, and leave the log of lost connections to the tests that read it."""
    monkeypatch.setattr(connecting, "RECONNECT_SECONDS", 0.05)


async def work(consumer, taken: list[str]) -> None:
    """Handle everything that comes."""
    async for event in consumer:
        taken.append(event.event_id)
        await asyncio.sleep(0)
        handle(consumer, event)


async def test_a_server_that_is_killed_amid_publishing_loses_and_doubles_nothing(server):
    async with nodes(server, 2) as (one, two):
        consumer, taken = one.broker.subscribe("demo:w", ["demo.go"]), []
        worker = asyncio.create_task(work(consumer, taken))
        begun = []
        for n in range(2_000):
            begun.append((one, two)[n % 2].begin(payload={"n": n}))
            if n in (700, 1_400):
                await begun[n // 2]
                server.kill()
                server.start()
        results = await asyncio.gather(*begun, return_exceptions=True)
        accepted = [result.envelope for result in results if not isinstance(result, BaseException)]
        assert len(accepted) == 2_000
        assert len({each.seq for each in accepted}) == 2_000
        await until(lambda: len(taken) >= 2_000)
        await until(lambda: len(one.seen) == len(two.seen))
        assert one.seen == two.seen
        assert Counter(taken) == Counter(each.event_id for each in accepted)
        consumer.close()
        await worker


async def test_while_the_server_is_away_that_is_said_and_then_it_goes_on(server, caplog):
    async with nodes(server, 1) as (node,):
        consumer = node.broker.subscribe("demo:w", ["demo.go"])
        await node.publish(payload={"n": 0})
        await queued_in(consumer, 1)
        server.kill()
        await until(lambda: node.broker.failure)
        assert f"{server.url} is away since" in node.broker.failure
        begun = node.begin(payload={"n": 1})
        (event,) = await handle_next(consumer)  # what it has goes on
        with pytest.raises(NotStored, match="is away"):
            await node.broker.put("key", b"")
        with pytest.raises(BrokerError):
            await node.broker.get("key")
        assert not begun.done()
        server.start()
        assert (await begun).envelope.seq == event.seq + 1
        assert node.broker.failure is None
        assert numbers(await handle_next(consumer)) == [1]
        await node.broker.put("key", b"")
        said = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(said) <= 4, [record.getMessage() for record in said]


async def test_what_no_server_acknowledges_in_time_is_refused(server, monkeypatch):
    monkeypatch.setattr(outbox, "PUBLISH_SECONDS", 0.5)
    async with nodes(server, 1) as (node,):
        server.kill()
        with pytest.raises(NotStored, match="was not stored within") as info:
            await node.publish()
        assert "\n" not in str(info.value)
        server.start()
        await until(lambda: node.broker.failure is None)
        assert (await node.publish()).seq >= 1


async def test_a_holder_whose_cursor_was_taken_over_writes_nothing(shared_server, caplog):
    async with nodes(shared_server, 2) as (late, present):
        old = late.broker.subscribe("demo:w", ["demo.go"])
        await late.publish(payload={"n": 0})
        await late.publish(payload={"n": 1})
        first, second = await next_of(old, 2)
        handle(old, first)
        await late.broker.write(*late.broker._cursors.values())
        new = present.broker.subscribe("demo:w", ["demo.go"])
        (again,) = await next_of(new)
        assert (again.event_id, new.number(again)) == (second.event_id, 2)
        handle(old, second)
        with pytest.raises(StopAsyncIteration):
            await anext(old)  # it is told when it writes
        assert "demo:w was taken over by node-1" in caplog.text
        (info,) = await present.broker.cursors()
        assert (info.handled_to, info.outstanding) == (1, []) or info.outstanding == [2]
        handle(new, again)
        await present.broker.write(*present.broker._cursors.values())
        (info,) = await late.broker.cursors()
        assert (info.handled_to, info.outstanding, info.pending) == (2, [], 0)


async def test_who_claims_last_has_a_worker_that_two_begin_at_once(shared_server):
    async with nodes(shared_server, 2) as both:
        consumers = [node.broker.subscribe("demo:w", ["demo.go"]) for node in both]
        await asyncio.gather(*(consumer.claimed for consumer in consumers))
        for node in both:
            node.broker.write(*node.broker._cursors.values())
        await until(lambda: sum("demo:w" in node.broker._cursors for node in both) == 1)
        await both[0].publish(payload={"n": 1})
        (open_one,) = [one for one in consumers if not one._closed]
        assert numbers(await handle_next(open_one)) == [1]


async def test_a_hand_over_gives_the_next_one_what_was_not_handled_and_nothing_else(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        consumer = one.broker.subscribe("demo:w", ["demo.go"])
        for n in range(10):
            await two.publish(payload={"n": n})
        await handle_next(consumer, 4)
        consumer.close()
        await one.broker.write(*one.broker._cursors.values())
        events = await handle_next(next_one := two.broker.subscribe("demo:w", ["demo.go"]), 6)
        assert numbers(events) == [4, 5, 6, 7, 8, 9]
        assert [next_one.number(event) for event in events] == [1] * 6


async def test_what_no_stream_takes_yet_is_sent_until_one_does(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        api, other = one.broker.connected.api, two.broker.connected.client
        asking = asyncio.create_task(api.request("late.stream", b"x"))
        await asyncio.sleep(0.2)  # as while a stream that was just made is not known to all servers
        assert not asking.done()

        async def answer(message):
            await message.respond(b'{"seq": 7}')

        await other.subscribe("late.stream", cb=answer)
        assert await asking == {"seq": 7}


async def test_what_no_stream_ever_takes_is_refused_in_time(shared_server):
    async with nodes(shared_server, 1) as (node,):
        node.broker.connected.api._seconds = 0.5
        with pytest.raises(
            BrokerError, match="JetStream does not answer: it is off, starts, or has no leader"
        ):
            await node.broker.connected.api.request("no.stream", b"x")


async def test_a_reader_that_misses_messages_reads_them_again(shared_server, caplog):
    async with nodes(shared_server, 2) as (one, two):
        reader, lost = two.broker._reader.stream, []
        come = reader._come

        async def lose(generation, message):
            if message.reply and len(lost) < 3 and len(two.seen) > 10:
                lost.append(message)
                return
            await come(generation, message)

        reader._come = lose
        reader.restart()
        for begun in [one.begin(payload={"n": n}) for n in range(200)]:
            await begun
        await until(lambda: len(two.seen) == 200)
        assert lost
        assert two.seen == one.seen
        assert "missed messages on their way" in caplog.text


async def test_events_that_are_purged_before_a_runtime_has_read_them_are_said(server, caplog):
    async with nodes(server, 2) as (one, two):
        two.broker.subscribe("demo:w", ["demo.go"]).close()
        await one.publish()
        await until(lambda: len(two.seen) == 1)
        await two.broker._reader.stream.close()
        for _ in range(5):
            await one.publish()
        await one.broker.connected.api.ask(f"STREAM.PURGE.{one.broker.connected.names.events}", {"seq": 5})
        stream = two.broker._reader.stream
        stream._is_closed = False
        stream.start()
        await until(lambda: [seq for seq, _ in two.seen] == [1, 5, 6])
        assert "events 2 to 4 are gone before this node has read them" in caplog.text
        assert await two.broker.dropped_to() == 4
        assert len(await next_of(two.broker.subscribe("demo:w", ["demo.go"]), 2)) == 2
        assert "demo:w comes too late for events" in caplog.text


async def test_a_server_that_has_lost_everything_is_never_taken_for_the_one_before(server, caplog):
    async with nodes(server, 2, namespace="lost") as (one, two):
        consumer = one.broker.subscribe("demo:w", ["demo.go"])
        for n in range(5):
            await one.publish(payload={"n": n})
        await handle_next(consumer, 5)
        await one.broker.write(*one.broker._cursors.values())
        server.kill()
        server.lose_everything()
        server.start()
        await until(lambda: "is not there" in (one.broker.failure or ""))
        async with nodes(server, 1, namespace="lost") as (fresh,):  # which makes the stream anew
            assert (await fresh.publish(payload={"n": 5})).seq == 1
            await until(lambda: "was made anew" in (one.broker.failure or ""))
            await until(lambda: "was made anew" in (two.broker.failure or ""))
            with pytest.raises(NotStored, match="restart this node"):
                await one.publish()
            assert consumer.take() is None
            assert len(two.seen) == 5


async def test_a_bucket_that_is_lost_is_a_failure_and_never_taken_for_the_one_before(server):
    async with nodes(server, 1, namespace="bucket") as (node,):
        api, names = node.broker.connected.api, node.broker.connected.names
        await api.ask(f"STREAM.DELETE.{names.store}")
        await until(lambda: f"the bucket {names.store} is not there" in (node.broker.failure or ""))
        async with nodes(server, 1, namespace="bucket") as (fresh,):  # which makes the bucket anew
            await until(lambda: "what workers have handled, is gone" in (node.broker.failure or ""))
            with pytest.raises(NotStored, match="restart this node"):
                await node.publish()
            assert fresh.broker.failure is None


async def test_a_stream_whose_newest_events_are_gone_is_not_gone_on_with(shared_server):
    async with nodes(shared_server, 1) as (node,):
        await node.publish()
        node.broker._reader.seq = 7  # as if the server had lost what it acknowledged
        node.broker._reader.stream.restart()
        await until(lambda: "has lost its newest events" in (node.broker.failure or ""))
        with pytest.raises(NotStored, match="has lost its newest events"):
            await node.publish()


async def test_a_server_without_room_refuses_events_and_goes_on_when_there_is_room(server):
    async with nodes(server, 1) as (node,):
        api, names = node.broker.connected.api, node.broker.connected.names
        info = await api.info(names.events)
        await api.ask(
            f"STREAM.UPDATE.{names.events}", {**info.config, "discard": "new", "max_bytes": 1_000_000}
        )
        accepted = 0
        with pytest.raises(NotStored, match="see to the server's disk and limits"):
            while accepted < 10:
                await node.publish(payload={"text": "x" * 200_000})
                accepted += 1
        assert 0 < len(node.seen) == accepted < 10
        await api.ask(f"STREAM.PURGE.{names.events}")
        assert (await node.publish()).seq == accepted + 1
        assert len(node.seen) == accepted + 1


async def test_a_hundred_thousand_outstanding_events_are_written_and_read_again(shared_server, monkeypatch):
    monkeypatch.setattr(cursors, "PART_BYTES", 20_000)
    async with nodes(shared_server, 2) as (one, two):
        consumer = one.broker.subscribe("demo:w", ["demo.go"])
        await one.publish()
        (event,) = await next_of(consumer)
        cursor = one.broker._cursors["demo:w"]
        many = {
            2 * n: cursors.Outstanding(
                1 + n % 3, 2e9 + n * 0.7 if n % 2 else None, ["on_go"] if n % 5 == 0 else []
            )
            for n in range(1, 100_001)
        }
        consumer._aside = many
        await one.broker.write(cursor)
        stored, _ = await two.broker.store.read("demo:w")
        assert stored.parts > 1
        bucket = two.broker.store._bucket
        parts = cursors.part_keys("demo:w", stored.parts_of, stored.parts)
        assert all([(await bucket.last(cursors.PARTS, key)).data for key in parts])
        assert cursors.unpack(stored.outstanding) == cursor.outstanding
        assert len(cursor.outstanding) >= 100_000
        consumer._aside = {}
        handle(consumer, event)
        await one.broker.write(cursor)
        stored, _ = await two.broker.store.read("demo:w")
        assert (stored.parts, stored.outstanding) == (0, b"")
        left = [await bucket.last(cursors.PARTS, key) for key in parts]
        assert not [one for one in left if one is not None and one.data]


async def test_a_close_while_events_are_published_ends_every_one_of_them(shared_server):
    async with nodes(shared_server, 1) as (node,):
        begun = [node.begin(payload={"n": n}) for n in range(500)]
        await asyncio.sleep(0)
        await node.broker.close()
        results = await asyncio.gather(*begun, return_exceptions=True)
        assert all(isinstance(one, NotStored) or one.is_new for one in results)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("dnworker ")]
        with pytest.raises(NotStored, match="closed"):
            await node.publish()


async def test_whoever_is_cancelled_takes_nothing_else_along(shared_server):
    async with nodes(shared_server, 1) as (node,):
        consumer = node.broker.subscribe("demo:w", ["demo.go"])
        for n in range(50):
            publishing = asyncio.create_task(node.publish(payload={"n": n}))
            putting = asyncio.create_task(node.broker.put(f"key.{n}", b""))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            publishing.cancel()
            putting.cancel()
            await asyncio.gather(publishing, putting, return_exceptions=True)
        await node.publish(payload={"n": 50})
        got = []
        while not got or got[-1] != 50:
            got += numbers(await handle_next(consumer))
        assert got == sorted(got)
        await node.broker.put("last", b"")
        assert "last" in await node.broker.keys("")


async def test_the_backlog_of_a_worker_is_read_in_pages_by_who_takes_it_over(shared_server, monkeypatch):
    monkeypatch.setattr(backlog, "AT_ONCE", 3)
    async with nodes(shared_server, 2) as (one, two):
        one.broker.subscribe("demo:w", ["demo.go"]).close()
        for begun in [one.begin(("demo.go", "demo.no")[n % 2], {"n": n}) for n in range(3_000)]:
            await begun
        await until(lambda: len(two.seen) == 3_000)
        consumer = two.broker.subscribe("demo:w", ["demo.go"])
        most, got = 0, []
        for _ in range(1_500):
            got += numbers(await handle_next(consumer))
            most = max(most, len(consumer))
        assert got == [*range(0, 3_000, 2)]
        assert most <= 2_000


async def test_a_worker_that_begins_at_the_beginning_gets_what_other_runtimes_published(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        await one.publish(payload={"n": 1})
        await until(lambda: two.seen)
        consumer = two.broker.subscribe("demo:w", ["demo.go"], start=BEGINNING)
        assert numbers(await handle_next(consumer)) == [1]


async def test_a_namespace_of_another_version_is_refused(shared_server, monkeypatch):
    async with nodes(shared_server, 1, namespace="version") as (node,):
        await node.publish()
    monkeypatch.setattr(connecting, "FORMAT", "2")
    with pytest.raises(BrokerError, match=r"used by another version of dnworker \(format 1\)"):
        await Node(shared_server, "version", "late").broker.open("run")


async def test_no_server_is_one_line_without_what_is_secret():
    settings = connecting.ServerSettings(servers=("nats://me:secret@127.0.0.1:1",))
    with pytest.raises(BrokerError, match=r"no server answers at 127\.0\.0\.1:1") as info:
        await connecting.connect(settings)
    assert "secret" not in str(info.value) + repr(settings.address)
    assert "\n" not in str(info.value)


async def test_a_stream_that_nobody_leads_yet_is_asked_for_again(server, monkeypatch):
    refused = []
    find_or_make = connecting._find_or_make

    async def find_later(connected, config):
        if len(refused) < 3:
            refused.append(config["name"])
            raise Away("the server does not answer (timeout)")
        return await find_or_make(connected, config)

    monkeypatch.setattr(connecting, "_find_or_make", find_later)
    async with nodes(server, 1) as (node,):
        assert (await node.publish()).seq == 1
    assert len(refused) == 3
    monkeypatch.setattr(connecting, "LEADER_SECONDS", 0.2)
    refused.clear()
    monkeypatch.setattr(connecting, "RECONNECT_SECONDS", 0.3)
    with pytest.raises(
        BrokerError, match=r"keeps no events for the namespace .* \(the server does not answer"
    ):
        await connecting.connect(connecting.ServerSettings(servers=(server.url,), namespace="late"))


async def test_a_close_while_the_server_is_away_is_short_and_says_whose_events_come_again(server, caplog):
    async with nodes(server, 1, namespace="away") as (node,):
        consumer = node.broker.subscribe("demo:w", ["demo.go"])
        await node.publish()
        handle(consumer, await anext(consumer))
        server.kill()
        await until(lambda: node.broker.connected.failure)
        node.broker.mark(consumer._cursor)
        began = asyncio.get_running_loop().time()
        assert not await node.broker.settled("demo:w", 30)
        await node.broker.close()
        assert asyncio.get_running_loop().time() - began < 8
    assert "it could not be written how far demo:w are: they get some events again" in caplog.messages
