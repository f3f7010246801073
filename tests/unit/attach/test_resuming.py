"""Connections that break: every event comes exactly once, or is in a gap that is told."""

from __future__ import annotations

import asyncio
import random

import pytest

from dnworker import Runtime, Worker
from dnworker.attach.attaching import attach
from dnworker.core.limits import Limits
from dnworker.events.brokers.sqlite.broker import SqliteBroker

from .rig import TOKEN, Proxy, attached, flagger, listener, settled, until


def numbers(got) -> list[int]:
    return [event.payload["n"] for event in got]


@pytest.mark.parametrize("seed", range(6))
async def test_a_connection_that_is_cut_anywhere_loses_and_doubles_nothing(here, there, seed):
    chance = random.Random(seed)
    worker, got = listener()
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        for n in range(300):
            there.publish("order.placed", {"n": n, "text": "x" * chance.randrange(2_000)})
            if chance.random() < 0.05:
                proxy.cut_after = proxy.bytes_down + chance.randrange(20_000)
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 50)
        proxy.cut_after = None
        await until(lambda: len(got) >= 300)
        await settled(attachment)
    assert numbers(got) == [*range(300)]
    assert attachment.gaps == []
    assert attachment.received == 300


async def test_what_is_published_while_the_runtime_cannot_be_reached_comes_later(here, there):
    worker, got = listener()
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        proxy.is_closed = True
        proxy.cut()
        await until(lambda: attachment.state == "lost")
        assert attachment.detail
        assert "\n" not in attachment.detail
        for n in range(2_500):
            there.publish("order.placed", {"n": n})
        proxy.is_closed = False
        await until(lambda: len(got) == 2_500)
        await until(lambda: attachment.state == "following")
    assert numbers(got) == [*range(2_500)]
    assert attachment.gaps == []


async def test_what_the_other_runtime_has_dropped_meanwhile_is_a_gap(here):
    worker, got = listener()
    await here.add(worker)
    async with (
        Runtime(port=0, token=TOKEN, limits=Limits(history=3_000_000)) as there,
        Proxy(there.url) as proxy,
        attached(here, there, url=proxy.url) as attachment,
    ):
        proxy.is_closed = True
        proxy.cut()
        await until(lambda: attachment.state == "lost")
        for n in range(3_000):
            there.publish("order.placed", {"n": n, "text": "x" * 500})
        proxy.is_closed = False
        await until(lambda: got and numbers(got)[-1] == 2_999)
    came = numbers(got)
    assert len(came) == len({*came}) < 3_000
    assert came == sorted(came)
    assert attachment.gaps
    first = 1 + min(gap.after_seq for gap in attachment.gaps)
    missed = {seq for gap in attachment.gaps for seq in range(gap.after_seq + 1, gap.before_seq)}
    published = {first + n: n for n in range(3_000)}
    assert {n for seq, n in published.items() if seq not in missed} == {*came}


async def test_a_runtime_that_was_started_anew_is_followed_from_its_beginning(here):
    worker, got = listener()
    await here.add(worker)
    first = Runtime(port=0, token=TOKEN)
    await first.start()
    async with Proxy(first.url) as proxy:
        attachment = await attach(here, proxy.url, token=TOKEN)
        await until(lambda: attachment.state == "following")
        for n in range(3):
            first.publish("order.placed", {"n": n})
        await until(lambda: len(got) == 3)
        await first.stop()
        await until(lambda: attachment.state == "lost")
        async with Runtime(port=0, token=TOKEN) as second:
            for n in range(3, 6):
                second.publish("order.placed", {"n": n})
            proxy.aim(second.url)
            await until(lambda: len(got) == 6)
            second.publish("order.placed", {"n": 6})
            await until(lambda: len(got) == 7)
            await attachment.detach()
    assert numbers(got) == [*range(7)]
    (gap,) = attachment.gaps
    assert (gap.before_seq, "started anew" in gap.detail) == (None, True)


async def test_another_run_that_counts_as_far_is_told_though_nothing_was_taken_before(here):
    worker, got = listener()
    await here.add(worker)
    first = Runtime(port=0, token=TOKEN)
    await first.start()
    for n in range(3):
        first.publish("order.old", {"n": n})
    async with Proxy(first.url) as proxy:
        attachment = await attach(here, proxy.url, token=TOKEN)
        await until(lambda: attachment.state == "following")
        await first.stop()
        await until(lambda: attachment.state == "lost")
        async with Runtime(port=0, token=TOKEN) as second:
            for n in range(20):
                second.publish("order.placed", {"n": n})
            proxy.aim(second.url)
            await until(lambda: len(got) == 20)
            await attachment.detach()
    assert numbers(got) == [*range(20)]
    (gap,) = attachment.gaps
    assert "started anew" in gap.detail


async def test_a_durable_runtime_that_was_started_again_goes_on_without_a_gap(here, tmp_path):
    worker, got = listener()
    await here.add(worker)
    file = tmp_path / "events.durable"
    first = Runtime(port=0, token=TOKEN, broker=SqliteBroker(file))
    await first.start()
    async with Proxy(first.url) as proxy:
        attachment = await attach(here, proxy.url, token=TOKEN)
        await until(lambda: attachment.state == "following")
        for n in range(3):
            await first.bus.accepted(first.publish("order.placed", {"n": n}))
        await until(lambda: len(got) == 3)
        proxy.is_closed = True
        proxy.cut()
        await first.bus.accepted(first.publish("order.placed", {"n": 3}))
        await first.stop()
        async with Runtime(port=0, token=TOKEN, broker=SqliteBroker(file)) as second:
            proxy.aim(second.url)
            await second.bus.accepted(second.publish("order.placed", {"n": 4}))
            proxy.is_closed = False
            await until(lambda: len(got) == 5)
            await attachment.detach()
    assert numbers(got) == [*range(5)]
    assert attachment.gaps == []


async def test_a_flood_waits_for_slow_handlers_and_none_is_lost(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.delivery.MOST_WAITING", 50)
    worker, got, most = Worker("bridge"), [], [0]
    running = [0]

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.005)
        got.append(event)
        running[0] -= 1

    await here.add(worker)
    async with attached(here, there) as attachment:
        for n in range(1_500):
            there.publish("order.placed", {"n": n})
        await until(lambda: len(got) == 1_500, 40)
    assert sorted(numbers(got)) == [*range(1_500)]
    assert most[0] <= 50
    assert attachment.gaps == []


async def test_events_that_come_while_the_attachment_begins_are_not_missed(here, there):
    worker, got = listener()
    await here.add(worker)
    count, is_over = 0, False

    async def publish() -> None:
        nonlocal count
        while not is_over:
            there.publish("order.placed", {"n": count})
            count += 1
            await asyncio.sleep(0.001)

    publishing = asyncio.create_task(publish())
    async with attached(here, there) as attachment:
        is_over = True
        await publishing
        await until(lambda: got and numbers(got)[-1] == count - 1)
        assert attachment.gaps == []
    came = numbers(got)
    assert came == [*range(came[0], count)]


async def test_a_token_that_is_not_accepted_any_more_is_told(here, there):
    worker, _ = listener()
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        async with Runtime(port=0, token="another") as other:
            proxy.aim(other.url)
            proxy.cut()
            await until(lambda: "token" in attachment.detail)
            assert attachment.state == "lost"
            assert "another" not in attachment.detail
        proxy.aim(there.url)
        await until(lambda: attachment.state == "following")


@pytest.mark.parametrize("seed", range(3))
async def test_comparisons_go_on_over_cuts(here, there, seed):
    chance = random.Random(seed)
    await there.add(flagger(100))
    await here.add(flagger(200))
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url) as attachment:
        expected = 0
        for n in range(120):
            amount = chance.choice((50, 150, 250))
            expected += amount == 150
            there.publish("order.placed", {"id": n, "amount": amount})
            if chance.random() < 0.05:
                proxy.cut()
            await asyncio.sleep(0.002)
        await until(lambda: attachment.received == 120)
        await settled(attachment)
    assert (attachment.score.different, attachment.score.same) == (expected, 120 - expected)
    assert attachment.score.unknown == 0


async def test_kinds_that_come_during_a_flood_lose_and_leak_nothing(here, there, monkeypatch):
    monkeypatch.setattr("dnworker.attach.delivery.MOST_WAITING", 30)
    first, got_first = listener("one", "order.placed")
    await here.add(first)
    async with attached(here, there):
        sockets = len([*there.bus._subscribers.of_kind("order.placed")])
        got = {}
        for number in range(4):
            for n in range(100):
                there.publish("order.placed", {"n": 100 * number + n})
            worker, got[number] = listener(f"more{number}", f"order.kind{number}")
            await here.add(worker)
            await asyncio.sleep(0.02)
        await until(lambda: len(got_first) == 400)
        await until(lambda: here.attachment.kinds == here.attachment._follower.kinds)
        for number in range(4):
            there.publish(f"order.kind{number}", {"n": number})
        await until(lambda: all(len(one) == 1 for one in got.values()))
        await until(lambda: len([*there.bus._subscribers.of_kind("order.placed")]) == sockets)
    assert numbers(got_first) == [*range(400)]
