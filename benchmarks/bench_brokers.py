"""Accepted events a second, and milliseconds from publish to handler, by broker; beside bare SQLite.

In-process by `await client.publish`, and over HTTP by publishers of another process to `dnworker serve`. Bare
is `sqlite3` alone, in groups as large as the publishers fill, with one fsync each: the rows of the events.
"Bare noting" writes those, too, that note that events were handled, as the broker does: between the groups,
without an fsync. Then the start with a million events in the file, and the memory of a worker far behind.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from common import median, post_request, read_answer, report, serve_ours

from dnworker import Runtime, Worker
from dnworker.core.envelope import EventEnvelope, pack
from dnworker.core.invocation import Invocation
from dnworker.events.brokers.base import BEGINNING, Broker
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.brokers.sqlite.cursors import row_of, write_cursors
from dnworker.events.brokers.sqlite.notes import ENTRIES_PER_GROUP
from dnworker.events.bus import EventBus
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_rows import ROW, event_row, insert

PUBLISHERS = (1, 4, 16)
SECONDS = 2.0
RUNS = 3
MILLION = 1_000_000
"""Publishers beside each other, seconds and runs of each measurement, and events of a large file."""

SCRIPT = """
import time
from dnworker import Worker
worker = Worker("bench")
took = []

@worker.on_event("bench.event")
async def on_event(event, client):
    took.append(time.monotonic() - event.payload["at"])

@worker.on_event("bench.end")
async def on_end(event, client):
    global took
    found, took = sorted(took), []
    middle, late = found[len(found) // 2], found[int(len(found) * 0.99)]
    await client.publish("bench.figures", {"p50": middle, "p99": late})
"""


def capability(directory: Path) -> Path:
    """Write a capability with one worker in the runtime's process."""
    directory.mkdir(exist_ok=True)
    (directory / "bench.py").write_text(SCRIPT)
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\nworkers:\n  bench: {path: bench.py}\n"
    )
    return directory


async def in_process(broker: Broker, publishers: int) -> dict[str, float]:
    """Publish for some seconds; return the rate, latencies to the handler and the loop's lag, in ms."""
    worker, took, lag = Worker(name="bench"), [], []

    @worker.on_event("bench.event")
    async def on_event(event: EventEnvelope, client: object) -> None:
        took.append(time.perf_counter() - event.payload["at"])

    async def publish() -> None:
        while time.perf_counter() < until:
            await client.publish("bench.event", {"at": time.perf_counter()})
            await asyncio.sleep(0)  # the broker in memory accepts it at once, and handlers want the loop

    async def watch() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            lag.append(time.perf_counter() - began - 0.002)

    async with Runtime(port=None, broker=broker) as runtime:
        await runtime.add(worker)
        client = runtime.client()
        began, processor = time.perf_counter(), time.process_time()
        until = began + SECONDS
        await asyncio.gather(watch(), *(publish() for _ in range(publishers)))
        rate = len(took) / (time.perf_counter() - began)
        processor_us = (time.process_time() - processor) / len(took) * 1e6
        await runtime.settle(timeout=60)
    lag_p99_ms = sorted(lag)[int(len(lag) * 0.99)] * 1000
    return {"per_s": rate, "processor_us": processor_us, **_latencies(took), "lag_p99_ms": lag_p99_ms}


def _latencies(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {"p50_ms": ordered[len(ordered) // 2] * 1000, "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000}


async def over_http(url: str, publishers: int) -> dict[str, float]:
    """Publish over keep-alive connections for some seconds; return the rate."""
    answered = 0
    until = time.perf_counter() + SECONDS

    async def publish() -> None:
        nonlocal answered
        host, port, _ = post_request(url, "/api/events", {})
        reader, writer = await asyncio.open_connection(host, port)
        while time.perf_counter() < until:
            body = {"kind": "bench.event", "payload": {"at": time.monotonic()}}
            writer.write(post_request(url, "/api/events", body)[2])
            await read_answer(reader)
            answered += 1
        writer.close()

    await asyncio.gather(*(publish() for _ in range(publishers)))
    return {"per_s": answered / SECONDS}


async def figures_of(url: str) -> dict[str, float]:
    """Return the latencies that the worker of `serve` has noted since it was asked last, in ms."""
    from dnworker.client.client import RuntimeClient

    async with RuntimeClient(url, auth_token="benchmark-token") as client:
        events = client.subscribe("bench.figures")
        asking = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.3)  # the socket is open by then
        await client.publish("bench.end", {})
        found = (await asyncio.wait_for(asking, 30)).payload
    return {"p50_ms": found["p50"] * 1000, "p99_ms": found["p99"] * 1000}


def bare(directory: Path, group: int, *, is_noting: bool = False) -> float:
    """Return events a second that `sqlite3` writes alone, in groups of a size, with one fsync each.

    Args:
        is_noting: also write what notes that they were handled: a row each, and how far their worker is.
    """
    file = directory / "bare.db"
    connection = open_journal(file)
    connection.execute("PRAGMA synchronous = FULL")
    payload, _ = pack({"at": time.perf_counter()})
    written, began = 0, time.perf_counter()
    handled: list[EventEnvelope] = []
    while time.perf_counter() - began < SECONDS:
        events = [
            EventEnvelope(seq=n, kind="bench.event", payload=payload)  # type: ignore[arg-type]
            for n in range(written + 1, written + group + 1)
        ]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = [event_row(1, event, None, number=event.seq, only=None) for event in events]
            insert(connection, "events", rows)
        written += group
        if is_noting:
            handled += events
        if len(handled) >= ENTRIES_PER_GROUP:
            _note_handled(connection, handled)
            handled.clear()
    rate = written / (time.perf_counter() - began)
    connection.close()
    file.unlink()
    return rate


def _note_handled(connection: sqlite3.Connection, events: list[EventEnvelope]) -> None:
    """Write how handlers ended with events, and how far their worker is, as the broker does."""
    at = datetime.now(UTC).isoformat()
    ended = [
        Invocation("bench", "on_event", "event", event, outcome="ok", duration=0.001)  # type: ignore[arg-type]
        for event in events
    ]
    cursor = Cursor("bench", {"bench.event": 0}, events[-1].seq, at)
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        insert(connection, "invocations", [ROW["invocations"](1, one, at) for one in ended])
        write_cursors(connection, {"bench": row_of(cursor)})
    connection.execute("PRAGMA synchronous = FULL")


def fill(file: Path) -> None:
    """Write a million events that a worker has not handled."""
    connection = open_journal(file)
    payload, _ = pack({"text": "x" * 100})
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for first in range(1, MILLION + 1, 10_000):
            rows = [
                event_row(
                    1,
                    EventEnvelope(seq=n, kind="bench.event", payload=payload),  # type: ignore[arg-type]
                    None,
                    number=n,
                    only=None,
                    size=500,
                )
                for n in range(first, first + 10_000)
            ]
            insert(connection, "events", rows)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


async def start_with_a_million(directory: Path) -> dict[str, float]:
    """Return the seconds until a worker has the first of a million events, and the MiB that it then takes."""
    file = directory / "million.db"
    fill(file)
    process = psutil.Process()
    began = time.perf_counter()
    broker = SqliteBroker(file, start=BEGINNING)
    EventBus(broker=broker)
    await broker.open("bench")
    opened = time.perf_counter() - began
    consumer = broker.subscribe("demo:bench", ["bench.event"])
    await anext(consumer)
    first = time.perf_counter() - began
    before = process.memory_info().rss
    for _ in range(100_000):
        event = await anext(consumer)
        consumer.handed_out(event.event_id)
    grown = process.memory_info().rss - before
    await broker.close()
    return {"million_open_s": opened, "million_first_event_s": first, "behind_more_mib": grown / 2**20}


async def main() -> None:
    """Take turns."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        directory = Path(name)
        for publishers in PUBLISHERS:
            found: dict[str, list[dict[str, float]]] = {"memory": [], "sqlite": []}
            alone, noting = [], []
            for run in range(RUNS):
                found["memory"].append(await in_process(MemoryBroker(), publishers))
                broker = SqliteBroker(directory / f"{publishers}-{run}.db")
                found["sqlite"].append(await in_process(broker, publishers))
                alone.append(bare(directory, publishers))
                noting.append(bare(directory, publishers, is_noting=True))
            for broker_name, measured in found.items():
                figures |= _named(f"{broker_name}_{publishers}", measured)
            figures[f"bare_{publishers}_per_s"] = median(alone)
            figures[f"bare_noting_{publishers}_per_s"] = median(noting)
            rates = [one["per_s"] for one in found["sqlite"]]
            for name, of in (("bare", alone), ("bare_noting", noting)):
                shares = [rate / b for rate, b in zip(rates, of, strict=True)]
                figures[f"sqlite_{publishers}_share_of_{name}"] = median(shares)
        root = capability(directory / "bench")
        for broker_name, more in (("memory", ()), ("sqlite", ("--durable", directory / "http.db"))):
            with serve_ours(root, *more) as (url, _, _):  # type: ignore[arg-type]
                for publishers in PUBLISHERS:
                    rate = await over_http(url, publishers)
                    figures |= _named(f"http_{broker_name}_{publishers}", [rate | await figures_of(url)])
        figures |= await start_with_a_million(directory)
    report(what="brokers", **figures, limit_share_of_bare=0.5, limit_lag_ms=5, runs=RUNS)


def _named(name: str, measured: list[dict[str, float]]) -> dict[str, float]:
    return {f"{name}_{key}": median([one[key] for one in measured]) for key in measured[0]}


if __name__ == "__main__":
    asyncio.run(main())
