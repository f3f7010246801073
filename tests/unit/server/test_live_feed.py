"""Live events of sockets: together in one write, in order, and bounded while the client takes nothing."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from dnworker.core.envelope import SUBSCRIBER_DROPPED, encode
from dnworker.events.bus import EventBus
from dnworker.server.events import EventStream
from dnworker.server.live_feed import BYTES_A_WRITE, LiveFeed, Turn, text_frame
from dnworker.testing import make_envelope

ROOMY = 1_000, 10**9


class Client:
    """Stands for a `Wire`."""

    on_writable = None
    is_writable = True

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []

    def write(self, frames):
        self.writes.append([*frames])

    def resume(self):
        self.is_writable = True
        if self.on_writable is not None:
            self.on_writable()

    @property
    def frames(self):
        return [frame for write in self.writes for frame in write]


def frames(*events):
    return [text_frame(encode(event)) for event in events]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_is_that_of_the_library(size):
    text = b"x" * size
    assert text_frame(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


async def test_all_events_of_a_turn_go_out_in_one_write_to_each():
    turn, bus, clients = Turn(), EventBus(), [Client(), Client()]
    for client in clients:
        feed = LiveFeed(turn, frozenset({"a"}), *ROOMY)
        bus.remember(feed)
        feed.open(client)
    events = [bus.publish("a", {"n": n}) for n in range(3)]
    assert [client.writes for client in clients] == [[], []]
    await asyncio.sleep(0)
    assert [client.writes for client in clients] == [[frames(*events)], [frames(*events)]]
    assert all(a is b for a, b in zip(clients[0].frames, clients[1].frames, strict=True))


async def test_what_is_published_before_the_socket_is_open_comes_first():
    turn, client = Turn(), Client()
    feed = LiveFeed(turn, None, *ROOMY)
    events = [make_envelope("a", {"n": n}) for n in range(2)]
    feed.put(events[0])
    await asyncio.sleep(0)
    feed.open(client)
    feed.put(events[1])
    await asyncio.sleep(0)
    assert client.frames == frames(*events)


@given(st.lists(st.sampled_from(["put", "big", "turn", "pause", "resume"]), max_size=60))
def test_whatever_the_client_takes_when_it_gets_every_event_once_and_in_order(steps):
    async def play() -> None:
        client, feed = Client(), LiveFeed(Turn(), None, *ROOMY)
        feed.open(client)
        put = []
        for step in steps:
            if step in ("put", "big"):
                put.append(make_envelope("a", {"x": "y" * (40_000 if step == "big" else 1)}))
                assert feed.put(put[-1])
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "pause":
                client.is_writable, before = False, len(client.writes)
                await asyncio.sleep(0)
                assert len(client.writes) == before
            else:
                client.resume()
        client.resume()
        await asyncio.sleep(0)
        assert client.frames == frames(*put)
        assert all(len(one) == 1 or sum(map(len, one)) <= BYTES_A_WRITE for one in client.writes)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("limit", "max_bytes", "kept"), [(3, 10**9, 3), (1_000, 1, 1)], ids=["events", "bytes"]
)
async def test_a_client_that_takes_nothing_is_bounded_and_gets_what_waited(limit, max_bytes, kept):
    client, feed = Client(), LiveFeed(Turn(), None, limit, max_bytes)
    client.is_writable = False
    feed.open(client)
    events = [make_envelope("a", {"n": n}) for n in range(6)]
    taken = [feed.put(event) for event in events]
    assert taken == [n < kept for n in range(6)]
    assert feed.overflown.done()
    assert not feed.drained.done()
    client.resume()
    assert client.frames == frames(*events[:kept])
    assert feed.drained.done()
    assert feed.failure.lost == 6 - kept
    assert not feed.put(events[0])  # it is over, whatever room there is now


async def test_a_feed_that_is_closed_sends_nothing_more():
    client, feed = Client(), LiveFeed(Turn(), None, *ROOMY)
    feed.open(client)
    feed.put(make_envelope("a"))
    feed.close()
    await asyncio.sleep(0)
    assert client.writes == []
    assert client.on_writable is None


async def test_a_client_that_cannot_be_sent_to_keeps_events_from_no_other(caplog):
    class Broken(Client):
        def write(self, frames):
            raise RuntimeError("broken")

    turn, clients, event = Turn(), [Broken(), Client()], make_envelope("a")
    for client in clients:
        feed = LiveFeed(turn, None, *ROOMY)
        feed.open(client)
        feed.put(event)
    with caplog.at_level(logging.ERROR, "dnworker.server"):
        await asyncio.sleep(0)
    assert clients[1].frames == frames(event)
    assert "events could not be sent to a client" in caplog.text


async def test_a_socket_of_another_server_gets_its_events_by_asgi_and_is_told_that_it_fell_behind(served):
    sent: list[dict] = []
    goes_on, closed = asyncio.Event(), asyncio.Event()

    async def send(message):
        if message["type"] == "websocket.send":
            await goes_on.wait()
        sent.append(message)
        if message["type"] == "websocket.close":
            closed.set()

    messages = iter([{"type": "websocket.connect"}])

    async def receive():
        if (message := next(messages, None)) is None:
            await closed.wait()
        return message or {"type": "websocket.disconnect"}

    scope = {"type": "websocket", "query_string": b"kinds=a", "headers": [], "engine": served, "path": "/"}
    async with asyncio.timeout(30):
        serving = asyncio.create_task(EventStream()(scope, receive, send))
        while not sent:
            await asyncio.sleep(0)
        for n in range(300):
            served.publish("a", {"n": n})
        goes_on.set()
        await serving
    assert [m["type"] for m in (sent[0], sent[-1])] == ["websocket.accept", "websocket.close"]
    events = [json.loads(message["text"]) for message in sent[1:-1]]
    assert [event["payload"]["n"] for event in events[:-1]] == [*range(256)]
    assert events[-1]["kind"] == SUBSCRIBER_DROPPED
