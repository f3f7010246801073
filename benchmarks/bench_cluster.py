"""Events a second over a NATS server, bare and by the broker, on 1 to 8 nodes and with 1 to 200 workers.

Bare is `nats-py` alone: publish and wait for its confirmation, pull, read the JSON, acknowledge. The broker
counts from `client.publish` until every handler has ended and it is written that it has. Both have the same
payload and as many publishers beside each other, and take turns. All nodes of a measurement are in this one
process, and so on one core: the figures of several say what each costs, not what several machines do.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import nats
from common import PROJECT, median, report

from dnworker import Runtime, Worker, WorkerState
from dnworker.core.envelope import EventEnvelope
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings

sys.path.insert(0, str(PROJECT / "scripts"))
from nats_servers import nats_server, nats_servers

PUBLISHERS = (1, 4, 16)
NODES = (1, 2, 4, 8)
WORKERS = (1, 10, 200)
SECONDS = 2.0
RUNS = 3
"""Publishers beside each other, nodes, workers, seconds and runs of each measurement."""

START_SECONDS = 60.0
MAX_BYTES = 100_000_000
"""Of the events of one measurement: the server reserves them for each."""

TEXT = "x" * 100


@dataclass
class Run:
    """What one run has taken, in seconds."""

    events: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    publishes: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    """From before the publish to the handler."""

    def figures(self, nodes: int = 1) -> dict[str, float]:
        """Return events a second, ms of a publish and to the handler, and CPU time of an event and node."""
        return {
            "per_s": self.events / self.wall,
            "publish_ms": median(self.publishes) * 1000,
            "p99_ms": statistics.quantiles(self.arrivals, n=100)[98] * 1000,
            "cpu_us": self.cpu / self.events / nodes * 1e6,
        }


class Stopwatch:
    """Takes the wall time and the CPU time of a block into a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *exc: object) -> None:
        self._run.wall = time.perf_counter() - self._wall
        self._run.cpu = time.process_time() - self._cpu


async def bare(url: str, publishers: int) -> dict[str, float]:
    """Publish, pull and acknowledge for some seconds."""
    run, until = Run(), 0.0
    publishing, pulling = await nats.connect(url), await nats.connect(url)
    stream = f"bare-{time.monotonic_ns()}"
    await publishing.jetstream().add_stream(name=stream, subjects=[f"{stream}.ev"])
    subscription = await pulling.jetstream().pull_subscribe(f"{stream}.ev", durable="worker", stream=stream)

    async def publish() -> None:
        js = publishing.jetstream()
        while (began := time.perf_counter()) < until:
            await js.publish(f"{stream}.ev", json.dumps({"text": TEXT, "at": began}).encode())
            run.publishes.append(time.perf_counter() - began)

    async def pull() -> None:
        while not is_published or run.events < len(run.publishes):
            for message in await subscription.fetch(100, timeout=5):
                run.arrivals.append(time.perf_counter() - json.loads(message.data)["at"])
                await message.ack()
                run.events += 1

    is_published = False
    with Stopwatch(run):
        until = time.perf_counter() + SECONDS
        pulls = asyncio.create_task(pull())
        await asyncio.gather(*(publish() for _ in range(publishers)))
        is_published = True
        if run.events < len(run.publishes):
            await pulls
    pulls.cancel()
    await publishing.jetstream().delete_stream(stream)
    await publishing.close()
    await pulling.close()
    return run.figures()


def make_worker(number: int, run: Run, last: dict[str, int]) -> Worker:
    """Return a worker that notes when its events come."""
    worker = Worker(name=f"bench{number}")

    @worker.on_event(f"bench.event.{number}")
    async def on_event(event: EventEnvelope, client: Any) -> None:
        run.arrivals.append(time.perf_counter() - event.payload["at"])
        run.events += 1
        last[worker.name] = event.seq

    return worker


async def written(runtime: Runtime, last: dict[str, int]) -> None:
    """Return once the server has it that all events were handled."""
    broker = runtime.bus.broker
    assert isinstance(broker, JetStreamBroker)
    for name, seq in last.items():
        while True:
            stored, _ = await broker.store.read(runtime.worker(name).qualified_name)
            if stored is not None and stored.handled_to >= seq:
                break
            await asyncio.sleep(0.002)


async def through_broker(url: str, publishers: int, *, nodes: int = 1, workers: int = 1) -> dict[str, float]:
    """Publish for some seconds on the first of the nodes, which has all workers."""
    run, until, last, numbers = Run(), 0.0, dict[str, int](), count()
    namespace = f"bench-{time.monotonic_ns()}"

    async def publish() -> None:
        while (began := time.perf_counter()) < until:
            kind = f"bench.event.{next(numbers) % workers}"
            await client.publish(kind, {"text": TEXT, "at": began})
            run.publishes.append(time.perf_counter() - began)

    async with AsyncExitStack() as stack:
        runtimes = []
        for number in range(nodes):
            settings = ServerSettings(
                servers=(url,), namespace=namespace, node=f"node-{number}", max_bytes=MAX_BYTES
            )
            runtime = Runtime(port=None, broker=JetStreamBroker(settings), node=f"node-{number}")
            runtimes.append(await stack.enter_async_context(runtime))
        first = runtimes[0]
        for number in range(workers):
            await first.add(make_worker(number, run, last))
        async with asyncio.timeout(START_SECONDS):
            while any(one.state is not WorkerState.RUNNING for one in first.workers()):
                await asyncio.sleep(0.01)
        client = first.client()
        with Stopwatch(run):
            until = time.perf_counter() + SECONDS
            await asyncio.gather(*(publish() for _ in range(publishers)))
            await first.settle(timeout=60)
            await written(first, last)
        assert run.events == len(run.publishes)
    return run.figures(nodes)


async def first_event(url: str) -> float:
    """Return ms from the start of a runtime that joins, to its first event from another."""
    settings = ServerSettings(servers=(url,), namespace=f"join-{time.monotonic_ns()}", max_bytes=MAX_BYTES)
    async with Runtime(port=None, broker=JetStreamBroker(settings)) as other:
        seen, stop = asyncio.Event(), asyncio.Event()
        joined = Runtime(port=None, broker=JetStreamBroker(settings))
        joined.bus.tap(lambda *_: seen.set())

        async def talk() -> None:
            while not stop.is_set():
                await other.client().publish("bench.event", {"text": TEXT})
                await asyncio.sleep(0.005)

        talking = asyncio.create_task(talk())
        began = time.perf_counter()
        async with joined:
            await asyncio.wait_for(seen.wait(), 20)
            took = time.perf_counter() - began
            stop.set()
            await talking
    return took * 1000


def medians(prefix: str, runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure of some runs, under names that begin so."""
    return {f"{prefix}_{name}": median([run[name] for run in runs]) for name in runs[0]}


async def compared(url: str, prefix: str, publishers: int) -> dict[str, float]:
    """Measure bare and broker in turns; return the figures of both, and the share of bare."""
    bares, brokers = [], []
    for _ in range(RUNS):
        bares.append(await bare(url, publishers))
        brokers.append(await through_broker(url, publishers))
    shares = [ours["per_s"] / theirs["per_s"] for ours, theirs in zip(brokers, bares, strict=True)]
    return {
        **medians(f"bare_{prefix}", bares),
        **medians(f"broker_{prefix}", brokers),
        f"share_{prefix}": median(shares),
    }


async def grown(url: str, what: str, counts: tuple[int, ...], publishers: int) -> dict[str, float]:
    """Measure with more nodes or workers, in turns."""
    runs: dict[int, list[dict[str, float]]] = {number: [] for number in counts}
    for _ in range(RUNS):
        for number in counts:
            runs[number].append(await through_broker(url, publishers, **{what: number}))
    figures: dict[str, float] = {}
    for number in counts:
        figures |= medians(f"{what}_{number}_publishers_{publishers}", runs[number])
    return figures


async def measure() -> dict[str, float]:
    """Return all figures."""
    figures: dict[str, float] = {}
    for sync in ("", ", sync_interval: always"):
        with tempfile.TemporaryDirectory() as directory:
            config = f"jetstream {{ store_dir: {json.dumps(directory)}{sync} }}"
            with nats_server(Path(directory), config=config) as server:
                for publishers in PUBLISHERS:
                    prefix = f"{'synced_' if sync else ''}{publishers}"
                    figures |= await compared(server.url, prefix, publishers)
                if not sync:
                    for publishers in PUBLISHERS:
                        figures |= await grown(server.url, "nodes", NODES, publishers)
                    figures |= await grown(server.url, "workers", WORKERS, 16)
                    figures["join_ms"] = median([await first_event(server.url) for _ in range(RUNS)])
    with tempfile.TemporaryDirectory() as directory, nats_servers(Path(directory), 3) as servers:
        runs = [await through_broker(servers[0].url, 16) for _ in range(RUNS)]
        figures |= medians("broker_three_servers_16", runs)
    return figures


if __name__ == "__main__":
    report(what="events over a NATS server", **asyncio.run(measure()))
