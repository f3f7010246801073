"""`client.publish` of an in-process worker, beside one that validates the same JSON, and the reference."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from common import RUNS, TOKEN, has_reference, median, report, row, serve_ours, serve_reference, sized

from dnworker import Runtime, RuntimeClient, Worker

ROWS = ("publish",)

EVENTS = sized(10_000)

PAYLOAD = {"n": 1, "text": "x" * 100}

SERVED = """
import asyncio, time
from {package} import Worker
worker = Worker(name="w")

@worker.on_event("bench.event")
async def on_event(event, client):
    worker.state["seen"] = worker.state.get("seen", 0) + 1
    if worker.state["seen"] == worker.state["wanted"]:
        worker.state["all"].set()

@worker.on_event("bench.run")
async def run(event, client):
    count = event.payload["count"]
    worker.state.update(seen=0, wanted=count, all=asyncio.Event())
    started = time.perf_counter()
    for n in range(count):
        await client.publish("bench.event", {{"n": n}})
    published = time.perf_counter() - started
    await worker.state["all"].wait()
    handled = time.perf_counter() - started
    await client.publish("bench.done", {{"publish": count / published, "handle": count / handled}})
"""


class Event(msgspec.Struct):
    """The body of a request to publish."""

    kind: str
    payload: dict[str, Any]


TEXT = json.dumps({"kind": "bench.event", "payload": PAYLOAD}).encode()
VALID = msgspec.json.Decoder(Event)
WRITTEN = msgspec.json.Encoder()


async def validate(text: bytes) -> Event:
    """Return an event of its JSON, as it is valid."""
    return VALID.decode(text)


async def write_and_validate(kind: str, payload: dict[str, Any]) -> Event:
    """Return a copy of an event that is valid, of objects of Python."""
    return VALID.decode(WRITTEN.encode({"kind": kind, "payload": payload}))


async def turns(client: RuntimeClient) -> list[tuple[float, float, float]]:
    """Return publishes a second, and how often a second both coroutines are awaited, of each turn."""
    taken = []
    for _ in range(RUNS + 1):
        marks = [time.perf_counter()]
        for _ in range(EVENTS):
            await client.publish("bench.event", PAYLOAD)
        marks.append(time.perf_counter())
        for _ in range(EVENTS):
            await validate(TEXT)
        marks.append(time.perf_counter())
        for _ in range(EVENTS):
            await write_and_validate("bench.event", PAYLOAD)
        marks.append(time.perf_counter())
        ours, bare, both = (EVENTS / (marks[n + 1] - marks[n]) for n in range(3))
        taken.append((ours, bare, both))
        await asyncio.sleep(0)
    return taken[1:]  # the first one warms


async def in_process() -> list[tuple[float, float, float]]:
    """Measure in a handler, whose client a worker has."""
    worker, done = Worker(name="bench"), asyncio.get_running_loop().create_future()

    @worker.on_event("bench.run")
    async def run(event: object, client: RuntimeClient) -> None:
        done.set_result(await turns(client))

    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        runtime.publish("bench.run", {})
        async with asyncio.timeout(300):
            taken: list[tuple[float, float, float]] = await done
        await runtime.settle(None)
    return taken


def capability(directory: Path, package: str) -> Path:
    """Write a capability with the worker that a server runs."""
    directory.mkdir()
    (directory / "w.py").write_text(SERVED.format(package=package))
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\nworkers:\n  w: {path: w.py}\n"
    )
    return directory


async def measure(url: str, count: int) -> tuple[float, float]:
    """Return publishes and handled events a second of a served worker."""
    async with RuntimeClient(url, auth_token=TOKEN) as client:
        done = client.subscribe("bench.done")
        waiting = asyncio.ensure_future(anext(done))
        await asyncio.sleep(0.3)  # the stream opens
        await client.publish("bench.run", {"count": count})
        async with asyncio.timeout(120):
            figures = (await waiting).payload
        await done.aclose()  # type: ignore[attr-defined]
        return figures["publish"], figures["handle"]


def beside_the_reference() -> dict[str, float]:
    """Measure both as servers."""
    with tempfile.TemporaryDirectory() as home:
        ours = capability(Path(home) / "ours", "dnworker")
        theirs = capability(Path(home) / "theirs", "dreadnode.capabilities.worker")
        with serve_ours(ours) as (url, _, _), serve_reference(theirs) as (other, _, _):
            pairs = [(measure(url, 20_000), measure(other, 500)) for _ in range(3)]
            taken = [(asyncio.run(mine), asyncio.run(reference)) for mine, reference in pairs]
    return {
        "served_publish_per_s": median([mine[0] for mine, _ in taken]),
        "reference_publish_per_s": median([reference[0] for _, reference in taken]),
        "served_handled_per_s": median([mine[1] for mine, _ in taken]),
        "reference_handled_per_s": median([reference[1] for _, reference in taken]),
    }


def main() -> None:
    """Measure in this process, then as servers."""
    taken = asyncio.run(in_process())
    ours, bare, both = ([one[n] for one in taken] for n in range(3))
    report(
        what="client.publish of an in-process worker",
        rows=[row("publish", ours, bare)],
        encode_and_validate_per_s=median(both),
        share_of_encode_and_validate=median([a / b for a, b in zip(ours, both, strict=True)]),
        **(beside_the_reference() if has_reference() else {}),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
