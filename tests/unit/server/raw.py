"""Raw requests over a real socket, for tests of what no HTTP client would send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from dnworker import Runtime

GOOD = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.asynccontextmanager
async def raw(runtime: Runtime) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to a runtime, and abort it in the end."""
    where = urlsplit(runtime.url or "")
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(runtime: Runtime, *parts: bytes, ends: bool = False) -> bytes:
    """Send the parts, and return all that comes until the server closes.

    Args:
        runtime: where to.
        parts: each is sent by itself.
        ends: whether the client says that it sends nothing more; else only the server can end this.
    """
    async with raw(runtime) as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if ends:
                writer.write_eof()
        return await read_all(reader)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the end, or until the connection breaks."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            got += chunk
    return bytes(got)


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of the answers in what came."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


async def until_closed(runtime: Runtime, *, but: int = 0) -> None:
    """Return when the server has no connections left, or only so many."""
    assert runtime.server is not None
    async with asyncio.timeout(60):
        while len(runtime.server.connections) > but:
            await asyncio.sleep(0.01)
