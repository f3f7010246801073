"""Recorded events are read of a runtime page by page; what goes wrong is one line."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial

import pytest
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from dnworker import Runtime, Worker
from dnworker.client import pulling
from dnworker.client.http import HttpConnection
from dnworker.client.pulling import Pull, PullQuery
from dnworker.core.errors import RuntimeUnavailable, UsageError
from dnworker.core.limits import Limits


@pytest.fixture
async def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=0, token="s3cret", journal=tmp_path / "events.journal") as runtime:
        yield runtime


async def pulled(url: str, token: str | None = "s3cret", pull: Pull | None = None, **query) -> list:
    connection = HttpConnection(url, auth_token=token)
    try:
        return [one async for one in (pull or Pull(connection, PullQuery(**query))).events()]
    finally:
        await connection.close()


async def test_the_newest_events_come_oldest_first_over_all_pages(runtime, monkeypatch):
    monkeypatch.setattr(pulling, "PAGE", 3)
    for n in range(12):
        runtime.publish("demo.asked", {"n": n})
    found = await pulled(runtime.url, last=10)
    assert [one.event.payload["n"] for one in found] == list(range(2, 12))


async def test_what_handlers_have_published_is_marked(runtime):
    worker = Worker("w")

    @worker.on_event("demo.asked")
    async def on_asked(event, client) -> None:
        await client.publish("demo.answered", {})

    await runtime.add(worker)
    await runtime.fire("demo.asked", {})
    assert [(one.event.kind, one.is_caused) for one in await pulled(runtime.url)] == [
        ("demo.asked", False),
        ("demo.answered", True),
    ]


async def test_an_event_whose_payload_is_lost_is_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    async with Runtime(port=0, token="s3cret", limits=Limits(history=100_000)) as runtime:
        for _ in range(4):
            runtime.publish("demo.large", {"text": "x" * 40_000})
        connection = HttpConnection(runtime.url, auth_token="s3cret")
        pull = Pull(connection, PullQuery())
        assert len(await pulled(runtime.url, pull=pull)) == 2
        assert (pull.dropped, pull.has_gap) == (2, True)
        await connection.close()


async def test_a_wrong_token_is_said_in_one_line_that_does_not_have_it(runtime):
    with pytest.raises(RuntimeUnavailable, match="refuses the token: name its file") as error:
        await pulled(runtime.url, token="wr0ng-token")
    assert "wr0ng" not in str(error.value)
    assert "\n" not in str(error.value)


async def test_nobody_there_is_said_in_one_line():
    with pytest.raises(RuntimeUnavailable, match="no runtime answers at http://127.0.0.1:9"):
        await pulled("http://127.0.0.1:9")


@asynccontextmanager
async def answering(answer):
    """Serve HTTP by a function that returns the head and the body, or raises to end the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(head.decode().split()[1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def page(count: int, next_: str | None = None, runtime_id: str = "rt-1", **more) -> bytes:
    events = [{"seq": n + 1, "kind": "a", "event_id": f"{n:032x}", "payload": {"n": n}} for n in range(count)]
    found = {"runtime_id": runtime_id, "envelopes": events, "next": next_, "latest_seq": count, "gap": False}
    return json.dumps(found | more).encode()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


async def test_a_runtime_that_dies_in_the_middle_of_a_page_is_said_with_what_had_come():
    async def answer(path, writer):
        if "cursor" not in path:
            writer.write(http(page(5, next_="more")))
        else:
            writer.write(http(page(5))[:200])

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="went away while its events were read") as error:
            await pulled(url)
    assert "the 5 that had come are not kept" in str(error.value)
    assert "\n" not in str(error.value)


async def test_a_runtime_that_is_another_one_on_the_second_page_is_said():
    async def answer(path, writer):
        is_first = "cursor" not in path
        writer.write(http(page(5, next_="m" if is_first else None, runtime_id="a" if is_first else "b")))

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="was restarted while its events were read; pull again"):
            await pulled(url)


async def test_an_answer_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr(pulling, "ANSWER_BYTES", 1_000_000)

    async def answer(path, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b"[" * 100_000)
            await writer.drain()

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="answers with over 1 MB"):
            await pulled(url)


async def test_an_answer_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(pulling, "ANSWER_SECONDS", 0.1)
    over = asyncio.Event()

    async def answer(path, writer):
        await over.wait()

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="does not answer within 0.1 s"):
            await pulled(url)
        over.set()


@pytest.mark.parametrize(
    "body",
    [b"{}", b"<html>", b"[1]", page(1)[:-20], page(0, envelopes=[{"kind": 1}]), page(0, envelopes=[5])],
)
async def test_another_program_or_version_is_said_in_one_line(body):
    async def answer(path, writer):
        writer.write(http(body))

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="is a runtime of another version there") as error:
            await pulled(url)
    assert "\n" not in str(error.value)


async def test_more_bytes_than_one_pull_takes_are_refused(runtime, monkeypatch):
    monkeypatch.setattr(pulling, "PULL_BYTES", 10_000)
    for _ in range(20):
        runtime.publish("demo.asked", {"text": "x" * 1_000})
    with pytest.raises(UsageError, match="pull fewer, by --last or --kind"):
        await pulled(runtime.url)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"last": 0}, "pull at least one"),
        ({"last": 10**7}, "at most"),
        ({"since": "soon"}, "--since 'soon' is no"),
    ],
)
def test_what_is_no_query_is_refused(query, message):
    with pytest.raises(UsageError, match=message):
        PullQuery(**query).check("DN224")


class Reference:
    """A stand-in of the SDK's runtime: sessions over HTTP, and their buffers over the interactive socket."""

    def __init__(self, buffers: dict[str, list[int]]) -> None:
        self.buffers = buffers
        self.created: list[str] = []

    def http(self, connection, request) -> Response | None:
        if request.path.startswith("/api/ws"):
            return None
        answers = {
            "/api/runtime": {"version": "2", "runtime_id": "ref-1"},
            "/api/sessions": [{"session_id": one} for one in self.buffers],
        }
        found = answers.get(request.path.partition("?")[0])
        body = json.dumps(found or {"detail": "Not Found"}).encode()
        status = 404 if found is None else 200
        return Response(status, "x", Headers({"content-length": str(len(body)), "connection": "close"}), body)

    async def control(self, socket, session: str | None, kind: str, **payload) -> None:
        await socket.send(json.dumps({"kind": kind, "session_id": session, "payload": payload}))

    async def talk(self, socket) -> None:
        async for text in socket:
            frame = json.loads(text)
            session, op = frame["session_id"], frame["op"]
            send = partial(self.control, socket, session)
            if op != "subscribe":
                await send("hello.ack" if op == "hello" else "command.ack")
                continue
            if session not in self.buffers:
                self.created.append(session)
            kept, after = self.buffers.get(session, []), frame["payload"]["after_seq"]
            await send("command.ack", op=op)
            latest = kept[-1] if kept else 0
            needs_resync = bool(kept) and after < kept[0] - 1
            if needs_resync:
                await send("transport.resync_required", latest_seq=latest, oldest_buffered_seq=kept[0])
            await send("session.snapshot", session_id=session, latest_seq=latest)
            for seq in [] if needs_resync else [one for one in kept if one > after]:
                event = {"seq": seq, "kind": "demo.said", "session_id": session, "replay": True}
                event |= {
                    "event_id": f"{seq:032x}",
                    "timestamp": "2030-01-01T00:00:00Z",
                    "payload": {"n": seq},
                }
                await socket.send(json.dumps(event))


@asynccontextmanager
async def reference(buffers: dict[str, list[int]]):
    stand_in = Reference(buffers)
    async with serve(stand_in.talk, "127.0.0.1", 0, process_request=stand_in.http) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", stand_in


async def test_of_the_sdks_runtime_the_buffers_of_all_sessions_come_in_order():
    async with reference({"a": [10, 12, 14], "b": [11, 13], "empty": [], "first": [1]}) as (url, stand_in):
        connection = HttpConnection(url)
        pull = Pull(connection, PullQuery())
        found = await pulled(url, pull=pull)
        await connection.close()
    assert [one.event.seq for one in found] == [1, 10, 11, 12, 13, 14]
    assert (pull.is_reference, pull.has_gap, pull.runtime_id) == (True, True, "ref-1")
    assert stand_in.created == []


async def test_of_the_sdks_runtime_kinds_sessions_and_numbers_choose_too():
    async with reference({"a": [10, 12, 14], "b": [11, 13]}) as (url, stand_in):
        assert [one.event.seq for one in await pulled(url, session="a", last=2)] == [12, 14]
        assert await pulled(url, session="nobody") == []
        assert await pulled(url, kinds=("other.*",)) == []
        assert len(await pulled(url, kinds=("demo.*",))) == 5
        assert await pulled(url, since="2031-01-01") == []
    assert stand_in.created == []


async def test_a_program_that_is_no_runtime_is_said_in_one_line():
    async def answer(path, writer):
        writer.write(http(b"<html>no", "404 Not Found"))

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="does not give its events: 404") as error:
            await pulled(url)
    assert "\n" not in str(error.value)


async def test_what_another_program_says_is_one_bounded_line():
    async def answer(path, writer):
        writer.write(http(json.dumps({"detail": "a\nb" * 1_000}).encode(), "500 no"))

    async with answering(answer) as url:
        with pytest.raises(RuntimeUnavailable, match="does not give its events: 500") as error:
            await pulled(url)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


async def test_a_pull_since_a_time_says_where_it_is_cut(runtime, monkeypatch):
    monkeypatch.setattr(pulling, "SINCE_DEFAULT", 3)
    for _ in range(4):
        runtime.publish("demo.asked", {})
    connection = HttpConnection(runtime.url, auth_token="s3cret")
    for since, most, is_cut in (("1h", None, True), ("1h", 2, False), ("2999-01-01", None, False)):
        pull = Pull(connection, PullQuery(last=most, since=since))
        await pulled(runtime.url, pull=pull)
        assert pull.is_cut is is_cut
    await connection.close()
