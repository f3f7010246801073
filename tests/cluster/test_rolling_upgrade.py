"""The capability of examples/cluster is upgraded node by node while events go through: none is lost.

The server and the nodes are real processes.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from cluster import PROJECT, Node
from nats_servers import nats_servers

from dnworker.client.client import RuntimeClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVENTS = 1_000

NOTE = """
import os

VERSION = "%s"

@worker.on_event("shop.numbered")
async def note(event, client):
    file = os.open(os.environ["NOTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{VERSION} {client.fence} {event.payload['number']}\\n".encode())
    os.close(file)
"""


class Line(NamedTuple):
    """One note of the handler."""

    version: str
    fence: int
    number: int


class Cluster:
    """A server and two nodes, each with a directory of its own that has the capability."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self.stack, self.noted = directory, stack, directory / "noted.txt"
        (server,) = stack.enter_context(nats_servers(directory, 1))
        self.broker, self.starts = f"nats://127.0.0.1:{server.port}", 0
        self.nodes: dict[str, Node] = {}

    def write(self, name: str, version: str) -> Path:
        """Write a version of the capability for a node."""
        root = self.directory / "capabilities" / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(PROJECT / "examples" / "cluster" / "capability", root)
        manifest, render = root / "capability.yaml", root / "workers" / "render.py"
        manifest.write_text(manifest.read_text().replace("version: 0.1.0", f"version: {version}"))
        render.write_text(render.read_text() + NOTE % version)
        return root

    def start(self, name: str, version: str) -> Node:
        """Start a node with a version of the capability."""
        self.starts += 1
        root, home = self.write(name, version), self.directory / f"start-{self.starts}"
        node = Node(name, home, self.broker, "t" * 40, [str(root)], {"NOTED": str(self.noted)})
        self.stack.callback(node.end)
        node.wait_ready()
        self.nodes[name] = node
        return node

    def client(self, name: str) -> RuntimeClient:
        """Return a client of a node."""
        return RuntimeClient(self.nodes[name].url, auth_token=self.nodes[name].token)

    async def wait_holds(self, name: str, count: int) -> None:
        """Return once a node holds so many workers, and all of them run."""
        async with asyncio.timeout(90), self.client(name) as client:
            while True:
                answer = await client.connection.request("GET", "/api/nodes")
                rows = {row["name"]: row for row in answer["nodes"]}
                running = [one for one in rows[name]["workers"] if one["state"] == "running"]
                if len(running) == count:
                    return
                await asyncio.sleep(0.1)

    def lines(self) -> list[Line]:
        """Return all whole lines that the handlers have written, in order."""
        text = self.noted.read_text() if self.noted.exists() else ""
        words = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [Line(version, int(fence), int(number)) for version, fence, number in words]

    async def wait_handled(self, numbers: range) -> None:
        """Return once the handlers of all these have ended."""
        async with asyncio.timeout(120):
            while missing := set(numbers) - {line.number for line in self.lines()}:
                assert len(missing) <= len(numbers)
                await asyncio.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


async def publish(client: RuntimeClient, numbers: range) -> None:
    """Publish events one after the other, so that they go on while nodes end and start."""
    for number in numbers:
        await client.publish("shop.numbered", {"number": number})
        await asyncio.sleep(0.02)


async def test_a_rolling_upgrade_moves_all_workers_to_the_new_version_and_loses_no_event(cluster):
    cluster.start("a", "0.1.0")
    cluster.start("b", "0.1.0")
    numbers = range(EVENTS)
    async with cluster.client("b") as client:
        await publish(client, numbers[:200])
        publishing = asyncio.create_task(publish(client, numbers[200:600]))
        await upgrade(cluster, "a")
        await cluster.wait_holds("a", 3)
        await publishing
    async with cluster.client("a") as client:
        publishing = asyncio.create_task(publish(client, numbers[600:]))
        await upgrade(cluster, "b")
        await publishing
        await cluster.wait_handled(numbers)
        answer = await client.connection.request("GET", "/api/nodes")
    lines = cluster.lines()
    assert {line.version for line in lines} == {"0.1.0", "0.2.0"}
    fences = [line.fence for line in lines]
    assert fences == sorted(fences), "two holders have handled events at the same time"
    versions = [line.version for line in lines]
    assert versions == sorted(versions), "no event went to the old version after the new one had begun"
    shown = {one["name"]: one["capabilities"] for one in answer["nodes"] if one["state"] == "up"}
    assert {(name, one["version"], one["is_old"]) for name, all_ in shown.items() for one in all_} == {
        ("a", "0.2.0", False),
        ("b", "0.2.0", False),
    }


async def upgrade(cluster: Cluster, name: str) -> None:
    """End a node in order, and start it again with the new version."""
    node = cluster.nodes[name]
    node.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(node.process.wait, 30) == 0
    await asyncio.to_thread(cluster.start, name, "0.2.0")
