"""WebSocket deliveries a second to 1, 10, 100 and 1,000 subscribers, beside `websockets`' own broadcast.

On both sides the server publishes by itself, so that only deliveries are measured; the bytes are the same.
Events of one turn of the loop go out in one write of ours, so that each number of subscribers has two rows:
16 events a turn, and one, where nothing can be put together.
Besides, with 100 subscribers: events that come over HTTP, of ours and of the reference.
"""

from __future__ import annotations

import json
import tempfile
import urllib.request
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path

from common import (
    QUICK,
    RUNS,
    TOKEN,
    Row,
    Served,
    apart,
    has_reference,
    median,
    post_request,
    report,
    row,
    serve_ours,
    serve_program,
    serve_reference,
    taken_in_turn,
)

ROWS = (
    "subscribers-1",
    "subscribers-10",
    "subscribers-100",
    "subscribers-1000",
    "single-1",
    "single-10",
    "single-100",
    "single-1000",
)

A_TURN = {"subscribers": 16, "single": 1}
"""Events that are published before the loop turns, by the beginning of the row's key."""

EVENTS = {1: 4_000, 10: 2_000, 100: 400, 1_000: 40}
"""How many events go to so many subscribers."""

OVER_HTTP = 100
"""Events and subscribers of the figures over HTTP."""

PAYLOAD = {"n": 1, "text": "x" * 100}

WORKER = f"""
import asyncio
from dnworker import Worker
worker = Worker(name="w")

@worker.on_event("bench.run")
async def run(event, client):
    for n in range(event.payload["count"]):
        await client.publish("bench.event", {PAYLOAD})
        if (n + 1) % event.payload["a_turn"] == 0:
            await asyncio.sleep(0)
"""

BROADCAST = """
import asyncio, sys
from websockets.asyncio.server import serve, broadcast

clients, text, running = set(), sys.argv[1], set()

async def take(socket):
    clients.add(socket)
    try:
        await socket.wait_closed()
    finally:
        clients.discard(socket)

async def publish(count, a_turn):
    for n in range(count):
        broadcast(clients, text)
        if (n + 1) % a_turn == 0:
            await asyncio.sleep(0)

def plain(connection, request):
    path, _, counts = request.path.partition("?")
    if path == "/publish":
        running.add(asyncio.create_task(publish(*map(int, counts.split(",")))))
    if path in ("/publish", "/api/ready"):
        return connection.respond(200, "ok")

async def main():
    async with serve(take, "127.0.0.1", int(sys.argv[2]), process_request=plain, compression=None):
        await asyncio.Event().wait()

asyncio.run(main())
"""


def capability(directory: Path) -> Path:
    """Write a capability with the worker that publishes."""
    directory.mkdir()
    (directory / "w.py").write_text(WORKER)
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\nworkers:\n  w: {path: w.py}\n"
    )
    return directory


def upgrade(url: str, path: str) -> str:
    """Return the request that opens a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )


def frame_of(url: str) -> str:
    """Return the text that a subscriber of ours gets, to be broadcast."""
    from websockets.sync.client import connect

    socket = f"{url.replace('http', 'ws')}/api/ws/events?kinds=bench.event"
    with connect(
        socket, additional_headers={"Authorization": f"Bearer {TOKEN}"}, proxy=None, compression=None
    ) as stream:
        body = json.dumps({"kind": "bench.event", "payload": PAYLOAD}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{url}/api/events", body, headers), timeout=20).close()
        return str(stream.recv(timeout=20))


def to_ours(url: str, subscribers: int, count: int, a_turn: int) -> dict[str, float]:
    """Return deliveries a second of a worker's events."""
    wanted = {"kind": "bench.run", "payload": {"count": count, "a_turn": a_turn}}
    host, port, trigger = post_request(url, "/api/events", wanted)
    return _receive(host, port, upgrade(url, "/api/ws/events?kinds=bench.event"), subscribers, trigger, count)


def to_broadcast(url: str, subscribers: int, count: int, a_turn: int) -> dict[str, float]:
    """Return deliveries a second of the broadcasting server."""
    host, _, port = url.removeprefix("http://").partition(":")
    trigger = f"GET /publish?{count},{a_turn} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    return _receive(host, int(port), upgrade(url, "/subscribe"), subscribers, trigger, count)


def over_http(url: str) -> dict[str, float]:
    """Return deliveries a second of events that come over one HTTP connection, one after the other."""
    host, port, request = post_request(url, "/api/events", {"kind": "bench.event", "payload": PAYLOAD})
    path = upgrade(url, "/api/ws/events?kinds=bench.event")
    return _receive(host, port, path, OVER_HTTP, request, OVER_HTTP, is_repeated=True)


def _receive(
    host: str,
    port: int,
    path: str,
    subscribers: int,
    trigger: bytes,
    count: int,
    *,
    is_repeated: bool = False,
) -> dict[str, float]:
    return apart(
        do="receive",
        host=host,
        port=port,
        upgrade=path,
        subscribers=subscribers,
        text='"bench.event"',
        trigger=trigger.decode(),
        count=count,
        is_repeated=is_repeated,
    )


def measure(ours: Served, bare: Served, reference: Served | None) -> tuple[list[Row], dict[str, object]]:
    """Take turns; returns the rows, and other figures."""
    rows, figures = [], dict[str, object]()
    for (name, a_turn), (subscribers, full) in product(A_TURN.items(), EVENTS.items()):
        key, count = f"{name}-{subscribers}", max(2, full // 20) if QUICK else full
        ways = (partial(to_ours, ours.url), partial(to_broadcast, bare.url))
        taken = taken_in_turn(RUNS, *(partial(way, subscribers, count, a_turn) for way in ways))
        mine, limit = [[one["rate"] for one in side] for side in taken]
        rows.append(row(key, mine, limit))
        figures[f"load_busy_{key}"] = max(median([one["busy"] for one in side]) for side in taken)
    if reference is not None:
        over = [partial(over_http, served.url) for served in (ours, reference)]
        mine, theirs = [[one["rate"] for one in side] for side in taken_in_turn(3, *over)]
        figures |= {"over_http_per_s": median(mine), "reference_over_http_per_s": median(theirs)}
    return rows, figures


def main() -> None:
    """Serve all, each off the core of the load."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        # The sockets of one turn may still be closing when the next one opens as many.
        options = ("--limit", "connections=4096")
        ours = stack.enter_context(serve_ours(capability(Path(home) / "ours"), pinned=True, options=options))
        bare = stack.enter_context(serve_program(BROADCAST, frame_of(ours.url), pinned=True))
        reference = stack.enter_context(serve_reference(pinned=True)) if has_reference() else None
        rows, figures = measure(ours, bare, reference)
    report(what="WebSocket deliveries a second", rows=rows, **figures, runs=RUNS)


if __name__ == "__main__":
    main()
