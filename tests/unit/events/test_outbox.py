"""What a runtime publishes is sent again until it is acknowledged or too late, in order, by the clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, pack
from dnworker.core.errors import NotStored
from dnworker.events.brokers.jetstream import outbox as module
from dnworker.events.brokers.jetstream.names import Names
from dnworker.events.brokers.jetstream.outbox import Outbox


class FakeClient:
    """A connection to a server whose answers a test gives."""

    def __init__(self) -> None:
        self.is_connected = True
        self.sent: list[str] = []
        self.stored: list[str] = []
        self.answers = True
        self._take = None

    def new_inbox(self) -> str:
        return "_INBOX.test"

    async def subscribe(self, subject, cb):
        self._take = cb

    async def publish(self, subject, data, *, reply, headers):
        name = headers["Dnw-By"]
        self.sent.append(name)
        self.last_reply = reply
        if self.answers:
            await self.acknowledge(name, reply)

    async def answer(self, reply: str, data: bytes) -> None:
        await self._take(SimpleNamespace(subject=reply, data=data))

    async def acknowledge(self, name: str, reply: str) -> None:
        if name not in self.stored:
            self.stored.append(name)
        answer = {"stream": "s", "seq": self.stored.index(name) + 1}
        await self.answer(reply, json.dumps(answer).encode())


@contextlib.asynccontextmanager
async def opened():
    client = FakeClient()
    connected = SimpleNamespace(
        client=client,
        names=Names("test"),
        largest=1_000_000,
        failure=None,
        settings=SimpleNamespace(address="nats://here"),
    )

    async def first(event_id):
        return None

    made = Outbox(connected, first)
    await made.open()
    try:
        yield made, client
    finally:
        await made.close(0)


def begin(outbox: Outbox, n: int) -> asyncio.Future:
    packed, size = pack({"n": n})
    envelope = EventEnvelope(seq=0, kind="demo.go", payload=packed)
    future = outbox.publish(envelope, size, None, False, None, False)
    if outbox._waiting:  # as the reader does; here before the server has it
        outbox._waiting[-1].seen = replace(envelope, seq=n)
    return future


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)


async def until(is_true) -> None:
    async with asyncio.timeout(5):
        while not is_true():
            await asyncio.sleep(0.001)


async def test_an_event_whose_answer_is_lost_is_sent_again_while_others_are_published():
    async with opened() as (outbox, client):
        client.answers = False
        lost = begin(outbox, 1)
        await until(lambda: client.sent)
        client.answers = True
        others = []
        async with asyncio.timeout(5):
            while not lost.done():
                others.append(begin(outbox, 2 + len(others)))
                await asyncio.sleep(0.002)
        assert client.sent.count(client.stored[0]) >= 1
        await asyncio.gather(lost, *others)


async def test_an_event_that_is_too_late_fails_while_others_are_published(monkeypatch):
    monkeypatch.setattr(module, "PUBLISH_SECONDS", 0.1)
    async with opened() as (outbox, client):
        client.is_connected = False
        late, others = begin(outbox, 1), []
        async with asyncio.timeout(5):
            while not late.done():
                others.append(begin(outbox, 2 + len(others)))
                await asyncio.sleep(0.002)
        with pytest.raises(NotStored, match="was not stored within"):
            await late
        await outbox.close(0)
        await asyncio.gather(*others, return_exceptions=True)


async def test_what_is_too_late_is_not_sent_again_when_the_server_is_back():
    async with opened() as (outbox, client):
        client.answers = False
        late = begin(outbox, 1)
        await until(lambda: client.sent)
        (one,) = outbox._sent.values()
        one.ends_at = 0.0
        client.answers = True
        outbox.resend()
        with pytest.raises(NotStored, match="was not stored within"):
            await late
        assert len(client.sent) == 1
        assert (await begin(outbox, 2)).is_new


@pytest.mark.parametrize("answer", [b"", b'{"error": {"code": 503, "err_code": 10008}}'])
async def test_nothing_new_passes_an_event_that_is_to_be_sent_again(answer):
    async with opened() as (outbox, client):
        client.answers = False
        first = begin(outbox, 1)
        await until(lambda: client.sent)
        await client.answer(client.last_reply, answer)
        client.answers = True
        second = begin(outbox, 2)
        await asyncio.gather(first, second)
        assert [int(name.rpartition(".")[2]) for name in client.stored] == [1, 2]
