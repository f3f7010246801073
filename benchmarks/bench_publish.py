"""`client.publish` of an in-process worker, and its events' way to a handler; beside the reference."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from common import RUNS, TOKEN, median, report, serve_ours, serve_reference

from dnworker import RuntimeClient

WORKER = """
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


def capability(directory: Path, package: str) -> Path:
    """Write a capability with that worker."""
    directory.mkdir()
    (directory / "w.py").write_text(WORKER.format(package=package))
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\nworkers:\n  w: {path: w.py}\n"
    )
    return directory


async def measure(url: str, count: int) -> tuple[float, float]:
    """Return publishes and handled events a second."""
    async with RuntimeClient(url, auth_token=TOKEN) as client:
        done = client.subscribe("bench.done")
        waiting = asyncio.ensure_future(anext(done))
        await asyncio.sleep(0.3)  # the stream opens
        await client.publish("bench.run", {"count": count})
        async with asyncio.timeout(120):
            figures = (await waiting).payload
        await done.aclose()
        return figures["publish"], figures["handle"]


def main() -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory() as home:
        ours = capability(Path(home) / "ours", "dnworker")
        theirs = capability(Path(home) / "theirs", "dreadnode.capabilities.worker")
        with serve_ours(ours) as (url, _, _):
            mine = [asyncio.run(measure(url, 20_000)) for _ in range(RUNS)]
        with serve_reference(theirs) as (url, _, _):
            reference = [asyncio.run(measure(url, 500)) for _ in range(RUNS)]
    report(
        what="client.publish of an in-process worker",
        publish_per_s=median([m[0] for m in mine]),
        limit_per_s=30_000,
        reference_publish_per_s=median([m[0] for m in reference]),
        handled_per_s=median([m[1] for m in mine]),
        reference_handled_per_s=median([m[1] for m in reference]),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
