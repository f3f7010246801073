"""WebSocket deliveries a second to 100 subscribers: ours, `websockets`' own broadcast, the reference."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from common import (
    RUNS,
    TOKEN,
    in_turn,
    post_request,
    read_answer,
    report,
    serve_ours,
    serve_program,
    serve_reference,
)

SUBSCRIBERS = 100
EVENTS = 100

IN_FLIGHT = 16
"""Requests that a connection may have waiting: the server refuses more."""

BROADCAST = """
import asyncio, sys
from websockets.asyncio.server import serve, broadcast

clients = set()

async def take(socket):
    if socket.request.path.startswith("/publish"):
        async for text in socket:
            broadcast(clients, text)
        return
    clients.add(socket)
    await socket.wait_closed()

def ready(connection, request):
    if request.path == "/api/ready":
        return connection.respond(200, "ok")

async def main():
    async with serve(take, "127.0.0.1", int(sys.argv[1]), process_request=ready, compression=None):
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Subscribers:
    """Raw sockets that count the frames they get: parsing would measure the client."""

    def __init__(self) -> None:
        self.received = 0
        self.wanted = asyncio.Event()
        self._target = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str, path: str) -> None:
        """Connect all of them."""
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(SUBSCRIBERS):
            reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
            writer.write(
                (
                    f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ).encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head.split(b"\r\n")[0], head
            self._writers.append(writer)
            self._tasks.append(asyncio.create_task(self._count(reader)))

    async def _count(self, reader: asyncio.StreamReader) -> None:
        pending = b""
        while data := await reader.read(2**18):
            pending += data
            at = 0
            while len(pending) - at >= 4:
                length = pending[at + 1] & 127
                head = 2
                if length == 126:
                    length, head = int.from_bytes(pending[at + 2 : at + 4]), 4
                if len(pending) - at < head + length:
                    break
                if pending[at] & 15 == 1:
                    self.received += 1
                at += head + length
            pending = pending[at:]
            if self.received >= self._target:
                self.wanted.set()

    async def wait(self, count: int) -> None:
        """Return when all of them together have got `count` more frames."""
        self._target = count
        self.wanted.clear()
        if self.received < count:
            await self.wanted.wait()

    async def close(self) -> None:
        """Let go of all."""
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


BODY = {"kind": "bench.event", "payload": {"n": 1, "text": "x" * 100}}


async def over_http(url: str) -> float:
    """Return deliveries a second of events published over one HTTP connection."""
    host, port, request = post_request(url, "/api/events", BODY)
    subscribers = Subscribers()
    await subscribers.open(url, "/api/ws/events?kinds=bench.event")
    reader, writer = await asyncio.open_connection(host, port)
    started = time.perf_counter()
    writer.write(request * IN_FLIGHT)  # as the other publishes: without waiting for an answer in between
    for number in range(EVENTS):
        await read_answer(reader)
        if number + IN_FLIGHT < EVENTS:
            writer.write(request)
    await subscribers.wait(EVENTS * SUBSCRIBERS)
    took = time.perf_counter() - started
    writer.close()
    await subscribers.close()
    return EVENTS * SUBSCRIBERS / took


async def by_broadcast(url: str) -> float:
    """Return deliveries a second of frames given to the broadcasting server."""
    from websockets.asyncio.client import connect

    text = json.dumps(BODY | {"padding": "y" * 300})
    subscribers = Subscribers()
    await subscribers.open(url, "/subscribe")
    async with connect(f"{url.replace('http', 'ws')}/publish", proxy=None, compression=None) as publisher:
        started = time.perf_counter()
        for _ in range(EVENTS):
            await publisher.send(text)
        await subscribers.wait(EVENTS * SUBSCRIBERS)
        took = time.perf_counter() - started
    await subscribers.close()
    return EVENTS * SUBSCRIBERS / took


def run(measure: object) -> float:
    """Run one measure with a time limit: a server may lose what it is given."""

    async def limited() -> float:
        async with asyncio.timeout(60):
            return await measure  # type: ignore[misc]

    with contextlib.suppress(TimeoutError):
        return asyncio.run(limited())
    return 0.0


def main() -> None:
    """Measure all three in turn."""
    with (
        serve_ours() as (ours, _, _),
        serve_program(BROADCAST) as bare,
        serve_reference() as (reference, _, _),
    ):
        mine, limit, theirs = in_turn(
            RUNS,
            lambda: run(over_http(ours)),
            lambda: run(by_broadcast(bare)),
            lambda: run(over_http(reference)),
        )
    report(
        what=f"WebSocket deliveries a second to {SUBSCRIBERS} subscribers",
        ours_per_s=mine,
        broadcast_per_s=limit,
        reference_per_s=theirs,
        share_of_broadcast=mine / limit,
        times_the_reference=mine / theirs if theirs else None,
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
