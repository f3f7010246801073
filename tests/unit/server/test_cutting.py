"""Clients that do not read: they are told where they can be, and cut off where they cannot."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing, suppress

import pytest

from dnworker.server import cutting
from dnworker.server.bounded_websocket import BoundedWebSocket
from dnworker.server.websocket_protocol import WebSocketProtocol

HELLO = {"command_id": "1", "op": "hello"}
SUBSCRIBE = {"command_id": "2", "op": "subscribe", "session_id": "s"}


def frame(message):
    """Return a client's text frame, masked with zeros (RFC 6455 5.2)."""
    text = json.dumps(message).encode()
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0" + text


async def connect(served, path):
    """Open a WebSocket by hand, and read nothing after the handshake."""
    loop = asyncio.get_running_loop()
    one = socket.socket()
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    port = int(served.url.rpartition(":")[2])
    await loop.sock_connect(one, ("127.0.0.1", port))
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Authorization: Bearer s3cret\r\n\r\n"
    )
    await loop.sock_sendall(one, request.encode())
    assert b" 101 " in await loop.sock_recv(one, 4096)
    return one


async def until_cut(one):
    """Read what the kernel still has until the connection has ended."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionResetError):
        while await loop.sock_recv(one, 1_000_000):
            pass


@pytest.mark.parametrize("path", ["/api/ws/events", "/api/ws"])
async def test_a_client_that_never_reads_is_cut_off(served, monkeypatch, path):
    monkeypatch.setattr(cutting, "DRAIN_SECONDS", 0.2)
    gone = asyncio.Event()
    monkeypatch.setattr(cutting, "cut_off", lambda scope, cut=cutting.cut_off: (cut(scope), gone.set()))
    with closing(await connect(served, path)) as one:
        if path == "/api/ws":
            await asyncio.get_running_loop().sock_sendall(one, frame(HELLO) + frame(SUBSCRIBE))
            while not served.bus._subscribers.of_kind("demo.big"):
                await asyncio.sleep(0)
        for _ in range(40):
            for _ in range(20):
                served.bus.publish("demo.big", {"x": "y" * 20_000}, session_id="s")
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await gone.wait()
            await until_cut(one)
            while served.bus._subscribers.of_kind("demo.big"):
                await asyncio.sleep(0)


async def test_a_client_that_reads_again_in_time_is_told(served):
    with closing(await connect(served, "/api/ws/events?kinds=demo.big")) as one:
        for _ in range(400):
            served.bus.publish("demo.big", {"x": "y" * 20_000})
        received = b""
        async with asyncio.timeout(60):
            while b"transport.subscriber_dropped" not in received[-2_000:]:
                received = received[-2_000:] + await asyncio.get_running_loop().sock_recv(one, 1_000_000)


def test_the_socket_below_the_server_is_bounded_and_has_a_wire():
    assert issubclass(WebSocketProtocol, BoundedWebSocket)
