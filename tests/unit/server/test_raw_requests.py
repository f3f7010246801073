"""Whatever bytes come, the server refuses or serves them, goes on, logs no error, and keeps no connection."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnworker import Runtime
from dnworker.core.limits import Limits

from .raw import GOOD, statuses

pytestmark = pytest.mark.slow

token = st.sampled_from([b"", b"Authorization: Bearer s3cret\r\n", b"Authorization: Bearer wrong\r\n"])
line_end = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n ", b"\0", b""])
method = st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"\xff"])
target = st.sampled_from(
    [b"/api/health", b"/api/runtime", b"/api/events", b"/panel/session", b"/api/ws", b"/api/ws/events?kinds=a", b"/",
     b"*", b"http://localhost/api/health", b"http://evil/", b"/%", b"/%00%ff", b"/a#b", b"//", b"?", b"/\xff", b""]
)  # fmt: skip
version = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTP/1.1", b""])
header = st.one_of(
    st.sampled_from(
        [b"Host: localhost", b"Host: evil", b"Host:", b"Content-Length: 2", b"Content-Length: 0", b"Content-Length: x",
         b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
         b"Expect: 100-continue", b"Connection: close", b"Connection: upgrade", b"Connection: Upgrade, x",
         b"Upgrade: websocket", b"Upgrade: h2c", b"Sec-WebSocket-Version: 13", b"Origin: null", b"Trailer: Host",
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Content-Type: application/json", b": x", b"X : y",
         b"Cookie: dnworker-panel=x", b"traceparent: 00-0-0-0", b"Content-Encoding: gzip"]
    ),
    st.binary(max_size=40),
)  # fmt: skip
body = st.one_of(
    st.just(b""),
    st.sampled_from(
        [b"{}", b'{"kind":"a"}', b"2\r\n{}\r\n0\r\n\r\n", b"2;a=b\r\n{}\r\n0\r\nHost: x\r\n\r\n", b"-1\r\n", b"fffffffff\r\n",
         b"\x81\x82\0\0\0\0{}", b"\x01\x80\0\0\0\0", b"\x89\xfe\0\xff"]
    ),
    st.binary(max_size=60),
)  # fmt: skip


@st.composite
def requests(draw):
    end = draw(line_end)
    lines = [draw(method) + b" " + draw(target) + b" " + draw(version)]
    if draw(st.integers(0, 4)):
        lines.append(b"Host: localhost")
    lines += draw(st.lists(header, max_size=6))
    return end.join(lines) + end + draw(token) + end + draw(body)


class Served:
    """A runtime on a thread of its own, whose times are short."""

    def __init__(self) -> None:
        self.ready: Future[Runtime] = Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.thread.start()
        self.runtime = self.ready.result(30)

    async def _run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        limits = Limits(header_seconds=0.1, body_seconds=0.1)
        async with Runtime(port=0, token="s3cret", limits=limits) as runtime:
            self.ready.set_result(runtime)
            await self.stop.wait()

    def connect(self) -> socket.socket:
        where = urlsplit(self.runtime.url or "")
        return socket.create_connection((where.hostname, where.port), timeout=10)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(30)


@pytest.fixture(scope="module")
def served():
    one = Served()
    yield one
    one.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(requests(), min_size=1, max_size=3), cuts=st.lists(st.integers(0, 400), max_size=3))
def test_whatever_bytes_come_they_are_refused_or_served_and_the_next_client_is_served(served, parts, cuts):
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        sent = b"".join(parts)
        with served.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):
                last = 0
                for cut in sorted({*cuts, len(sent)}):
                    client.sendall(sent[last:cut])
                    last = cut
            with suppress(TimeoutError, ConnectionError):
                client.settimeout(0.03)
                got = client.recv(65_536)
                assert got[:5] in (b"HTTP/", b"")
                assert set(statuses(got)) <= {*range(100, 102), 200, 307, *range(400, 500), 501, 505}
        with served.connect() as good:
            good.sendall(GOOD)
            assert good.recv(65_536).startswith(b"HTTP/1.1 200 ")
    finally:
        logging.getLogger().removeHandler(handler)
    assert [r.getMessage() for r in records] == []


def test_no_connection_is_left_after_the_times_of_the_limits(served):
    async def left() -> int:
        async with asyncio.timeout(60):
            while served.runtime.server.connections:
                await asyncio.sleep(0.02)
        return len(served.runtime.server._server.server_state.connections)

    assert asyncio.run_coroutine_threadsafe(left(), served.loop).result(30) == 0
