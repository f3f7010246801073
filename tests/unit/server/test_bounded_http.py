"""What a client may send, and how long it may take for it, over a real socket."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets

import httpx
import pytest

from dnworker import Runtime
from dnworker.core.limits import Limits
from dnworker.server.bounded_http import BoundedHttp

from .raw import GOOD, exchange, raw, read_all, statuses, until_closed

QUICK = Limits(header_seconds=0.3, body_seconds=0.5)
TOKEN = b"Authorization: Bearer s3cret\r\n"


@pytest.fixture
async def quick(caplog, monkeypatch):
    """A runtime whose times are short; that it logged no error is checked in the end."""
    monkeypatch.setattr("dnworker.server.embedded.IDLE_SECONDS", 1)
    async with Runtime(port=0, token="s3cret", limits=QUICK) as runtime:
        yield runtime
        await until_closed(runtime)
        assert runtime.server.connections.strangers == 0
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


async def is_well(runtime):
    async with httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client:
        answer = await client.get("/api/runtime", headers={"Authorization": "Bearer s3cret"})
    assert answer.status_code == 200


GET, POST, HOST = b"GET /api/health HTTP/1.1", b"POST /api/events HTTP/1.1", b"Host: localhost"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request(GET, HOST, HOST), 400, id="two hosts"),
        pytest.param(request(GET, HOST, b"host: evil.example"), 400, id="two hosts that differ"),
        pytest.param(request(GET), 400, id="no host"),
        pytest.param(request(b"GET http://evil.example/ HTTP/1.1", HOST), 400, id="absolute target"),
        pytest.param(request(b"GET ftp://localhost/ HTTP/1.1", HOST), 400, id="absolute target of a scheme"),
        pytest.param(request(b"CONNECT localhost:80 HTTP/1.1", HOST), 400, id="connect"),
        pytest.param(request(POST, HOST, b"Content-Length: 1", b"Content-Length: 2"), 400, id="two lengths"),
        pytest.param(request(POST, HOST, b"Content-Length: 1, 1"), 400, id="list of lengths"),
        pytest.param(request(POST, HOST, b"Content-Length: -1"), 400, id="negative length"),
        pytest.param(request(POST, HOST, b"Content-Length: 5", CHUNKED), 400, id="length and encoding"),
        pytest.param(request(POST, HOST, CHUNKED, b"Content-Length: 5"), 400, id="encoding and length"),
        pytest.param(request(POST, HOST, b"Transfer-Encoding: gzip, chunked"), 501, id="encoding"),
        pytest.param(request(b"POST / HTTP/1.0", HOST, CHUNKED), 501, id="encoding of HTTP/1.0"),
        pytest.param(request(GET, HOST, b"X: a\r\n b"), 400, id="obs-fold"),
        pytest.param(request(GET, HOST, b"X: a\0b"), 400, id="nul"),
        pytest.param(request(GET, HOST + b"\nX: b"), 400, id="bare lf"),
        pytest.param(request(GET, HOST + b"\rX: b"), 400, id="bare cr"),
        pytest.param(request(GET, b"Host : localhost"), 400, id="space before the colon"),
        pytest.param(request(b"GET / HTTP/9.9", HOST), 400, id="version"),
        pytest.param(request(b"GET / HTTP/2.0", HOST), 505, id="version 2"),
        pytest.param(b"GET /\r\n\r\n", 505, id="version 0.9"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="tls"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="http2"),
        pytest.param(b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, id="target"),
        pytest.param(request(GET, HOST, b"X: " + b"a" * 70_000), 431, id="long header"),
        pytest.param(request(GET, HOST, *[b"X: " + b"a" * 9_000] * 8), 431, id="long headers"),
        pytest.param(request(GET, HOST, *[b"X: a"] * 101), 431, id="many headers"),
        pytest.param(request(POST, HOST, CHUNKED, body=b"-1\r\nx\r\n"), 400, id="chunk size"),
    ],
)
async def test_what_is_wrong_or_too_large_is_refused_and_the_connection_closed(quick, sent, status):
    answer = await exchange(quick, sent)
    assert statuses(answer) == [status]
    assert b"connection: close" in answer.lower()
    await is_well(quick)


@pytest.mark.parametrize(
    "sent",
    [
        request(GET, HOST),
        request(b"GET http://LOCALHOST/api/health HTTP/1.1", HOST),
        request(b"GET /api/health HTTP/1.0", HOST),
        request(GET, HOST, *[b"X: " + b"a" * 600] * 98),
        b"\r\n\r\n" + request(GET, HOST),
    ],
    ids=["plain", "absolute target of its own", "1.0", "large headers", "empty lines before"],
)
async def test_what_is_right_is_answered(quick, sent):
    answer = await exchange(quick, sent, ends=True)
    assert statuses(answer)[:1] in ([200], [])  # a client that ends its side may be closed at once
    async with raw(quick) as (reader, writer):
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
        (request(POST, HOST, TOKEN.strip(), CHUNKED, body=b"1;a="), b"b"),
        (request(POST, HOST, TOKEN.strip(), CHUNKED, body=b"0\r\n"), b"X: a\r\n"),
        (request(POST, HOST, TOKEN.strip(), CHUNKED, body=b"0\r\nX: "), b"a"),
    ],
    ids=["header", "headers", "target", "empty lines", "chunk extension", "trailers", "trailer"],
)
async def test_what_never_ends_is_cut_off_by_its_size(quick, begin, more):
    async with raw(quick) as (reader, writer):
        writer.write(begin)
        reading = asyncio.create_task(read_all(reader))
        sent = 0
        while not reading.done() and sent < 100_000_000:
            writer.write(more * (100_000 // len(more)))
            sent += 100_000
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        assert sent < 100_000_000
        answer = await reading
    assert statuses(answer)[:1] in ([431], [414], [408], [])
    await is_well(quick)


@pytest.mark.parametrize(
    ("begin", "drop", "status"),
    [
        (b"", b"", None),
        (b"", b"\r\n", 408),
        (b"GET / HT", b"", 408),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: a\r\n", 408),
        (request(b"POST /panel/session HTTP/1.1", HOST, b"Content-Type: application/json", b"Content-Length: 99"),
         b"{", 408),
        (request(POST, HOST, TOKEN.strip(), b"Content-Length: 99", body=b"{"), b"", 408),
        (request(POST, HOST, TOKEN.strip(), CHUNKED, body=b"5\r\nab"), b"", 408),
        (request(POST, HOST, b"Content-Length: 99", body=b"{"), b"a", 401),
        (GOOD + b"GET /", b"", 200),
        (GOOD + b"GET /", b"a", 200),
    ],
    ids=["nothing", "empty lines", "request line", "headers", "body of a stranger", "body that pauses",
         "chunk that pauses", "body without a token", "next request", "next request that drips"],
)  # fmt: skip
async def test_what_takes_too_long_is_cut_off(quick, begin, drop, status):
    async with raw(quick) as (reader, writer):
        writer.write(begin)
        reading = asyncio.create_task(read_all(reader))
        async with asyncio.timeout(60):
            while not reading.done():
                if drop:
                    writer.write(drop)
                await asyncio.wait([reading], timeout=0.02)
        answer = await reading
    assert statuses(answer)[:1] == ([] if status is None else [status])
    await is_well(quick)


async def test_a_body_with_a_token_may_take_long_while_it_goes_on(quick):
    body = b'{"kind":"a","payload":{"x":"yyyyyyyyyyyyyyyyyyyyyyyyyyy"}}'
    async with raw(quick) as (reader, writer):
        writer.write(request(POST, HOST, TOKEN.strip(), b"Content-Length: %d" % len(body)))
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_an_idle_connection_is_closed(quick):
    async with raw(quick) as (reader, writer):
        writer.write(GOOD)
        assert statuses(await read_all(reader)) == [200]


async def test_trailers_are_no_headers(quick):
    async with raw(quick) as (reader, writer):
        trailers = b"Host: evil.example\r\nAuthorization: Bearer wrong\r\n"
        writer.write(request(POST, HOST, TOKEN.strip(), CHUNKED, body=b'c\r\n{"kind":"a"}\r\n0\r\n'))
        writer.write(trailers + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_an_answer_before_the_body_ends_the_connection_and_the_rest_is_no_request(quick):
    hidden = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = request(POST, HOST, b"Content-Length: %d" % len(hidden), b"Expect: 100-continue")
    async with raw(quick) as (reader, writer):
        writer.write(head)
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.write(hidden)
        rest = await read_all(reader)
    assert b"connection: close" in rest
    assert statuses(rest) == []


async def test_a_client_that_waits_for_continue_gets_it(quick):
    body = b'{"kind":"a"}'
    async with raw(quick) as (reader, writer):
        writer.write(
            request(POST, HOST, TOKEN.strip(), b"Content-Length: %d" % len(body), b"Expect: 100-continue")
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_some_requests_may_be_pipelined_and_a_flood_is_cut_off_after_them(quick):
    assert statuses(await exchange(quick, GOOD * 10)) == [200] * 10
    answers = statuses(await exchange(quick, GOOD * 5_000))
    assert 1 <= len(answers) < 100
    assert set(answers) == {200}


async def test_a_bad_request_behind_good_ones_leaves_their_answers_whole(quick):
    assert statuses(await exchange(quick, GOOD * 3 + b"nonsense\r\n\r\n")) == [200] * 3


async def test_a_bad_request_behind_one_for_a_head_leaves_the_head_whole(quick):
    bad = request(POST, HOST, CHUNKED, body=b"-1\r\nx\r\n")
    assert statuses(await exchange(quick, request(b"HEAD /api/health HTTP/1.1", HOST) + bad)) == [200]


async def test_the_head_of_an_answer_goes_out_where_the_server_stops_at_that_moment(quick, monkeypatch):
    complete = BoundedHttp.on_response_complete
    monkeypatch.setattr(BoundedHttp, "on_response_complete", lambda self: (complete(self), self.shutdown()))
    assert statuses(await exchange(quick, request(b"HEAD /api/health HTTP/1.1", HOST))) == [200]


async def test_a_large_answer_that_nobody_reads_is_given_up(quick, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * 20_000_000)
    where = httpx.URL(quick.url)
    with sockets.create_connection((where.host, where.port)) as client:
        client.setblocking(False)
        line = f"GET /api/files/read?path={big} HTTP/1.1".encode()
        client.send(request(line, HOST, TOKEN.strip()))
        await until_closed(quick, but=1)
        async with asyncio.timeout(60):
            while len(quick.server.connections):
                await asyncio.sleep(0.02)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(quick, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * 6_000_000)
    async with raw(quick) as (reader, writer):
        writer.write(
            request(
                f"GET /api/files/read?path={big} HTTP/1.1".encode(), HOST, TOKEN.strip(), b"Connection: close"
            )
        )
        got = 0
        while chunk := await reader.read(100_000):
            got += len(chunk)
            await asyncio.sleep(0.02)  # 1.2 s in all, which is more than an unread answer gets
    assert got > 6_000_000


@pytest.mark.parametrize("upgrade", [b"h2c", b"websockets", b"TLS/1.0"])
async def test_an_upgrade_that_is_not_known_is_ignored(quick, upgrade):
    answer = await exchange(quick, request(GET, HOST, b"Connection: Upgrade", b"Upgrade: " + upgrade))
    assert statuses(answer) == [200]


H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
"""What Java's HttpClient and `curl --http2` send with their first request."""


@pytest.mark.parametrize("cut", [1, 7, 10_000], ids=lambda size: f"parts of {size}")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_the_body_of_a_request_whose_upgrade_is_ignored_is_read_and_the_connection_goes_on(
    quick, is_chunked, cut
):
    body = b'{"kind": "from.java", "payload": {"n": 1}}'
    framing = CHUNKED if is_chunked else b"Content-Length: %d" % len(body)
    sent = b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body) if is_chunked else body
    both = request(POST, HOST, TOKEN.strip(), framing, *H2C, body=sent) + request(
        GET, HOST, b"Connection: close"
    )
    async with raw(quick) as (reader, writer):
        for start in range(0, len(both), cut):
            writer.write(both[start : start + cut])
            await writer.drain()
            await asyncio.sleep(0)
        answer = await read_all(reader)
    assert statuses(answer) == [200, 200]
    (event,) = [one for one in quick.bus.kept(None, 0) if one.kind == "from.java"]
    assert event.payload == {"n": 1}


async def test_limits_hold_for_a_body_behind_an_upgrade_that_is_ignored(quick):
    length = b"Content-Length: 5"
    answer = await exchange(quick, request(POST, HOST, TOKEN.strip(), length, *H2C, body=b"{"))
    assert statuses(answer) == [408]
