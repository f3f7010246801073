"""The pool of connections by which clients send requests: what is kept, and what becomes of answers that break."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, RuntimeClient
from dnworker.client.connection import in_path
from dnworker.client.http import HttpConnection
from dnworker.client.pool import Pool, _Connection, _Failed
from dnworker.client.sender import Request, address_of

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ANSWER
TO_ITS_END = b"HTTP/1.0 200 OK\r\n\r\nabc"

Serve = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request; is given the number of its connection."""


class Server:
    """What a server has seen."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.heads: list[bytes] = []
        self.ended: list[asyncio.Event] = []


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Server]:
    """A server that reads requests without bodies and has `serve` answer each."""
    seen = Server()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, seen.connections = seen.connections, seen.connections + 1
        seen.ended.append(asyncio.Event())
        try:
            while not writer.is_closing():
                seen.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await serve(number, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            seen.ended[number].set()
            writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        seen.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield seen


@asynccontextmanager
async def pooled(idle: int = 20, idle_seconds: float = 60.0) -> AsyncIterator[Pool]:
    pool = Pool(path=None, tls=None, idle=idle, idle_seconds=idle_seconds)
    try:
        yield pool
    finally:
        await pool.aclose()


def asks(server: Server, **more: object) -> Request:
    return Request("GET", server.url, {}, **more)  # type: ignore[arg-type]


async def answering(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(ANSWER)


async def test_one_request_after_the_other_uses_one_connection():
    async with serving(answering) as server, pooled() as pool:
        for _ in range(3):
            assert (await pool.send(asks(server))).content == b'{"a": 1}'
        assert server.connections == 1


async def test_requests_at_a_time_have_a_connection_each_and_no_more_are_kept_than_may_be():
    both = asyncio.Barrier(3)

    async def together(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        writer.write(ANSWER)

    async with serving(together) as server, pooled(idle=2) as pool:
        await asyncio.gather(*(pool.send(asks(server)) for _ in range(3)))
        assert server.connections == 3
        done = [asyncio.ensure_future(one.wait()) for one in server.ended]
        await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
        assert len(pool._idle) == 2
        for one in done:
            one.cancel()


async def test_a_connection_that_was_idle_for_too_long_is_used_no_more():
    async with serving(answering) as server, pooled(idle_seconds=0.0) as pool:
        for _ in range(2):
            await pool.send(asks(server))
        assert server.connections == 2
        await server.ended[0].wait()


async def test_a_connection_that_the_server_closes_is_forgotten():
    async def closing(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        writer.close()

    async with serving(closing) as server, pooled() as pool:
        await pool.send(asks(server))
        while pool._open:
            await asyncio.sleep(0)
        assert not pool._idle
        await pool.send(asks(server))
        assert server.connections == 2


def answer_one(listening: socket.socket) -> socket.socket:
    """Answers the first request of the next connection."""
    accepted = listening.accept()[0]
    accepted.recv(10_000)
    accepted.sendall(ANSWER)
    return accepted


async def test_a_connection_that_the_server_closes_while_the_loop_is_blocked_is_not_used():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with pooled() as pool:
            for _ in range(3):
                answering = asyncio.create_task(asyncio.to_thread(answer_one, listening))
                assert (await pool.send(Request("POST", url, {}))).status == 200
                accepted = await answering
                assert pool._idle
                accepted.close()  # the loop does not turn until the next request


async def test_connections_that_were_idle_for_too_long_are_closed_with_the_next_request():
    all_asked = asyncio.Barrier(3)

    async def together(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) <= 3:
            await all_asked.wait()
        writer.write(ANSWER)

    async with serving(together) as server, pooled() as pool:
        await asyncio.gather(*(pool.send(asks(server)) for _ in range(3)))
        for old in pool._idle[:2]:
            old.idle_since -= 61.0
        await pool.send(asks(server))
        assert server.connections == 3
        while len(pool._open) > 1:
            await asyncio.sleep(0)


async def test_what_a_server_says_unasked_is_never_taken_for_the_next_answer():
    async def twice(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER + ANSWER.replace(b'"a"', b'"b"'))

    async def later(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER)
        await writer.drain()
        writer.write(ANSWER.replace(b'"a"', b'"b"'))

    for serve in (twice, later):
        async with serving(serve) as server, pooled() as pool:
            assert (await pool.send(asks(server))).content == b'{"a": 1}'
            await server.ended[0].wait()
            assert (await pool.send(asks(server))).content == b'{"a": 1}'
            assert server.connections == 2


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(ANSWER, b'{"a": 1}'), (CHUNKED, b"abcde"), (EARLY, b'{"a": 1}'), (TO_ITS_END, b"abc")]),
    st.sets(st.integers(1, 100), max_size=5),
)
def test_an_answer_is_read_wherever_it_is_cut(answer: tuple[bytes, bytes], cuts: set[int]):
    async def in_pieces(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        places = [0, *sorted(cuts), len(answer[0])]
        for start, end in pairwise(places):
            writer.write(answer[0][start:end])
            await writer.drain()
            await asyncio.sleep(0)
        if answer[0] is TO_ITS_END:
            writer.close()

    async def once() -> None:
        async with serving(in_pieces) as server, pooled() as pool:
            assert (await pool.send(asks(server))).content == answer[1]

    asyncio.run(once())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", httpx.RemoteProtocolError),
        (ANSWER[:-2], httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, httpx.RemoteProtocolError),
    ],
    ids=["nothing", "half-a-head", "half-a-body", "no-http", "endless-head"],
)
async def test_an_answer_that_breaks_off_or_is_none_is_an_error_that_names_the_request(said, kind):
    async def broken(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with serving(broken) as server, pooled() as pool:
        with pytest.raises(kind) as failed:
            await pool.send(asks(server))
        assert str(failed.value.request.url) == server.url
        await server.ended[0].wait()
        assert not pool._idle


async def test_a_request_that_is_not_answered_in_time_fails_and_its_connection_is_closed():
    async def silent(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWER[:-1])
        await reader.read()

    async with serving(silent) as server, pooled() as pool:
        with pytest.raises(httpx.ReadTimeout):
            await pool.send(asks(server, timeout=0.01))
        await server.ended[0].wait()
        assert not pool._idle


async def test_an_answer_may_take_longer_than_the_limit_while_it_goes_on_coming():
    async def slow(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(len(ANSWER)):
            writer.write(ANSWER[at : at + 1])
            await asyncio.sleep(0.015)

    async with serving(slow) as server, pooled() as pool:
        assert (await pool.send(asks(server, timeout=0.5))).content == b'{"a": 1}'


async def test_a_request_that_is_cancelled_closes_its_connection():
    asked = asyncio.Event()

    async def silent(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async with serving(silent) as server, pooled() as pool:
        sending = asyncio.create_task(pool.send(asks(server)))
        await asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await server.ended[0].wait()


async def test_a_pool_that_is_closed_ends_what_is_under_way_and_may_be_used_again():
    asked = asyncio.Event()

    async def first_is_silent(
        number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked.set()
        if number:
            writer.write(ANSWER)
        else:
            await reader.read()

    async with serving(first_is_silent) as server, pooled() as pool:
        sending = asyncio.create_task(pool.send(asks(server)))
        await asked.wait()
        await pool.aclose()
        with pytest.raises(httpx.ReadError):
            await sending
        assert (await pool.send(asks(server))).status == 200


async def test_a_server_that_hangs_up_at_once_is_an_error_and_no_wait_without_an_end():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server, pooled() as pool:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(50):
            with pytest.raises(httpx.TransportError):
                await pool.send(Request("GET", url, {}))
        assert not pool._open


async def test_a_connection_that_is_lost_before_its_request_is_sent_is_an_error():
    async with serving(answering) as server, pooled() as pool:
        connection = await pool._connected(asks(server))
        connection.close()
        await connection.closed.wait()
        with pytest.raises(_Failed, match="closed before the request was sent"):
            await connection.send(asks(server))


@pytest.mark.parametrize("turns", range(8))
async def test_a_pool_that_is_closed_while_it_connects_ends_that_request_too(turns):
    async with serving(answering) as server, pooled() as pool:
        sending = asyncio.create_task(pool.send(asks(server)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await pool.aclose()
        done = (await asyncio.gather(sending, return_exceptions=True))[0]
        assert isinstance(done, httpx.TransportError) or done.status == 200  # and it does not wait for ever


async def test_a_header_that_cannot_be_sent_is_refused_by_its_name_and_its_value_is_not_told():
    async with serving(answering) as server, pooled() as pool:
        for token in ("hunter2\r\nX-Other: b", "hunter2\n", "hunter2é"):
            with pytest.raises(httpx.LocalProtocolError, match="Authorization has a line break") as failed:
                await pool.send(Request("GET", server.url, {"Authorization": f"Bearer {token}"}))
            assert "hunter2" not in "".join(traceback.format_exception(failed.value))
        for ended in server.ended:
            await ended.wait()
        assert server.heads == []


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".b"])
async def test_a_host_whose_name_cannot_be_one_is_an_error_as_any_that_is_not_there(host):
    async with pooled() as pool:
        with pytest.raises(httpx.ConnectError, match="no name of a host"):
            await pool.send(Request("GET", f"http://{host}/", {}))
        assert not pool._open


async def test_port_0_is_asked_as_it_stands(monkeypatch):
    asked = []

    async def connect(loop, made, host, port, **how):
        asked.append(port)
        raise OSError

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    async with pooled() as pool:
        for address in ("http://127.0.0.1:0/", "http://127.0.0.1/"):
            with pytest.raises(httpx.ConnectError):
                await pool.send(Request("GET", address, {}))
    assert asked == [0, 80]


async def test_after_the_refusal_of_a_long_request_the_next_one_has_another_connection():
    async def refuse(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")  # the body is never read

    async with serving(refuse) as server, pooled() as pool:
        for _ in range(2):
            request = Request("POST", server.url, {}, b"x" * 20_000)
            assert (await pool.send(request)).status == 413
        assert server.connections == 2


class Slow(asyncio.Transport):
    """A transport that has sent a byte more whenever it is asked."""

    unsent = 10_000

    def write(self, data) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        self.unsent -= 1
        return self.unsent


async def test_a_request_may_take_longer_than_the_limit_while_its_bytes_go():
    connection = _Connection(lambda one: None)
    connection.connection_made(Slow())
    asyncio.get_running_loop().call_later(0.1, connection.data_received, ANSWER)
    assert (await connection.send(Request("POST", "http://h/", {}, b"x", timeout=0.02))).status == 200


async def test_a_request_whose_bytes_do_not_go_fails_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with pooled() as pool:
            with pytest.raises(httpx.WriteTimeout):
                await pool.send(Request("POST", url, {}, b"x" * 20_000_000, timeout=0.05))


async def test_a_server_of_another_protocol_that_speaks_first_is_told_as_such():
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server, pooled() as pool:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        connection = await pool._connected(Request("GET", url, {}))
        await connection.closed.wait()
        with pytest.raises(_Failed, match="the server speaks before it is asked"):
            await connection.send(Request("GET", url, {}))


async def test_of_an_answer_without_an_end_no_more_is_read_than_may_be():
    async def endless(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with serving(endless) as server, pooled() as pool:
        answer = await pool.send(asks(server, most=25_000))
        assert 25_000 < len(answer.content) < 1_000_000
        await server.ended[0].wait()


async def test_content_that_was_encoded_on_the_way_is_decoded():
    packed = gzip.compress(b'{"seq": 3}')

    async def encoded(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(packed) + packed)

    async with serving(encoded) as server:
        connection = HttpConnection(server.url, auth_token="t")
        assert await connection.request("GET", "/api/workers") == {"seq": 3}
        await connection.close()


async def test_a_runtime_behind_a_proxy_that_encodes_content_is_waited_for_until_it_is_ready():
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) > 1:
            return httpx.Response(200)
        if "gzip" not in request.headers["Accept-Encoding"]:
            return httpx.Response(503, json={"stage": "starting"})
        packed = gzip.compress(b'{"stage": "starting"}')
        return httpx.Response(503, headers={"Content-Encoding": "gzip"}, content=packed)

    asked: list[httpx.Request] = []
    connection = HttpConnection("http://h", transport=httpx.MockTransport(answer))
    await connection.start()
    assert len(asked) == 2


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_content_that_a_transport_of_httpx_gives_encoded_is_decoded_once(is_streamed):
    async def pieces() -> AsyncIterator[bytes]:
        yield gzip.compress(b'{"seq": 3}')

    def answer(request: httpx.Request) -> httpx.Response:
        content = pieces() if is_streamed else gzip.compress(b'{"seq": 3}')
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=content)

    connection = HttpConnection("http://h", transport=httpx.MockTransport(answer))
    assert await connection.request("GET", "/api/workers") == {"seq": 3}
    await connection.close()


async def test_the_password_of_an_address_is_not_sent_as_its_host():
    async with serving(answering) as server, pooled() as pool:
        await pool.send(Request("GET", server.url.replace("//", "//me:hunter2@"), {}))
        assert b"hunter2" not in server.heads[0]
        assert f"Host: {urlsplit(server.url).netloc}\r\n".encode() in server.heads[0]


@given(
    st.lists(
        st.text("az/-%._~ä#? |", min_size=1, max_size=8).filter(lambda name: name.strip(".")), max_size=4
    ),
    st.dictionaries(
        st.text("abc&= ", min_size=1, max_size=5),
        st.one_of(
            st.text("ab%& =+ä", max_size=8),
            st.integers(),
            st.booleans(),
            st.none(),
            st.lists(st.text("ab", max_size=3)),
        ),
        max_size=3,
    ),
)
def test_addresses_say_to_a_server_what_those_of_httpx_do(names, query):
    path = "/api/" + in_path(*names)
    ours = urlsplit(address_of("http://h", path, query))
    theirs = httpx.URL(f"http://h{path}", params=query)
    assert unquote(ours.path) == theirs.path
    assert parse_qsl(ours.query, keep_blank_values=True) == parse_qsl(
        theirs.query.decode(), keep_blank_values=True
    )


PUBLISHES = """
import asyncio, sys
from dnworker import RuntimeClient

async def main():
    async with RuntimeClient(sys.argv[1], auth_token="t") as client:
        async with client.session_group("startup"):  # as the runner of a process calls a startup handler
            await client.publish("demo.go", {})
        print([name for name in ("httpx", "httpcore", "anyio") if name in sys.modules])
        try:
            await client.fetch_worker_detail("demo", "nobody")
        except Exception as exc:
            import httpx
            print(isinstance(exc, httpx.HTTPStatusError), exc.response.status_code)

asyncio.run(main())
"""


async def test_a_client_imports_httpx_when_a_request_fails_and_not_before():
    async with Runtime(port=0, token="t") as runtime:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", PUBLISHES, runtime.url],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    assert done.stdout.splitlines() == ["[]", "True 404"]


async def test_a_client_may_be_closed_and_used_again():
    async with Runtime(port=0, token="t") as runtime:
        client = RuntimeClient(runtime.url, auth_token="t")
        for _ in range(2):
            assert (await client.publish("demo.go", {}))["seq"]
            await client.close()
