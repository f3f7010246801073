"""A capability written in a notebook runs on three nodes, one of which is killed: every event is handled.

The servers and nodes are real processes. `DNWORKER_CLUSTER_EVENTS=10000` takes more events than tests do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from cluster import PROJECT, Node
from nats_servers import nats_servers

from dnworker.client.client import RuntimeClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVENTS = int(os.environ.get("DNWORKER_CLUSTER_EVENTS", "2000"))
PUBLISHERS = 8
CELL = """%%worker counter
import asyncio, os

def note(what, client, number):
    line = f"{what} {os.getpid()} {client.fence} {number}\\n".encode()
    file = os.open(os.environ["COUNTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)
    os.close(file)

@worker.on_event("count.one")
async def count(event, client):
    note("begin", client, event.payload["n"])
    await asyncio.sleep(0)
    note("end", client, event.payload["n"])
"""


class Line(NamedTuple):
    """One note of the handler."""

    what: str
    process: int
    fence: int
    number: int


class Noted:
    """What the handlers of all nodes have written to one file, in order."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[Line]:
        """Return all whole lines."""
        text = self.file.read_text() if self.file.exists() else ""
        words = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [Line(what, int(process), int(fence), int(n)) for what, process, fence, n in words]

    def handled(self) -> set[int]:
        """Return the numbers whose handler has ended."""
        return {line.number for line in self.lines() if line.what == "end"}

    async def wait_handled(self, numbers: set[int], seconds: float) -> None:
        """Wait until the handlers of all these have ended."""
        until = time.monotonic() + seconds
        while missing := numbers - self.handled():
            if time.monotonic() > until:
                raise AssertionError(f"{len(missing)} of {len(numbers)} not handled: {sorted(missing)[:20]}")
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def capability(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capability, exported from a notebook that is a file."""
    directory = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in ("%load_ext dnworker", CELL)]
    nbformat.write(notebook, directory / "counting.ipynb")
    command = [
        sys.executable,
        "-m",
        "dnworker",
        "export",
        "counting.ipynb",
        "-o",
        "counting",
        "--topology",
        "in-process",
    ]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "extension")])}
    done = subprocess.run(
        command, cwd=directory, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "counting"


class Cluster:
    """Servers and three nodes, with what their handlers note."""

    def __init__(self, directory: Path, servers: int, capability: Path, stack: ExitStack) -> None:
        self.noted = Noted(directory / "noted.txt")
        started = stack.enter_context(nats_servers(directory, servers))
        broker = "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in started)
        self.nodes = [
            Node(
                f"node-{n}", directory, broker, "t" * 40, [str(capability)], {"COUNTED": str(self.noted.file)}
            )
            for n in (1, 2, 3)
        ]
        for node in self.nodes:
            stack.callback(node.end)
        for node in self.nodes:
            node.wait_ready()

    def holder(self) -> Node:
        """Return the node whose handler has written last."""
        process = self.noted.lines()[-1].process
        return next(node for node in self.nodes if node.process.pid == process)

    def client(self, node: Node) -> RuntimeClient:
        """Return a client of a node."""
        return RuntimeClient(node.url, auth_token=node.token)


@pytest.fixture(params=[1, 3], ids=["one server", "three servers"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, capability: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, request.param, capability, stack)


async def publish(client: RuntimeClient, numbers: range) -> None:
    """Publish events with these numbers, by several publishers beside each other."""
    waiting = iter(numbers)

    async def publisher() -> None:
        for number in waiting:
            await client.publish("count.one", {"n": number})

    await asyncio.gather(*(publisher() for _ in range(PUBLISHERS)))


def check(lines: list[Line]) -> None:
    """Assert that one holder at a time has handled events, each at most once to its end.

    A later holder has a higher fence, and nobody with a lower one has begun after its first line.
    """
    fences = [line.fence for line in lines]
    assert fences == sorted(fences), "two holders have handled events at the same time"
    holders = {(line.fence, line.process) for line in lines}
    assert len(holders) == len({fence for fence, _ in holders}), "two nodes had one fence"
    ends = [(line.fence, line.number) for line in lines if line.what == "end"]
    assert len(ends) == len(set(ends)), "one holder has handled an event twice"


async def test_every_event_is_handled_by_one_holder_at_a_time_while_the_holder_is_killed(cluster):
    async with cluster.client(cluster.nodes[0]) as client:
        await publish(client, range(10))
    await cluster.noted.wait_handled(set(range(10)), 30)
    killed = cluster.holder()
    other = next(node for node in cluster.nodes if node is not killed)
    async with cluster.client(other) as client:
        publishing = asyncio.create_task(publish(client, range(10, EVENTS)))
        await cluster.noted.wait_handled(set(range(10, EVENTS // 4)), 120)
        killed.process.kill()
        killed.process.wait()
        died = time.monotonic()
        before = len(cluster.noted.lines())
        await publishing
        while len(cluster.noted.lines()) == before:
            assert time.monotonic() - died < 30, "no other node has taken the worker"
            await asyncio.sleep(0.05)
        print(f"failover after {time.monotonic() - died:.1f} s")
        await cluster.noted.wait_handled(set(range(EVENTS)), 120)
    lines = cluster.noted.lines()
    check(lines)
    assert {line.process for line in lines} > {killed.process.pid}


async def test_a_node_that_is_asked_to_end_hands_its_worker_over_and_loses_nothing(cluster):
    async with cluster.client(cluster.nodes[0]) as client:
        await publish(client, range(10))
    await cluster.noted.wait_handled(set(range(10)), 30)
    leaving = cluster.holder()
    other = next(node for node in cluster.nodes if node is not leaving)
    async with cluster.client(other) as client:
        publishing = asyncio.create_task(publish(client, range(10, 600)))
        await cluster.noted.wait_handled(set(range(10, 100)), 60)
        leaving.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        await publishing
        while cluster.noted.lines()[-1].process == leaving.process.pid:
            assert time.monotonic() - asked < 30, "no other node has taken the worker"
            await asyncio.sleep(0.02)
        print(f"handed over after {time.monotonic() - asked:.1f} s")
        await cluster.noted.wait_handled(set(range(600)), 60)
    assert leaving.process.wait(30) == 0
    lines = cluster.noted.lines()
    check(lines)
    ends = [line.number for line in lines if line.what == "end"]
    assert len(ends) == len(set(ends)), "a node that ends in order leaves no event half done"
