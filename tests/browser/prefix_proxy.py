"""A proxy that takes a prefix off each path, as nginx does with `location /dnworker/ { proxy_pass http://...; }`."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


class PrefixProxy:
    """Listens on a port of loopback; what is not below the prefix is a 404 and is noted."""

    def __init__(self, prefix: str, target: str) -> None:
        self._prefix = prefix.encode()
        self._target = urlsplit(target)
        self.strays: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one request on, and all that comes after it, where that is a WebSocket."""
        try:
            head = await reader.readuntil(HEAD_END)
            method, path, rest = head.split(b" ", 2)
            if not path.startswith(self._prefix + b"/"):
                self.strays.append(path.decode())
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            if b"\r\nupgrade:" not in rest.lower():
                rest = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"\r\nConnection: close", rest)
            up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
            try:
                up_writer.write(b" ".join((method, path.removeprefix(self._prefix), rest)))
                there = asyncio.create_task(_pipe(reader, up_writer))
                await _pipe(up_reader, writer)
            finally:
                there.cancel()
                await asyncio.wait({there})
                await _close(up_writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a side has gone
        finally:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@contextmanager
def behind(prefix: str, target: str) -> Iterator[tuple[str, PrefixProxy]]:
    """Run a proxy on a thread with a loop of its own; gives the address below which the target is."""
    proxy = PrefixProxy(prefix, target)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def run() -> None:
        over = asyncio.Event()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        started.set_result((asyncio.get_running_loop(), over, server.sockets[0].getsockname()[1]))
        await over.wait()
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    loop, over, port = started.result(10)
    try:
        yield f"http://127.0.0.1:{port}{prefix}", proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
