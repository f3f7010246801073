"""Two runtimes in one process: `there` is deployed, `here` is the notebook's; and a proxy between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from dnworker import Runtime, Worker
from dnworker.attach.attaching import attach
from dnworker.attach.attachment import Attachment

TOKEN = "s3cret"


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return as soon as a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(attachment: Attachment) -> None:
    """Return as soon as everything that came has a verdict."""
    await until(lambda: not attachment.score.pending and not attachment.waiting)


@asynccontextmanager
async def attached(here: Runtime, there: Runtime, **how):
    """Attach for the block, and detach after it."""
    how.setdefault("token", TOKEN)
    attachment = await attach(here, how.pop("url", there.url), **how)
    try:
        await until(lambda: attachment.state == "following")
        yield attachment
    finally:
        await attachment.detach()


def listener(name: str = "bridge", kind: str = "order.placed") -> tuple[Worker, list]:
    """Return a worker that notes what it gets."""
    worker, got = Worker(name), []

    @worker.on_event(kind)
    async def on_event(event, client) -> None:
        got.append(event)

    return worker, got


def flagger(limit: int, name: str = "bridge") -> Worker:
    """Return a worker that flags orders above a limit."""
    worker = Worker(name)

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        if event.payload["amount"] > limit:
            await client.publish(
                "order.flagged", {"id": event.payload["id"], "at": event.timestamp.isoformat()}
            )

    return worker


class Proxy:
    """Passes connections on to a runtime, notes the first line of each request, and can cut them."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self.requests: list[str] = []
        self.bytes_down = 0
        self.cut_after: int | None = None
        """Bytes of answers after which all connections are cut, once."""
        self.is_closed = False

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        self.cut()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def aim(self, url: str) -> None:
        """Pass new connections on to another runtime."""
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port

    def cut(self) -> None:
        """End all connections, in the middle of whatever they carry."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self.is_closed:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers.add(far_writer)
            with suppress(OSError):
                await asyncio.gather(
                    self._pass(reader, far_writer, self._note), self._pass(far_reader, writer, self._count)
                )
        except (OSError, asyncio.CancelledError):  # cancelled by the end of the proxy alone
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader, writer, note) -> None:
        try:
            while data := await reader.read(65_536):
                note(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def _note(self, data: bytes) -> None:
        for method in (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE "):
            if data.startswith(method):
                self.requests.append(data.partition(b"\r\n")[0].decode())

    def _count(self, data: bytes) -> None:
        self.bytes_down += len(data)
        if self.cut_after is not None and self.bytes_down >= self.cut_after:
            self.cut_after = None
            self.cut()
