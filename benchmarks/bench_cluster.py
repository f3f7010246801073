"""Accepted events a second over a NATS server, bare and by the broker, also with `sync_interval: always`.

Bare is `nats-py` alone: publish and wait for its confirmation, pull, acknowledge. The broker is a runtime
with one worker whose handler does nothing, from `client.publish` to the handler's end. Both have as many
publishers beside each other. Then how long a node that joins takes to its first event.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import nats
from common import PROJECT, median, report

from dnworker import Runtime, Worker, WorkerState
from dnworker.core.envelope import EventEnvelope
from dnworker.events.brokers.jetstream.broker import JetStreamBroker
from dnworker.events.brokers.jetstream.connecting import ServerSettings

sys.path.insert(0, str(PROJECT / "scripts"))
from nats_servers import nats_server, nats_servers

PUBLISHERS = (1, 16)
SECONDS = 2.0
RUNS = 3
"""Publishers beside each other, seconds and runs of each measurement."""

PAYLOAD = {"text": "x" * 100}
DATA = json.dumps(PAYLOAD).encode()


async def bare(url: str, publishers: int) -> tuple[float, float]:
    """Publish, pull and acknowledge for some seconds; return events a second, and ms of a publish."""
    publishing, pulling = await nats.connect(url), await nats.connect(url)
    stream = f"bare-{time.monotonic_ns()}"
    await publishing.jetstream().add_stream(name=stream, subjects=[f"{stream}.ev"])
    subscription = await pulling.jetstream().pull_subscribe(f"{stream}.ev", durable="worker", stream=stream)
    took: list[float] = []
    done = 0
    until = time.perf_counter() + SECONDS

    async def publish() -> None:
        js = publishing.jetstream()
        while (began := time.perf_counter()) < until:
            await js.publish(f"{stream}.ev", DATA)
            took.append(time.perf_counter() - began)

    async def pull() -> None:
        nonlocal done
        while not is_published or done < len(took):
            for message in await subscription.fetch(100, timeout=5):
                await message.ack()
                done += 1

    is_published = False
    began = time.perf_counter()
    pulls = asyncio.create_task(pull())
    await asyncio.gather(*(publish() for _ in range(publishers)))
    is_published = True
    if done < len(took):
        await pulls
    else:
        pulls.cancel()
    rate = len(took) / (time.perf_counter() - began)
    await publishing.jetstream().delete_stream(stream)
    await publishing.close()
    await pulling.close()
    return rate, median(took) * 1000


async def through_broker(url: str, publishers: int) -> tuple[float, float]:
    """Publish for some seconds, until all is handled; return events a second, and ms of a publish."""
    worker, took, handled = Worker(name="bench"), [], 0

    @worker.on_event("bench.event")
    async def on_event(event: EventEnvelope, client: object) -> None:
        nonlocal handled
        handled += 1

    until = 0.0

    async def publish() -> None:
        while (began := time.perf_counter()) < until:
            await client.publish("bench.event", PAYLOAD)
            took.append(time.perf_counter() - began)

    settings = ServerSettings(servers=(url,), namespace=f"bench-{time.monotonic_ns()}")
    async with Runtime(port=None, broker=JetStreamBroker(settings)) as runtime:
        await runtime.add(worker)
        async with asyncio.timeout(20):
            while runtime.worker("bench").state is not WorkerState.RUNNING:
                await asyncio.sleep(0.01)
        client = runtime.client()
        began = time.perf_counter()
        until = began + SECONDS
        await asyncio.gather(*(publish() for _ in range(publishers)))
        await runtime.settle(timeout=60)
        rate = handled / (time.perf_counter() - began)
    return rate, median(took) * 1000


async def first_event(url: str) -> float:
    """Return ms from the start of a runtime that joins, to its handler's first event from another."""
    settings = ServerSettings(servers=(url,), namespace=f"join-{time.monotonic_ns()}")
    async with Runtime(port=None, broker=JetStreamBroker(settings)) as other:
        seen = asyncio.Event()
        joined = Runtime(port=None, broker=JetStreamBroker(settings))
        joined.bus.tap(lambda *_: seen.set())
        stop = asyncio.Event()

        async def talk() -> None:
            while not stop.is_set():
                await other.client().publish("bench.event", PAYLOAD)
                await asyncio.sleep(0.005)

        talking = asyncio.create_task(talk())
        began = time.perf_counter()
        async with joined:
            await asyncio.wait_for(seen.wait(), 20)
            took = time.perf_counter() - began
            stop.set()
            await talking
    return took * 1000


async def measure() -> dict[str, float]:
    """Return all figures."""
    figures: dict[str, float] = {}
    for sync in ("default", "always"):
        config = f"jetstream {{ store_dir: STORE{', sync_interval: always' if sync == 'always' else ''} }}"
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            with nats_server(place, config=config.replace("STORE", json.dumps(str(place)))) as server:
                for publishers in PUBLISHERS:
                    for name, run in (("bare", bare), ("broker", through_broker)):
                        runs = [await run(server.url, publishers) for _ in range(RUNS)]
                        figures[f"{name}_{sync}_{publishers}_per_s"] = median([rate for rate, _ in runs])
                        figures[f"{name}_{sync}_{publishers}_publish_ms"] = median([ms for _, ms in runs])
                if sync == "default":
                    figures["join_to_first_event_ms"] = median(
                        [await first_event(server.url) for _ in range(RUNS)]
                    )
    with tempfile.TemporaryDirectory() as directory, nats_servers(Path(directory), 3) as servers:
        runs = [await through_broker(servers[0].url, 16) for _ in range(RUNS)]
        figures["broker_three_servers_16_per_s"] = median([rate for rate, _ in runs])
    return figures


if __name__ == "__main__":
    report(what="events over a NATS server", **asyncio.run(measure()))
