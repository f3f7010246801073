"""Runtimes that are attached in a ring: each event is handled once at each of them, and then goes no further."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from dnworker import Runtime
from dnworker.core.envelope import EventEnvelope, decode, encode
from dnworker.core.hops import MOST_HOPS, checked_via, via_of
from dnworker.engine.past_envelopes import PastEnvelopes
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.causes import published_by
from dnworker.events.past_events import Wanted

from .rig import TOKEN, Proxy, attached, listener, settled, until


class Ring:
    """Three runtimes; the first gets the events of the second, that one those of the third, and so on."""

    def __init__(self) -> None:
        self.runtimes, self.got, self.attachments, self.proxies = [], [], [], []

    async def open(self, stack: AsyncExitStack, *, live: bool) -> None:
        for _ in range(3):
            runtime = await stack.enter_async_context(Runtime(port=0, token=TOKEN))
            worker, got = listener()
            await runtime.add(worker)
            self.runtimes.append(runtime)
            self.got.append(got)
        for n, runtime in enumerate(self.runtimes):
            other = self.runtimes[(n + 1) % 3]
            proxy = await stack.enter_async_context(Proxy(other.url))
            self.proxies.append(proxy)
            made = await stack.enter_async_context(attached(runtime, other, url=proxy.url, live=live))
            self.attachments.append(made)

    async def has_come_round(self, events: int) -> None:
        """Return when the first runtime, which published them, has had all of them back."""
        await until(lambda: self.attachments[0].skipped == events)
        for attachment in self.attachments:
            await settled(attachment)


@pytest.fixture
async def make_ring():
    async with AsyncExitStack() as stack:

        async def make(*, live: bool = False) -> Ring:
            ring = Ring()
            await ring.open(stack, live=live)
            return ring

        yield make


@pytest.mark.parametrize("live", [False, True])
async def test_an_event_goes_round_a_ring_once(make_ring, caplog, live):
    ring = await make_ring(live=live)
    for n in range(20):
        ring.runtimes[0].publish("order.placed", {"n": n})
    await ring.has_come_round(20)
    counts = [len(got) for got in ring.got]
    await asyncio.sleep(0.2)  # what goes on would have come by now: a round takes milliseconds
    assert counts == [len(got) for got in ring.got] == [20, 20, 20]
    assert "in a ring; events that come back are left out" in ring.attachments[0].detail
    assert ring.attachments[0].state == "following"
    assert ring.attachments[1].detail == ""
    assert sum("in a ring" in one for one in caplog.messages) == 1


async def test_an_event_that_is_recorded_meanwhile_goes_round_a_ring_once(make_ring):
    ring = await make_ring()
    for proxy in ring.proxies:
        proxy.is_closed = True
        proxy.cut()
    await until(lambda: all(one.state == "lost" for one in ring.attachments))
    ring.runtimes[0].publish("order.placed", {"n": 1})
    for proxy in (ring.proxies[2], ring.proxies[1], ring.proxies[0]):  # the last one gets it by history alone
        proxy.is_closed = False
        await until(lambda: any(one.state == "following" for one in ring.attachments))
    await ring.has_come_round(1)
    assert [len(got) for got in ring.got] == [1, 1, 1]


async def test_a_chain_passes_copies_on(make_ring):
    async with (
        Runtime(port=0, token=TOKEN) as first,
        Runtime(port=0, token=TOKEN) as second,
        Runtime(port=0, token=TOKEN) as third,
    ):
        (middle, _), (last, got) = listener(), listener()
        await second.add(middle)
        await third.add(last)
        async with attached(second, first), attached(third, second) as attachment:
            first.publish("order.placed", {"n": 1})
            await until(lambda: got)
            copy = attachment.rows()[0]
            assert third.history.causes.via(copy.local_event_id) == (first.runtime_id, second.runtime_id)
            assert attachment.detail == ""


@pytest.mark.parametrize("kept", ["durable", "journal"])
async def test_what_is_kept_over_a_restart_names_the_runtimes_by_which_it_has_come(tmp_path, kept):
    def runtime() -> Runtime:
        file = tmp_path / "events.db"
        if kept == "durable":
            return Runtime(port=0, token=TOKEN, broker=SqliteBroker(file))
        return Runtime(port=0, token=TOKEN, journal=file)

    async with runtime() as first:
        with published_by("pulled from there", ("other", "middle")):
            copy = first.publish("order.placed", {"n": 1})
        await first.bus.accepted(copy)
        first.publish("order.placed", {"via": ["x"]})
        handled, _ = listener()
        await first.add(handled)
    async with runtime() as again:
        page = await PastEnvelopes(again).page(
            Wanted(kinds=("order.placed",)), 10, last=None, after=None, cursor=None
        )
        frames = [bytes(one) for one in page.envelopes]
        assert [via_of(frame) for frame in frames] == [("other", "middle"), ()]
        assert decode(frames[0]).event_id == copy.event_id


async def test_a_ring_whose_runtime_has_restarted_over_its_file_passes_no_event_round_again(tmp_path):
    def durable() -> Runtime:
        return Runtime(port=0, token=TOKEN, broker=SqliteBroker(tmp_path / "events.db"))

    async with AsyncExitStack() as stack:
        first, third = [await stack.enter_async_context(Runtime(port=0, token=TOKEN)) for _ in range(2)]
        worker, got = listener()
        await first.add(worker)
        await third.add(listener()[0])
        async with durable() as second:
            await second.add(listener()[0])
            proxy = await stack.enter_async_context(Proxy(second.url))
            back = await stack.enter_async_context(attached(first, second, url=proxy.url, live=True))
            await stack.enter_async_context(attached(third, first, live=True))
            proxy.is_closed = True
            proxy.cut()
            await until(lambda: back.state == "lost")
            async with attached(second, third, live=True) as there:
                first.publish("order.placed", {"n": 1})
                await until(lambda: any(one.kind == "order.placed" for one in second.history.events(50)))
                await settled(there)
        async with durable() as again:
            proxy.aim(again.url)
            proxy.is_closed = False
            await until(lambda: back.skipped == 1)
            assert len(got) == 1


def test_a_frame_names_the_runtimes_of_a_copy_alone():
    event = EventEnvelope(seq=1, kind="a", payload={"via": ["x"]})
    assert via_of(encode(event)) == ()
    text = encode(event).decode()[:-1] + ',"via":["a","b"]}'
    assert via_of(text) == ("a", "b")


@pytest.mark.parametrize("said", [None, "a", [1, None], {"a": 1}])
def test_what_another_program_says_is_no_runtime(said):
    assert checked_via(said) == ()


def test_what_another_program_says_is_bounded():
    found = checked_via(["x" * 1_000_000] * 10_000)
    assert len(found) == MOST_HOPS
    assert max(map(len, found)) <= 128
    assert via_of('{"via": 7}') == ()
    assert via_of("no json, with via: " + '"via":') == ()
