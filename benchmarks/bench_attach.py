"""What attaching to a running runtime adds to an event, and whether 1,000 events a second are compared.

The deployed runtime is a process of its own. `added_ms` is the time from the arrival of an event at a plain
subscriber in this process to the begin of the handler that the attachment gives it to; `latency_ms` is the
whole way from the publisher to that handler.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from common import TOKEN, report, serve_ours

from dnworker import Runtime, RuntimeClient, Worker
from dnworker.attach.attaching import attach
from dnworker.attach.attachment import Attachment

PACED, PACED_RATE = 500, 100
"""Events of the first measurement, and how many a second."""

FLOOD_RATE, FLOOD_SECONDS = 1_000, 10

MANIFEST = """schema: 1
name: bench
version: "0.1.0"
description: Publishes orders, and flags some.
workers:
  source: {path: source.py}
  bridge: {path: bridge.py}
"""
SOURCE = """
import asyncio, time
from dnworker import Worker

worker = Worker("source")

@worker.on_event("bench.start")
async def start(event, client):
    count, rate = event.payload["count"], event.payload["rate"]
    began = time.monotonic()
    for n in range(count):
        await client.publish("bench.order", {"n": n, "t": time.monotonic(), "run": event.payload["run"]})
        ahead = began + (n + 1) / rate - time.monotonic()
        if ahead > 0.002:
            await asyncio.sleep(ahead)
"""
BRIDGE = """
from dnworker import Worker

worker = Worker("bridge")

@worker.on_event("bench.order")
async def on_order(event, client):
    if event.payload["n"] % 10 == 0:
        await client.publish("bench.flagged", {"n": event.payload["n"]})
"""


def make_worker(arrived: dict[int, float], latencies: list[float]) -> Worker:
    """Return the notebook's worker: it flags every tenth order, but not every hundredth."""
    worker = Worker("bridge")

    @worker.on_event("bench.order")
    async def on_order(event, client) -> None:  # type: ignore[no-untyped-def]
        now, n = time.monotonic(), event.payload["n"]
        arrived[n] = now
        latencies.append(now - event.payload["t"])
        if n % 10 == 0 and n % 100:
            await client.publish("bench.flagged", {"n": n})

    return worker


async def listen(client: RuntimeClient, heard: dict[int, float]) -> None:
    """Note when a plain subscriber has each event."""
    async for event in client.subscribe("bench.order"):
        heard[event.payload["n"]] = time.monotonic()


async def start(client: RuntimeClient, count: int, rate: int, run: int) -> None:
    """Have the deployed runtime publish."""
    await client.publish("bench.start", {"count": count, "rate": rate, "run": run})


async def done(attachment: Attachment, count: int) -> float:
    """Wait until so many have come and all are compared; returns the seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(120):
        while attachment.received < count or attachment.score.pending:
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def measure(url: str) -> None:
    """Attach a runtime of this process, and print what that costs."""
    arrived, latencies = dict[int, float](), list[float]()
    client = RuntimeClient(url, auth_token=TOKEN)
    async with Runtime(port=None) as here:
        await here.add(make_worker(arrived, latencies))
        attachment = await attach(here, url, token=TOKEN)
        while attachment.state != "following":
            await asyncio.sleep(0.01)
        heard = dict[int, float]()
        listening = asyncio.create_task(listen(client, heard))
        await asyncio.sleep(0.5)
        await start(client, PACED, PACED_RATE, 1)
        await done(attachment, PACED)
        listening.cancel()
        await asyncio.wait({listening})
        added = sorted(1_000 * (arrived[n] - at) for n, at in heard.items() if n in arrived)
        report(
            what="paced",
            events=PACED,
            per_second=PACED_RATE,
            added_ms_p50=statistics.median(added),
            added_ms_p99=added[int(len(added) * 0.99) - 1],
            latency_ms_p50=1_000 * statistics.median(latencies),
        )
        latencies.clear()
        count, cpu, began = FLOOD_RATE * FLOOD_SECONDS, time.process_time(), time.monotonic()
        before = attachment.score.same, attachment.score.different
        await start(client, count, FLOOD_RATE, 2)
        await done(attachment, PACED + count)
        score = attachment.score
        assert len(latencies) == count, len(latencies)
        report(
            what="flood",
            events=count,
            seconds=time.monotonic() - began,
            cpu_share=(time.process_time() - cpu) / (time.monotonic() - began),
            latency_ms_p50=1_000 * statistics.median(latencies),
            latency_ms_max=1_000 * max(latencies),
            same=score.same - before[0],
            different=score.different - before[1],
            unknown=score.unknown,
            gaps=len(attachment.gaps),
        )
        await attachment.detach()
    await client.close()


def main() -> None:
    """Serve a capability, and measure."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "bench"
        root.mkdir()
        for name, text in (("capability.yaml", MANIFEST), ("source.py", SOURCE), ("bridge.py", BRIDGE)):
            (root / name).write_text(text)
        with serve_ours(root) as (url, _, _):
            asyncio.run(measure(url))


if __name__ == "__main__":
    main()
