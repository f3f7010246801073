"""What it costs to ask for the past of a durable runtime with 10,000 events, in milliseconds an answer."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import httpx
from common import RUNS, TOKEN, median, report

from dnworker import Runtime, Worker
from dnworker.events.brokers.sqlite.broker import SqliteBroker

EVENTS = 10_000


def make_worker() -> Worker:
    """Return a worker that prints a line for each event, and publishes another for every tenth."""
    worker = Worker(name="bench")

    @worker.on_event("bench.event")
    async def on_event(event, client) -> None:  # type: ignore[no-untyped-def]
        print("handled", event.payload["n"])
        if event.payload["n"] % 10 == 0:
            await client.publish("bench.below", {"n": event.payload["n"]})

    return worker


async def answers(http: httpx.AsyncClient, path: str) -> float:
    """Return the median of the milliseconds that an answer takes."""
    took = []
    for _ in range(RUNS):
        started = time.perf_counter()
        (await http.get(path)).raise_for_status()
        took.append(1_000 * (time.perf_counter() - started))
    return median(took)


async def all_pages(http: httpx.AsyncClient) -> float:
    """Return the seconds that it takes to read all events, 200 a page."""
    started, before, count = time.perf_counter(), "", 0
    while before is not None:
        query = {"limit": "200", "noise": "true"} | ({"before": before} if before else {})
        page = (await http.get("/api/history/events", params=query)).raise_for_status().json()
        before, count = page["next"], count + len(page["events"])
    assert count >= EVENTS, count
    return time.perf_counter() - started


async def measure(file: Path) -> dict[str, float]:
    """Ask a runtime that has handled the events, then one that was started on its file."""
    async with Runtime(port=0, token=TOKEN, broker=SqliteBroker(file)) as runtime:
        await runtime.add(make_worker())
        with runtime.capture_output():
            first = runtime.publish("bench.event", {"n": 0})
            for number in range(1, EVENTS):
                runtime.publish("bench.event", {"n": number})
            await runtime.settle(timeout=None)
        figures = await ask(runtime, first.event_id, "")
        async with client_of(runtime) as http:
            figures["logs_ms"] = await answers(http, "/api/history/lines?limit=1000&worker=notebook:bench")
    async with Runtime(port=0, token=TOKEN, broker=SqliteBroker(file)) as runtime:
        return figures | await ask(runtime, first.event_id, "after_restart_")


def client_of(runtime: Runtime) -> httpx.AsyncClient:
    """Return a client that may ask everything."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(base_url=runtime.url or "", headers=headers, trust_env=False, timeout=60)


async def ask(runtime: Runtime, event_id: str, prefix: str) -> dict[str, float]:
    """Ask for events and traces."""
    async with client_of(runtime) as http:
        return {
            f"{prefix}events_ms": await answers(http, "/api/history/events?limit=20"),
            f"{prefix}failed_ms": await answers(http, "/api/history/events?failed=true"),
            f"{prefix}trace_ms": await answers(http, f"/api/history/events/{event_id}/trace"),
            f"{prefix}all_pages_s": await all_pages(http),
        }


def main() -> None:
    """Measure once: each figure is a median of its own."""
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(io.StringIO()):
        figures = asyncio.run(measure(Path(directory) / "events.db"))
    report(what=f"the past of a durable runtime with {EVENTS:,} events", **figures, runs=RUNS)


if __name__ == "__main__":
    main()
