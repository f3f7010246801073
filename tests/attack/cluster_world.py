"""Servers, nodes and publishers of the campaign of faults: real processes, and connections that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client

from dnworker.testing.nats_server import NatsServer
from tests.attack.cluster_history import Line, parse
from tests.attack.served import make_capability

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # nodes of `make cluster`

from cluster import Node
from nats_servers import free_ports

TOKEN = "t" * 40
PACE = 0.03
"""Seconds between two events of a publisher."""

NOTES = """
import asyncio, datetime, os, time
from dnworker import Worker
worker = Worker("{name}")
file = os.open(os.environ["HISTORY"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def write(*words):
    os.write(file, " ".join(map(str, (f"{{time.monotonic():.6f}}", *words))).encode() + b"\\n")

def note(what, client, event, session):
    write(what, "{name}", os.environ["NODE"], client.fence, event, session)

def names(event):
    return f"{{event.kind.partition('.')[2]}}:{{event.payload['n']}}", event.session_id or "-"

async def handle(event, client):
    note("begin", client, *names(event))
    await asyncio.sleep(0.25 if event.payload["n"] % 20 == 0 else 0.001)
    note("end", client, *names(event))
"""

COUNTS = """
worker.on_event("count.one")(handle)
worker.on_event("count.two")(handle)
worker.on_event("count.talk")(handle)
"""

RELAYS = """
@worker.on_event("count.one")
async def relay(event, client):
    note("begin", client, *names(event))
    n = time.monotonic_ns()  # what comes again publishes another event
    await client.publish("count.two", {{"n": n}})
    write("accepted", f"two:{{n}}", "-")
    note("end", client, *names(event))
"""

TICKS = """
@worker.every(cron="* * * * *")
async def minute(client):
    due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.02)
    note("tick", client, f"{{due:%H:%M}}", "-")

@worker.every(seconds=0.5)
async def often(client):
    note("begin", client, f"often:{{time.monotonic_ns()}}", "-")
"""

ENTRY = """
if __name__ == "__main__":
    worker.run()
"""

SKEW = """
import ctypes, datetime, gc, os, time
by = datetime.timedelta(seconds=float(os.environ["CLOCK_OFF_BY"]))
now, utcnow, seconds, ns = datetime.datetime.now, datetime.datetime.utcnow, time.time, time.time_ns
inside = gc.get_referents(datetime.datetime.__dict__)[0]
inside["now"] = classmethod(lambda cls, tz=None: now(tz) + by)
inside["utcnow"] = classmethod(lambda cls: utcnow() + by)
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
time.time = lambda: seconds() + by.total_seconds()
time.time_ns = lambda: ns() + int(by.total_seconds() * 1e9)
"""
"""Sets the time of day of a Python process wrong, and leaves its monotonic clock alone."""


def capability(root: Path) -> Path:
    """Write the workers: in the node's process and as processes of their own; returns the capability's root."""
    parts = {"near": COUNTS, "child": COUNTS, "relay": RELAYS, "ticks": TICKS}
    files = {f"{name}.py": (NOTES + part).format(name=name) + ENTRY for name, part in parts.items()}
    workers = "\n".join(
        f"child: {{command: '{sys.executable}', args: [child.py]}}"
        if name == "child"
        else f"{name}: {{path: {name}.py}}"
        for name in parts
    )
    return make_capability(root, workers, files)


class Proxy:
    """A way to a server that can be cut: `stall` is a black hole, `refuse` closes, `heal` goes on."""

    def __init__(self, server: NatsServer) -> None:
        self.port = 0
        self._to = server
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def stall(self) -> None:
        """Pass nothing on, and say nothing, in either direction."""
        self._open.clear()

    def refuse(self) -> None:
        """Close all connections, and each that comes."""
        self._refuses = True
        self.reset()

    def reset(self) -> None:
        """Close all connections; what they had under way is gone."""
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """Pass on what comes, and what has waited."""
        self._refuses = False
        self._open.set()

    async def close(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.close()
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        beyond = None
        try:
            await self._open.wait()
            if self._refuses:
                return
            back, beyond = await asyncio.open_connection("127.0.0.1", self._to.port)
            self._writers.add(beyond)
            pumps = {asyncio.create_task(self._pump(*way)) for way in ((reader, beyond), (back, writer))}
            _, others = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is away: so is this connection
        finally:
            for one in (writer, beyond):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


class Place:
    """A node over all of its lives: its name, its clock, its ways to the servers, and its process now."""

    def __init__(self, name: str, world: World, clock_off_by: float) -> None:
        self.name = name
        self.node: Node | None = None
        self.lives = 0
        self.is_paused = False
        self.ends: list[str] = []
        self._world = world
        self.clock_off_by = clock_off_by
        self.proxies = [Proxy(server) for server in world.servers]

    @property
    def life(self) -> str:
        """Its name and the number of its life."""
        return f"{self.name}/{self.lives}"

    @property
    def is_up(self) -> bool:
        """Whether it can be asked."""
        return self.node is not None and bool(self.node.url) and not self.is_paused

    async def start(self) -> None:
        """Begin another life; returns when it is ready."""
        self.lives += 1
        world = self._world
        environ = {"HISTORY": str(world.file), "NODE": self.life}
        if self.clock_off_by:
            environ |= {"CLOCK_OFF_BY": str(self.clock_off_by), "PYTHONPATH": str(world.skew)}
        broker = "nats://" + ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)
        directory = world.directory / "nodes" / str(self.lives)
        node = Node(self.name, directory, broker, TOKEN, [str(world.root)], environ)
        self.node = node
        await asyncio.to_thread(node.wait_ready)

    async def kill(self) -> None:
        """End it as a power failure ends a machine: its worker's processes end, too, by their guard."""
        if (node := self._take()) is not None:
            node.process.kill()
            await asyncio.to_thread(node.end)

    async def stop(self) -> None:
        """Ask it to end, and wait for that; what is not in order is kept in `ends`."""
        if (node := self._take()) is not None:
            began = time.monotonic()
            await asyncio.to_thread(node.end)
            if node.process.returncode != 0:
                said = node.said.read_text(errors="replace")[-600:]
                took = f"after {time.monotonic() - began:.1f} s"
                self.ends.append(f"{self.life} ended with {node.process.returncode} {took}: {said}")

    def _take(self) -> Node | None:
        node, self.node = self.node, None
        return node

    def pause(self) -> None:
        """Have its process stand still."""
        assert self.node is not None
        self.is_paused = True
        os.kill(self.node.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Have it go on."""
        assert self.node is not None
        self._world.note("woke", self.life)
        os.kill(self.node.process.pid, signal.SIGCONT)
        self.is_paused = False


class World:
    """All of a campaign; use `async with`."""

    def __init__(self, directory: Path, servers: int, store: Path, clocks: list[float]) -> None:
        self.directory = directory
        self.file = directory / "history"
        self.root = capability(directory / "cap")
        self.skew = directory / "skew"
        self.skew.mkdir()
        (self.skew / "sitecustomize.py").write_text(SKEW)
        self.servers = make_servers(store, servers)
        self.places = [Place(f"node-{n}", self, off) for n, off in enumerate(clocks, 1)]
        self._file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.refused = 0

    async def __aenter__(self) -> World:
        try:
            await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.servers))
            await self.leader()
            for place in self.places:
                for proxy in place.proxies:
                    await proxy.start()
            await asyncio.gather(*(place.start() for place in self.places))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(place.kill() for place in self.places))
        for place in self.places:
            for proxy in place.proxies:
                await proxy.close()
        await asyncio.gather(*(asyncio.to_thread(server.kill) for server in self.servers))
        os.close(self._file)

    def note(self, *words: object) -> None:
        """Write a line of the history."""
        os.write(self._file, " ".join(map(str, (f"{time.monotonic():.6f}", *words))).encode() + b"\n")

    def lines(self) -> list[Line]:
        """Return the history until now."""
        return parse(self.file.read_text())

    def said(self) -> list[str]:
        """Return what nodes said that they must not: ends that are not in order, and tracebacks."""
        found = [end for place in self.places for end in place.ends]
        for file in sorted((self.directory / "nodes").glob("*/*/stderr.txt")):
            _, mark, rest = file.read_text(errors="replace").partition("Traceback (most recent call last)")
            if mark:
                found.append(f"life {file.parts[-3]} of {file.parts[-2]} has a traceback: {rest[:1500]}")
        return found

    async def until(self, is_so: Callable[[], object], what: str, seconds: float) -> None:
        """Return when something is so; raises AssertionError after so many seconds."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"after {seconds:g} s not yet: {what}"
            await asyncio.sleep(0.2)

    def holder(self, worker: str) -> Place | None:
        """Return the node that handled something of a worker last, if it is up."""
        node = next((line.node for line in reversed(self.lines()) if line.worker == worker), "")
        return next((place for place in self.places if place.life == node and place.is_up), None)

    async def leader(self, stream: str = "") -> NatsServer:
        """Return the server that leads, of a stream or of all; waits until there is one."""
        if len(self.servers) == 1:
            return self.servers[0]
        client, found = Client(), ""
        await client.connect([one.url for one in self.servers if one.pid], connect_timeout=2)
        try:
            async with asyncio.timeout(60):
                while not found:
                    with contextlib.suppress(Exception):  # no leader answers: asked again, within the time
                        subject = f"$JS.API.STREAM.INFO.{stream}" if stream else "$JS.API.STREAM.NAMES"
                        answer = json.loads((await client.request(subject, b"", timeout=2)).data)
                        found = answer["cluster"]["leader"] if stream else "any"
                    await asyncio.sleep(0.1)
        finally:
            await client.close()
        return next((one for one in self.servers if one.directory.name == found), self.servers[0])


def make_servers(store: Path, count: int) -> list[NatsServer]:
    """Return servers that know each other, and tell clients of none but themselves: those have proxies."""
    ports = free_ports(count)
    routes = ", ".join(json.dumps(f"nats://127.0.0.1:{port}") for port in ports)
    made = []
    for n, port in enumerate(ports):
        kept = json.dumps(str(store / f"s{n}" / "store"))
        config = f"server_name: s{n}\njetstream {{ store_dir: {kept}, max_file_store: 8G }}\n"
        if count > 1:
            listen = f"127.0.0.1:{port}"
            config += f'cluster {{ name: c, listen: "{listen}", no_advertise: true, routes: [{routes}] }}\n'
        made.append(NatsServer(store / f"s{n}", config=config))
    return made


class Publishers:
    """Publish numbered events to whichever node is up, and note which were accepted."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world, self._chance = world, chance
        self._numbers = {"one": itertools.count(1), "talk": itertools.count(1)}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish while the block runs."""
        work = [self._count() for _ in range(3)] + [self._talk(n) for n in range(2)]
        self._tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        except BaseException:
            for task in self._tasks:
                task.cancel()
            raise

    async def finish(self) -> None:
        """Publish nothing more; returns when what is under way is answered. Raises what failed in publishing."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def _count(self) -> None:
        async with client() as http:
            while not self._is_over:
                await self._publish(http, "one", None)

    async def _talk(self, number: int) -> None:
        """Publish to a session, one event after another; to another session once an event is in doubt."""
        async with client() as http:
            for life in itertools.count():
                session = f"s{number}-{life}"
                is_there = await self._ask(http, "/api/sessions", {"session_id": session})
                while is_there and not self._is_over and await self._publish(http, "talk", session):
                    pass
                if self._is_over:
                    return

    async def _publish(self, http: httpx.AsyncClient, kind: str, session: str | None) -> bool:
        """Publish one event; False where it was refused, or may or may not be accepted."""
        n = next(self._numbers[kind])
        path = "/api/events" if session is None else f"/api/sessions/{session}/events"
        is_accepted = await self._ask(http, path, {"kind": f"count.{kind}", "payload": {"n": n}})
        if is_accepted:
            self._world.note("accepted", f"{kind}:{n}", session or "-")
        return is_accepted

    async def _ask(self, http: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> bool:
        """Have any node that is up do something; False where it may not have."""
        await asyncio.sleep(PACE)
        up = [place for place in self._world.places if place.is_up]
        node = self._chance.choice(up).node if up else None
        if node is None:
            return False
        try:
            answer = await http.post(node.url + path, json=body)
        except httpx.TransportError:
            return False
        if answer.is_success:
            return True
        said = f"{path} answers {answer.status_code}: {answer.text[:300]}"
        assert answer.status_code in (503, 507), said
        self._world.refused += 1
        return False


def client() -> httpx.AsyncClient:
    """Return a client of the nodes."""
    return httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False)
