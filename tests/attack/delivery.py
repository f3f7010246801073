"""Attacks on delivery: bursts, busy and stopped processes, sockets that break, clients that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving
from tests.interop.environment import HOME as REFERENCE
from tests.interop.environment import SDK, reference_python

OURS = """
import gc, json, os, time
if os.environ.get("THROUGH"):
    os.environ["DREADNODE_RUNTIME_URL"] = os.environ["THROUGH"]
from {package} import Worker
worker = Worker(name="sink")
seen = []

@worker.on_event("demo.item")
async def item(event, client):
    seen.append(event.payload["n"])

@worker.on_event("demo.busy")
async def busy(event, client):
    time.sleep(event.payload["seconds"])

@worker.on_event("demo.abort")
async def abort(event, client):
    from websockets.asyncio.client import ClientConnection
    for connection in [one for one in gc.get_objects() if type(one) is ClientConnection]:
        connection.transport.abort()

@worker.on_event("demo.myself")
async def myself(event, client):
    for n in range(event.payload["count"]):
        await client.publish("demo.item", {{"n": n}})

@worker.on_event("demo.end")
async def end(event, client):
    with open(os.environ["OUT"] + ".tmp", "w") as file:
        json.dump(dict(seen=seen, doubled=0), file)
    os.rename(os.environ["OUT"] + ".tmp", os.environ["OUT"])

if __name__ == "__main__":
    worker.run()
"""

SOURCE = """
import pathlib
from dnworker import Worker
worker = Worker("source")

@worker.on_event("demo.burst")
async def burst(event, client):
    padding = "x" * event.payload["size"]
    first = event.payload["first"]
    for n in range(first, first + event.payload["count"]):
        await client.publish("demo.item", {"n": n, "x": padding})
    pathlib.Path(event.payload["done"]).touch()
"""

PLAIN = """
import asyncio, json, os, time
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
seen, doubled, last = [], 0, 0
url = (os.environ.get("THROUGH") or os.environ["DREADNODE_RUNTIME_URL"]).replace("http", "ws", 1)
kinds = "&".join("kinds=demo." + word for word in ("item", "busy", "abort", "end"))
headers = {"Authorization": "Bearer " + os.environ["DREADNODE_RUNTIME_TOKEN"]}

async def main():
    global doubled, last
    while True:
        try:
            async with connect(f"{url}/api/ws/events?{kinds}", additional_headers=headers, proxy=None) as socket:
                async for frame in socket:
                    event = json.loads(frame)
                    if not event["seq"]:
                        continue
                    if event["seq"] <= last:
                        doubled += not event["replay"]
                        continue
                    last = event["seq"]
                    match event["kind"]:
                        case "demo.item":
                            seen.append(event["payload"]["n"])
                        case "demo.busy":
                            time.sleep(event["payload"]["seconds"])
                        case "demo.abort":
                            socket.transport.abort()
                        case "demo.end":
                            with open(os.environ["OUT"] + ".tmp", "w") as file:
                                json.dump(dict(seen=seen, doubled=doubled), file)
                            os.rename(os.environ["OUT"] + ".tmp", os.environ["OUT"])
        except (ConnectionClosed, InvalidHandshake, OSError, EOFError):
            pass
        await asyncio.sleep(0.05)

asyncio.run(main())
"""

NODE = """
const fs = require("fs");
const base = (process.env.THROUGH || process.env.DREADNODE_RUNTIME_URL).replace("http", "ws");
const kinds = ["item", "busy", "abort", "end"].map((word) => "kinds=demo." + word).join("&");
const seen = [];
let doubled = 0, last = 0;
function open() {
  const headers = { Authorization: "Bearer " + process.env.DREADNODE_RUNTIME_TOKEN };
  const socket = new WebSocket(base + "/api/ws/events?" + kinds, { headers });
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (!event.seq) return;
    if (event.seq <= last) { if (!event.replay) doubled++; return; }
    last = event.seq;
    if (event.kind === "demo.item") seen.push(event.payload.n);
    if (event.kind === "demo.busy") { const until = Date.now() + 1000 * event.payload.seconds; while (Date.now() < until); }
    if (event.kind === "demo.end") {
      fs.writeFileSync(process.env.OUT + ".tmp", JSON.stringify({ seen, doubled }));
      fs.renameSync(process.env.OUT + ".tmp", process.env.OUT);
    }
  };
  socket.onclose = () => setTimeout(open, 50);
}
open();
"""


def node() -> str | None:
    """Return why no Node worker can run here."""
    return None if shutil.which("node") else "node is not on the PATH"


def reference() -> str | None:
    """Return why no child of the reference's SDK can run here."""
    if (REFERENCE / f"{SDK}.installed").exists() or os.environ.get("CI"):
        return None
    return "the reference's environment is not made; `pytest tests/interop -k loader` makes it"


def lines_of(child: str) -> tuple[list[str], str]:
    """Return the command of a child, and its file's name."""
    match child:
        case "ours":
            return [sys.executable, "sink.py"], OURS.format(package="dnworker")
        case "reference":
            return [str(reference_python()), "sink.py"], OURS.format(package="dreadnode.capabilities.worker")
        case "plain":
            return [sys.executable, "sink.py"], PLAIN
        case _:
            return ["node", "--experimental-websocket", "sink.js"], NODE


class Proxy:
    """A TCP proxy whose connections can be cut."""

    def __init__(self) -> None:
        self.url = ""
        self.target = 0
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._half_dead: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._pairs[me] = writer, far_writer
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, far_writer))
                both.create_task(self._carry(far_reader, writer))
        finally:
            self._pairs.pop(me, None)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()

    def cut(self, *, client_only: bool = False) -> None:
        """Cut all connections; with `client_only` the runtime does not learn of it."""
        for task, (client, far) in self._pairs.items():
            task.cancel()
            client.transport.abort()
            if client_only:
                self._half_dead.append(far)
            else:
                far.transport.abort()
        self._pairs.clear()

    async def close(self) -> None:
        """End everything."""
        self.cut()
        for far in self._half_dead:
            far.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxied() -> AsyncIterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


class Sink:
    """A worker process that notes what it gets, on a runtime of its own."""

    def __init__(self, served: Served, out: Path) -> None:
        self.served = served
        self.out = out

    async def burst(self, count: int, *, first: int = 0, size: int = 0, within: float = 120) -> float:
        """Have a handler in the runtime publish so many events in an awaited loop; returns seconds."""
        began = time.monotonic()
        done = self.out.with_name("burst")
        done.unlink(missing_ok=True)
        await self.served.publish(
            "demo.burst", {"first": first, "count": count, "size": size, "done": str(done)}
        )
        async with asyncio.timeout(within):
            while not done.exists():
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def publish(self, first: int, count: int, *, size: int = 0) -> None:
        """Publish so many events by as many clients at once."""
        padding = "x" * size
        await asyncio.gather(
            *(
                self.served.client.post(
                    "/api/events",
                    json={"kind": "demo.item", "payload": {"n": n, "x": padding}},
                    timeout=120,
                )
                for n in range(first, first + count)
            )
        )

    async def seen(self, *, within: float = 60) -> dict[str, Any]:
        """Return what the process has got by now, once it answers."""
        self.out.unlink(missing_ok=True)
        await self.served.publish("demo.end")
        async with asyncio.timeout(within):
            while not self.out.exists():
                await asyncio.sleep(0.05)
        return dict(json.loads(self.out.read_text()))

    async def check(self, count: int, *, in_order: bool = True, within: float = 240) -> None:
        """Raise AssertionError unless each of so many events has arrived once, and in order."""
        deadline = time.monotonic() + within
        # A handler may begin with a request of its own, those of the reference do: then the end is first.
        while len((got := await self.seen(within=within))["seen"]) < count and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
        seen: list[int] = got["seen"]
        lost = (await self.served.detail("demo:sink")).get("events_lost")
        assert lost is None, f"lost: {lost}"
        assert len(seen) == len(set(seen)), f"{len(seen) - len(set(seen))} of {len(seen)} came twice"
        assert set(seen) == set(range(count)), f"{len(set(range(count)) - set(seen))} of {count} are missing"
        assert got["doubled"] == 0, f"{got['doubled']} copies are not marked as such"
        if in_order:
            wrong = [(a, b) for a, b in itertools.pairwise(seen) if b < a]
            assert not wrong, f"they came in another order: {wrong[:5]}"

    async def pid(self) -> int:
        """Return the process."""
        return int((await self.served.detail("demo:sink"))["process"]["pid"])


@contextlib.asynccontextmanager
async def sink(scale: Scale, child: str, *arguments: str, through: str = "") -> AsyncIterator[Sink]:
    """Run a runtime with one worker process, and wait until it listens."""
    directory = scale.directory / child
    directory.mkdir()
    (command, file), text = lines_of(child)[0][:1] + lines_of(child)[0][-1:], lines_of(child)[1]
    args = json.dumps([*lines_of(child)[0][1:-1], "${CAPABILITY_ROOT}/" + file])
    out = directory / "out.json"
    env = json.dumps({"OUT": str(out), "THROUGH": through})
    workers = (
        f"sink: {{command: {json.dumps(command)}, args: {args}, env: {env}}}\nsource: {{path: source.py}}"
    )
    root = make_capability(directory / "cap", workers, {file: text, "source.py": SOURCE})
    async with serving(directory, root, *arguments) as served:
        ready = Sink(served, out)
        yield ready


def _children() -> list[str]:
    """Return the children that can run here."""
    return ["ours", "plain", *([] if node() else ["node"]), *([] if reference() else ["reference"])]


@attack(limit=600)
async def every_event_of_a_burst_arrives_once(scale: Scale) -> str:
    """A handler publishes 1,000 and 100,000 events in an awaited loop, for processes of all kinds."""
    rates = []
    for child in ["ours", "plain"] if scale.short else _children():
        count = scale.of(10_000 if child == "reference" else 100_000, 1_000)
        async with sink(scale, child) as it:
            await it.seen()
            began = time.monotonic()
            await it.burst(count)
            await it.check(count, in_order=child != "reference")
            rates.append(f"{count:,} to {child} at {count / (time.monotonic() - began):,.0f}/s")
    return ", ".join(rates)


CUTS: dict[str, Callable[[Sink, Proxy], Any]] = {
    "both sides": lambda it, proxy: proxy.cut(),
    "the client's side": lambda it, proxy: proxy.cut(client_only=True),
    "the client": lambda it, proxy: it.served.publish("demo.abort"),
}


NOT_CUT = {("plain", "the client"), ("node", "the client"), ("node", "the client's side")}
"""They do not abort their sockets themselves, and connecting has no time limit in Node's WebSocket."""


@attack(limit=600)
async def no_cut_of_its_socket_loses_or_doubles_an_event(scale: Scale) -> str:
    """A worker's socket breaks 20 times during a burst while its process is busy for 6 s."""
    held = []
    children = ["ours"] if scale.short else _children()
    for child in children:
        for name, cut in [*CUTS.items()][: scale.of(3, 1)]:
            if (child, name) in NOT_CUT:
                continue
            where = Scale(scale.short, scale.directory / name.replace(" ", "-"))
            where.directory.mkdir(exist_ok=True)
            async with proxied() as proxy, sink(where, child, through=proxy.url) as it:
                proxy.target = urlsplit(it.served.url).port or 0
                await it.seen()
                bursts, count = scale.of(20, 8), scale.of({"ours": 200, "reference": 10}.get(child, 50), 50)
                await it.served.publish("demo.busy", {"seconds": scale.of(6, 1)})
                for n in range(bursts):
                    await it.burst(count, first=n * count)
                    made = cut(it, proxy)
                    if asyncio.iscoroutine(made):
                        await made
                    await asyncio.sleep(0.02 if n % 2 else 0.4)
                await it.check(bursts * count, in_order=child != "reference")
                held.append(f"{child}/{name}")
    return f"{scale.of(20, 8)} cuts each: {', '.join(held)}"


@attack(limit=300)
async def a_stopped_process_slows_publishers_down_and_loses_nothing(scale: Scale) -> str:
    """Events of 900 kB, more than its queue holds, are published while a process is stopped (SIGSTOP)."""
    count, limit = scale.of(100, 20), scale.of(64, 8)
    async with sink(scale, "ours", "--limit", f"queue={limit}MB") as it:
        await it.seen()
        before, pid = it.served.rss_mib(), await it.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            burst = asyncio.create_task(it.burst(count, size=900_000))
            sending = asyncio.create_task(it.publish(count, count // 5, size=900_000))
            await asyncio.sleep(scale.of(10, 1))
            waits = not burst.done() or not sending.done()
            await it.served.answers_within(5)
            peak = it.served.rss_mib()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert waits, "no publisher was slowed down"
        await asyncio.gather(burst, sending)
        await it.check(count + count // 5, in_order=False)
    return f"{count} events of 900 kB from a handler and {count // 5} clients wait; {before:.0f} MiB, then {peak:.0f}"


@attack(limit=300)
async def what_is_lost_after_all_is_seen(scale: Scale) -> str:
    """A process stays stopped while more is published than its queue holds: it is counted and logged."""
    arguments = ("--limit", "queue=1MB", "--limit", "publish_seconds=1")
    async with sink(scale, "ours", *arguments) as it:
        await it.seen()
        pid = await it.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            await it.burst(20, size=900_000)
            took = time.monotonic() - began
        finally:
            os.kill(pid, signal.SIGCONT)
        await it.served.line("events lost: its queue was full", within=10)
        detail = await it.served.detail("demo:sink")
        lost = int(detail["events_lost"]["count"])
        seen = len((await it.seen())["seen"])
        assert seen + lost >= 20, f"{20 - seen - lost} events vanished silently"
        runtime = await it.served.get("/api/runtime")
        assert "events lost" in json.dumps(runtime), "the health entry does not say it"
    return f"publishers waited {took:.1f} s in all, {lost} of 20 counted as lost, {seen} arrived"


@attack(limit=300)
async def clients_that_never_read_are_closed(scale: Scale) -> str:
    """20 clients subscribe and never read while a burst of 900 kB events goes out."""
    count = scale.of(20, 5)
    async with sink(scale, "ours") as it:
        await it.seen()
        port = urlsplit(it.served.url).port
        events = scale.of(100, 24)
        await it.burst(events, size=900_000)
        await it.seen()
        before = it.served.rss_mib()
        await it.burst(events, first=events, size=900_000)  # what it costs without them
        await it.seen()
        without, before = it.served.rss_mib() - before, it.served.rss_mib()
        files = it.served.open_files()
        sockets = [await _subscribe_by_hand(port or 0, it.served.token) for _ in range(count)]
        began = time.monotonic()
        await it.burst(events, first=2 * events, size=900_000)
        peak = it.served.rss_mib()
        async with asyncio.timeout(30):
            while it.served.open_files() > files + 2:
                peak = max(peak, it.served.rss_mib())
                await asyncio.sleep(0.1)
        took = time.monotonic() - began
        for one in sockets:
            one.close()
        await it.check(3 * events)
        cost = peak - before - max(0.0, without)
        assert took < 15, f"they were closed after {took:.1f} s"
        assert cost < 50, f"{count} clients that never read cost {cost:.0f} MiB"
    return f"{count} clients closed {took:.1f} s after the burst began, at a cost of {cost:.0f} MiB"


async def _subscribe_by_hand(port: int, token: str) -> socket.socket:
    """Open an event stream, and read nothing after the handshake."""
    loop = asyncio.get_running_loop()
    one = socket.socket()
    one.setblocking(False)
    await loop.sock_connect(one, ("127.0.0.1", port))
    request = (
        f"GET /api/ws/events?kinds=demo.item HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    await loop.sock_sendall(one, request.encode())
    assert b"101" in await loop.sock_recv(one, 4096)
    return one
