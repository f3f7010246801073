"""A worker of four members on several nodes: real servers and processes, one of which is killed."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from cluster import Node
from nats_servers import nats_servers

from dnworker.client.client import RuntimeClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EVENTS, SESSIONS, PUBLISHERS = 2000, 50, 10
REPLICAS = ["--replicas", "demo:bridge=4", "--ordered-by", "demo:bridge=session"]
MANIFEST = """schema: 1
name: demo
version: 1.0.0
description: Counts events.
workers:
  bridge:
    path: workers/bridge.py
"""
WORKER = """import asyncio, os, time
from dreadnode.capabilities.worker import Worker

worker = Worker(name="bridge")

def note(*words):
    line = " ".join(map(str, [time.monotonic(), os.getpid(), *words])) + "\\n"
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)

@worker.on_event("count.one")
async def count(event, client):
    note("begin", event.payload["n"], event.session_id)
    await asyncio.sleep(0.002)
    note("end", event.payload["n"], event.session_id)

@worker.every(seconds=1)
async def tick(client):
    note("tick", 0, "-")
"""


class Line(NamedTuple):
    """One note of a handler."""

    at: float
    process: int
    what: str
    number: int
    session: str


class Cluster:
    """A server and nodes, with what their handlers note."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self.noted, self.stack = directory, directory / "noted.txt", stack
        root = directory / "demo"
        (root / "workers").mkdir(parents=True)
        (root / "capability.yaml").write_text(MANIFEST)
        (root / "workers" / "bridge.py").write_text(WORKER)
        (server,) = stack.enter_context(nats_servers(directory, 1))
        self.broker = f"nats://127.0.0.1:{server.port}"
        self.started = 0

    def start(self, count: int, options: list[str] = REPLICAS) -> list[Node]:
        """Return new nodes, which are ready."""
        words = [str(self.directory / "demo"), *options]
        nodes = []
        for _ in range(count):
            self.started += 1
            name = f"node-{self.started}"
            node = Node(name, self.directory, self.broker, "t" * 40, words, {"COUNTED": str(self.noted)})
            self.stack.callback(node.end)
            nodes.append(node)
        for node in nodes:
            node.wait_ready()
        return nodes

    def lines(self) -> list[Line]:
        """Return all whole lines."""
        text = self.noted.read_text() if self.noted.exists() else ""
        words = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [Line(float(at), int(pid), what, int(n), session) for at, pid, what, n, session in words]

    def handled(self) -> set[int]:
        """Return the numbers whose handler has ended."""
        return {line.number for line in self.lines() if line.what == "end"}

    async def wait_handled(self, numbers: set[int], seconds: float = 90) -> None:
        """Wait until the handlers of all these have ended."""
        until = time.monotonic() + seconds
        while missing := numbers - self.handled():
            assert time.monotonic() < until, f"{len(missing)} are not handled: {sorted(missing)[:20]}"
            await asyncio.sleep(0.1)

    async def wait_ticks(self, count: int, seconds: float = 90) -> None:
        """Wait until the schedule has run so often: events may be handled before its second time."""
        until = time.monotonic() + seconds
        while sum(line.what == "tick" for line in self.lines()) < count:
            assert time.monotonic() < until, "the schedule does not run"
            await asyncio.sleep(0.1)

    async def members(self, node: Node) -> dict[str, str]:
        """Return who holds each member, as a node sees it."""
        async with client(node) as one:
            answer = await one.connection.request("GET", "/api/nodes")
        return {
            worker["worker"]: row["name"]
            for row in answer["nodes"]
            if row["state"] == "up"
            for worker in row["workers"]
        }

    async def wait_spread(self, node: Node, *counts: int) -> None:
        """Wait until nodes hold so many members each."""
        until = time.monotonic() + 60
        while True:
            held = list((found := await self.members(node)).values())
            if sorted(held.count(name) for name in {*held}) == sorted(counts):
                return
            assert time.monotonic() < until, f"the members are not spread: {found}"
            await asyncio.sleep(0.2)


def client(node: Node) -> RuntimeClient:
    """Return a client of a node."""
    return RuntimeClient(node.url, auth_token=node.token)


@contextmanager
def cluster_in(directory: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(directory, stack)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path) as made:
        yield made


async def publish(node: Node, numbers: range) -> None:
    """Publish events of sessions; those of one session one after the other, in the order of their numbers."""

    async def publisher(of: int, one: RuntimeClient, sessions: list[str]) -> None:
        for number in numbers:
            if number % SESSIONS % PUBLISHERS == of:
                await one.publish("count.one", {"n": number}, session_id=sessions[number % SESSIONS])

    async with client(node) as one:
        made = [await one.create_session(session_id=f"s{n}") for n in range(SESSIONS)]
        sessions = [session.session_id for session in made]
        await asyncio.gather(*(publisher(of, one, sessions) for of in range(PUBLISHERS)))


def check(lines: list[Line], killed: int | None = None) -> None:
    """Assert that no two members had an event at one time, that sessions kept their order, and ticks came once."""
    running: dict[int, int] = {}
    begun: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        if line.what == "begin":
            assert running.get(line.number) in (None, killed), f"two members have {line.number}"
            running[line.number] = line.process
            if line.number not in begun[line.session]:
                begun[line.session].append(line.number)
        elif line.what == "end" and running.get(line.number) == line.process:
            del running[line.number]
    for session, numbers in begun.items():
        assert numbers == sorted(numbers), f"{session} has lost its order"
    ticks = [line for line in lines if line.what == "tick"]
    assert len(ticks) > 1
    for one, other in pairwise(ticks):
        assert other.at - one.at > 0.7, "a schedule runs on two members"


@pytest.mark.parametrize("count", [2, 4])
async def test_members_share_the_events_and_keep_sessions_in_order_while_a_node_is_killed(cluster, count):
    nodes = cluster.start(count)
    await cluster.wait_spread(nodes[0], *[4 // count] * count)
    publishing = asyncio.create_task(publish(nodes[0], range(EVENTS)))
    await cluster.wait_handled({*range(EVENTS // 4)})
    killed = nodes[-1].process
    killed.kill()
    killed.wait()
    await publishing
    await cluster.wait_handled({*range(EVENTS)})
    await cluster.wait_ticks(2)
    lines = cluster.lines()
    check(lines, killed.pid)
    assert len({line.process for line in lines if line.what == "begin"}) == count
    await cluster.wait_spread(nodes[0], *([4] if count == 2 else [1, 1, 2]))


async def test_another_number_of_members_loses_nothing_that_waits(cluster):
    published = 0
    for number in (4, 2, 4, 1):
        options = ["--replicas", f"demo:bridge={number}"]
        if number > 1:
            options += ["--ordered-by", "demo:bridge=session"]
        nodes = cluster.start(2, options)
        await cluster.wait_spread(nodes[0], *([1] if number == 1 else [number // 2] * 2))
        await publish(nodes[0], range(published, published + 400))
        published += 400
        for node in nodes:
            node.process.kill() if number == 4 else node.end()
            node.process.wait()
    (node,) = cluster.start(1, ["--replicas", "demo:bridge=1"])
    await cluster.wait_handled({*range(published)})
    begins = [line.number for line in cluster.lines() if line.what == "begin"]
    assert len(begins) < published * 1.5, "what was handled comes again"


async def test_a_node_with_another_number_stands_by_and_says_with_which_to_start(cluster):
    (first,) = cluster.start(1)
    (other,) = cluster.start(1, ["--replicas", "demo:bridge=2"])
    (untold,) = cluster.start(1, [])
    for node in (other, untold):
        until = time.monotonic() + 20
        while True:
            async with client(node) as one:
                answer = await one.connection.request("GET", "/api/workers/demo/bridge")
            if "--replicas demo:bridge=4 --ordered-by demo:bridge=session" in str(answer.get("standby")):
                break
            assert time.monotonic() < until, answer
            await asyncio.sleep(0.2)
    await cluster.wait_spread(first, 4)
