"""What a client may send over a socket, frame by frame."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dnworker import Runtime
from dnworker.core.limits import Limits

from .raw import raw, read_all, until_closed

HANDSHAKE = (
    b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, MORE, CLOSE, PING = 1, 0, 8, 9


@pytest.fixture
async def quick(caplog):
    """A runtime whose times are short; that it logged no error is checked in the end."""
    limits = Limits(header_seconds=0.4, body_seconds=0.4)
    async with Runtime(port=0, token="s3cret", limits=limits) as runtime:
        yield runtime
        await until_closed(runtime)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, length: int | None = None
):
    size, mask = len(data) if length is None else length, 0x80 if masked else 0
    if size < 126:
        head = bytes([mask | size])
    elif size < 65_536:
        head = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([mask | 127]) + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + head + (b"\0\0\0\0" if masked else b"") + data


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), 400),
        ((b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        ((b"Version: 13", b"Version: 12"), 400),
        ((b"Authorization: Bearer s3cret\r\n", b""), 403),
        ((b"GET", b"POST"), 400),
        ((b"HTTP/1.1", b"HTTP/1.0"), 400),
        ((b"/api/ws ", b"/api/ws?a=" + b"a" * 9_000 + b" "), 414),
        ((b"Host", b"X: " + b"a" * 9_000 + b"\r\nHost"), 431),
        ((b"/api/ws ", b"/api/ws?a=\xff "), 400),
        ((b"Host", b"Content-Length: 2\r\nHost"), 400),
    ],
    ids=["no key", "key", "version", "no token", "post", "1.0", "long", "long header", "bytes", "body"],
)
async def test_a_handshake_that_is_wrong_is_refused(quick, change, status):
    async with raw(quick) as (reader, writer):
        writer.write(HANDSHAKE.replace(*change))
        assert (await read_all(reader)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, b"a", fin=False) + frame(MORE, b"\xff"), 1007),
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(3, b"{}"), 1002),
        (frame(MORE, b"{}"), 1002),
        (frame(TEXT, b"{}", fin=False) + frame(TEXT, b"{}"), 1002),
        (frame(TEXT, length=1 << 40), 1009),
        (frame(TEXT, length=17_000_000), 1009),
        (frame(TEXT, fin=False) + frame(MORE, fin=False) * 1_001, 1009),
        (frame(TEXT, b"{", fin=False), 1008),
        (frame(PING, b"a" * 126), 1002),
        (frame(PING, fin=False), 1002),
        (frame(CLOSE, b"a"), 1002),
    ],
    ids=["no utf-8", "no utf-8 in two", "unmasked", "opcode", "no beginning", "two beginnings", "huge", "large",
         "fragments", "no end", "long ping", "ping in two", "close"],
)  # fmt: skip
async def test_frames_that_are_wrong_or_too_many_end_the_socket_with_a_reason(quick, sent, code):
    async with raw(quick) as (reader, writer):
        writer.write(HANDSHAKE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(sent)
        end = await read_all(reader)
    assert end[:1] == b"\x88", end
    assert int.from_bytes(end[2:4], "big") == code


async def test_compression_is_not_agreed_to(quick):
    async with raw(quick) as (reader, writer):
        writer.write(HANDSHAKE.replace(b"Host", b"Sec-WebSocket-Extensions: permessage-deflate\r\nHost"))
        assert b"Extensions" not in await reader.readuntil(b"\r\n\r\n")


async def test_a_flood_of_pings_that_reads_nothing_costs_no_memory_and_is_ended(quick):
    async with raw(quick) as (_, writer):
        writer.write(HANDSHAKE)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        largest = 0
        async with asyncio.timeout(60):
            while not writer.is_closing() and not (largest and not len(quick.server.connections)):
                writer.write(frame(PING, b"a" * 100) * 1_000)
                try:
                    async with asyncio.timeout(0.05):
                        await writer.drain()
                except TimeoutError:
                    pass
                except ConnectionError:
                    break
                for one in [*quick.server.connections._all]:
                    largest = max(largest, one.transport.get_write_buffer_size())
    assert largest < 1_000_000


async def test_early_frames_do_no_harm(quick):
    async with raw(quick) as (reader, writer):
        writer.write(HANDSHAKE + frame(TEXT, b'{"command_id":"1","op":"hello"}'))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, b'{"command_id":"2","op":"hello"}'))
        assert b"hello.ack" in await reader.readuntil(b"}}")


async def test_a_handshake_that_says_that_it_has_no_body_is_taken(quick):
    sent = HANDSHAKE.replace(b"Host", b"Content-Length: 0\r\nHost", 1)  # as Java's client does
    async with raw(quick) as (reader, writer):
        writer.write(sent)
        assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
        writer.write(frame(CLOSE))
        await read_all(reader)
