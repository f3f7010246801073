"""What runtimes say to each other over a real server, beside events: nothing of it is kept."""

from __future__ import annotations

import asyncio
import contextvars
import time

import pytest

from dnworker.events.brokers.jetstream import messages as nats_messages
from dnworker.events.brokers.messages import Unreachable

from .nodes import nodes, until


async def answer_of(node, subject: str, data: bytes = b"?", seconds: float = 5) -> bytes:
    """Return an answer, once what serves the subject is known to the server."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await node.broker.messages.request(subject, data, seconds)
            except Unreachable:
                await asyncio.sleep(0.01)


async def heard(teller, subject: str, got: list) -> None:
    """Return once what listens to a subject is known to the server."""

    def is_heard() -> bool:
        teller.broker.messages.tell(subject, b"hello")
        return bool(got)

    await until(is_heard)


async def test_a_message_reaches_all_who_listen_in_the_order_in_which_it_was_sent(shared_server):
    async with nodes(shared_server, 3) as (one, two, three):
        got: dict[str, list] = {"one": [], "two": [], "other": []}
        one.broker.messages.listen("news.>", lambda *message: got["one"].append(message))
        two.broker.messages.listen("news.a", lambda *message: got["two"].append(message))
        two.broker.messages.listen("other", lambda *message: got["other"].append(message))
        await heard(three, "news.a", got["one"])
        await heard(three, "news.a", got["two"])
        for n in range(500):
            three.broker.messages.tell("news.a", b"%d" % n)
        three.broker.messages.tell("news.b.c", b"end")
        last = [("news.a", b"%d" % n) for n in range(500)]
        await until(lambda: got["one"][-501:] == [*last, ("news.b.c", b"end")])
        await until(lambda: got["two"][-500:] == last)
        assert got["other"] == []


async def test_who_listens_no_more_gets_nothing_and_what_fails_ends_nothing(shared_server, caplog):
    async with nodes(shared_server, 2) as (one, two):
        first, second = [], []

        def fails(subject, data):
            second.append(data)
            raise ValueError("wrong")

        end = one.broker.messages.listen("news", lambda *message: first.append(message))
        one.broker.messages.listen("news", fails)
        await heard(two, "news", first)
        await heard(two, "news", second)
        end()
        await answered_after(one, two)
        count = len(first)
        two.broker.messages.tell("news", b"last")
        await until(lambda: second[-1] == b"last")
        assert len(first) == count
        assert "what listens to news has failed" in caplog.text


async def answered_after(one, two) -> None:
    """Return when the server has seen all that one node has asked of it by now."""
    await asyncio.sleep(0)
    await one.broker.connected.client.flush()
    await two.broker.connected.client.flush()


async def test_a_request_is_answered_by_who_serves_it_and_each_in_a_task_of_its_own(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        go_on = asyncio.Event()

        async def answer(data: bytes) -> bytes:
            if data == b"slow":
                await go_on.wait()
            return data.upper()

        end = one.broker.messages.serve("session.a", answer)
        assert await answer_of(two, "session.a", b"x") == b"X"
        assert await one.broker.messages.request("session.a", b"y", 5) == b"Y"
        slow = asyncio.create_task(two.broker.messages.request("session.a", b"slow", 20))
        assert await two.broker.messages.request("session.a", b"z", 5) == b"Z"
        assert not slow.done()
        go_on.set()
        assert await slow == b"SLOW"
        end()
        await answered_after(one, two)
        with pytest.raises(Unreachable, match="nobody serves session.a"):
            await two.broker.messages.request("session.a", b"x", 5)


async def test_a_request_that_nobody_serves_fails_at_once_and_one_without_an_answer_in_time(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        began = time.monotonic()
        with pytest.raises(Unreachable, match="nobody serves none"):
            await two.broker.messages.request("none", b"", 30)
        assert time.monotonic() - began < 15

        async def never(data: bytes) -> bytes:
            if data == b"?":
                return b"there"
            await asyncio.Event().wait()
            return b""

        one.broker.messages.serve("slow", never)
        await answer_of(two, "slow")
        with pytest.raises(Unreachable, match=r"no answer to slow within 0\.1 s"):
            await two.broker.messages.request("slow", b"x", 0.1)


async def test_an_answer_that_fails_or_is_too_long_is_said_to_have_failed(shared_server, caplog):
    async with nodes(shared_server, 2) as (one, two):

        async def answer(data: bytes) -> bytes:
            if data == b"bad":
                raise ValueError("secret")
            return b"x" * (one.broker.connected.largest if data == b"long" else 1)

        one.broker.messages.serve("session.a", answer)
        await answer_of(two, "session.a")
        for data in (b"bad", b"long"):
            with pytest.raises(Unreachable, match="what serves session.a has failed") as failed:
                await two.broker.messages.request("session.a", data, 5)
            assert "secret" not in str(failed.value)
        assert "more than the server takes" in caplog.text
        assert await two.broker.messages.request("session.a", b"", 5) == b"x"


async def test_who_listens_and_serves_does_so_again_after_the_server_was_killed(server):
    async with nodes(server, 2) as (one, two):
        got = []

        async def answer(data: bytes) -> bytes:
            return b"there"

        one.broker.messages.listen("news", lambda *message: got.append(message))
        one.broker.messages.serve("session.a", answer)
        await heard(two, "news", got)
        server.kill()
        await until(lambda: two.broker.failure)
        with pytest.raises(Unreachable, match="session.a"):
            await two.broker.messages.request("session.a", b"", 5)
        two.broker.messages.tell("news", b"lost")
        server.start()
        await until(lambda: not one.broker.failure and not two.broker.failure)
        assert await answer_of(two, "session.a") == b"there"
        got.clear()
        await heard(two, "news", got)
        assert ("news", b"lost") not in got


async def test_what_is_too_much_to_send_is_dropped_and_said(shared_server, monkeypatch, caplog):
    monkeypatch.setattr(nats_messages, "WAITING", 10)
    async with nodes(shared_server, 2) as (one, two):
        got = []
        one.broker.messages.listen("news", lambda *message: got.append(message))
        await heard(two, "news", got)
        await until(lambda: not two.broker.messages._waiting)
        got.clear()
        two.broker.messages.tell("news", b"x" * (two.broker.connected.largest + 1))
        for n in range(30):
            two.broker.messages.tell("news", b"%d" % n)
        await until(lambda: ("news", b"9") in got)
        assert [data for _, data in got if data != b"hello"] == [b"%d" % n for n in range(10)]
        assert "was not sent" in caplog.text


async def test_so_many_requests_are_answered_side_by_side_at_most(shared_server, monkeypatch, caplog):
    monkeypatch.setattr(nats_messages, "ANSWERING", 3)
    async with nodes(shared_server, 2) as (one, two):
        go_on, under_way = asyncio.Event(), []

        async def answer(data: bytes) -> bytes:
            if data != b"?":
                under_way.append(data)
                await go_on.wait()
            return data

        one.broker.messages.serve("session.a", answer)
        await answer_of(two, "session.a")
        asked = [
            asyncio.create_task(two.broker.messages.request("session.a", b"%d" % n, 20)) for n in range(3)
        ]
        await until(lambda: len(under_way) == 3)
        with pytest.raises(Unreachable, match="no answer"):
            await two.broker.messages.request("session.a", b"more", 0.2)
        assert "3 are being answered" in caplog.text
        go_on.set()
        assert await asyncio.gather(*asked) == [b"0", b"1", b"2"]


async def test_a_close_ends_what_listens_serves_and_asks(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        begun = asyncio.Event()

        async def never(data: bytes) -> bytes:
            if data != b"?":
                begun.set()
                await asyncio.Event().wait()
            return b""

        one.broker.messages.serve("session.a", never)
        await answer_of(two, "session.a")
        said = two.broker.messages
        asking = asyncio.create_task(said.request("session.a", b"x", 2))
        await begun.wait()
        await asyncio.wait_for(one.broker.close(), 20)
        assert not [task for task in asyncio.all_tasks() if "session.a" in task.get_name()]
        with pytest.raises(Unreachable):
            await asking
        await two.broker.close()
        said.tell("news", b"")
        with pytest.raises(Unreachable, match="the broker is closed"):
            await said.request("session.a", b"", 1)


async def test_what_comes_of_others_is_not_caused_by_what_began_to_listen(shared_server):
    async with nodes(shared_server, 2) as (one, two):
        caused_by: contextvars.ContextVar[str] = contextvars.ContextVar("caused_by", default="nothing")
        found = []

        async def answer(data):
            return caused_by.get().encode()

        caused_by.set("a handler")
        one.broker.messages.serve("who", answer)
        one.broker.messages.listen("news", lambda *_: found.append(caused_by.get()))
        assert await answer_of(two, "who") == b"nothing"
        await heard(two, "news", found)
        assert {*found} == {"nothing"}
