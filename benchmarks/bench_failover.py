"""How long a worker is without a holder: after a kill, after SIGTERM; and a node's time to its first event.

Servers, nodes and publisher are processes of their own; another node publishes every 10 ms. A figure counts
from the signal to the begin of the first handler on another node. `--runs 20` takes more kills than five.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from common import PROJECT, TOKEN, median, report

from dnworker import Runtime
from dnworker.core.lease_time import RENEW_AFTER
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings

sys.path.insert(0, str(PROJECT / "scripts"))
from cluster import NAMESPACE, Node
from nats_servers import nats_server

RUNS = 5
TAKEN_WITHIN = 60.0
"""Seconds after which a worker that nobody takes is an error."""

MANIFEST = (
    "schema: 1\nname: bench\nversion: 1.0.0\ndescription: One worker\nworkers:\n  one:\n    path: one.py\n"
)
WORKER = """import os, time
from dnworker import Worker
worker = Worker(name="one")

@worker.on_event("bench.event")
async def on_event(event, client):
    line = f"{os.getpid()} {time.clock_gettime(time.CLOCK_MONOTONIC)}\\n".encode()
    file = os.open(os.environ["HANDLED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line)
    os.close(file)
"""


class Cluster:
    """One server and two nodes with a worker that only one of them has."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack, self._count = directory, stack, 0
        self.handled = directory / "handled.txt"
        self.server = stack.enter_context(nats_server(directory))
        self._capability = directory / "bench"
        self._capability.mkdir()
        (self._capability / "capability.yaml").write_text(MANIFEST)
        (self._capability / "one.py").write_text(WORKER)
        self.nodes = [self.start(), self.start()]

    def start(self) -> Node:
        """Start a node, and return it once it is ready."""
        self._count += 1
        options = [str(self._capability)]
        name = f"node-{self._count}"
        node = Node(name, self._directory, self.server.url, TOKEN, options, {"HANDLED": str(self.handled)})
        self._stack.callback(node.end)
        node.wait_ready()
        return node

    def lines(self) -> list[tuple[int, float]]:
        """Return which process has handled an event, and when, from the first on."""
        text = self.handled.read_text() if self.handled.exists() else ""
        rows = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [(int(process), float(at)) for process, at in rows]

    async def first(self, without: int, since: float = 0.0) -> tuple[int, float]:
        """Return the first line since a moment that another process has written."""
        ends_at = time.monotonic() + TAKEN_WITHIN
        while time.monotonic() < ends_at:
            for process, at in self.lines():
                if process != without and at >= since:
                    return process, at
            await asyncio.sleep(0.05)
        raise RuntimeError("no other node has taken the worker")

    async def move(self, number: signal.Signals) -> float:
        """Signal the holder, and return the seconds to the first handler elsewhere; start another node."""
        await self.first(0, time.monotonic())
        holder = next(node for node in self.nodes if node.process.pid == self.lines()[-1][0])
        await asyncio.sleep(random.uniform(1, 1 + RENEW_AFTER))  # anywhere between two renewals
        sent = time.monotonic()
        os.kill(holder.process.pid, number)
        _, at = await self.first(holder.process.pid, sent)
        await asyncio.to_thread(holder.end)
        self.nodes.remove(holder)
        self.nodes.append(await asyncio.to_thread(self.start))
        return at - sent


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[None]:
    """Publish every 10 ms as a node without workers."""
    settings = ServerSettings(servers=(url,), namespace=NAMESPACE, node="publisher")
    async with Runtime(port=None, broker=JetStreamBroker(settings)) as runtime:
        client = runtime.client()

        async def publish() -> None:
            while True:
                await client.publish("bench.event", {})
                await asyncio.sleep(0.01)

        task = asyncio.create_task(publish())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def measure(runs: int) -> dict[str, float]:
    """Return all figures, in seconds."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        cluster = Cluster(Path(directory), stack)
        async with publishing(cluster.server.url):
            for name, number in (("killed", signal.SIGKILL), ("sigterm", signal.SIGTERM)):
                took = [await cluster.move(number) for _ in range(runs)]
                figures |= {f"{name}_median_s": median(took), f"{name}_worst_s": max(took)}
                figures[f"{name}_over_2_s"] = sum(seconds > 2 for seconds in took)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"kills, and SIGTERMs (default: {RUNS})")
    options = parser.parse_args()
    report(
        what="a worker moves to another node",
        runs=options.runs,
        **asyncio.run(measure(options.runs)),
    )
