"""A Python worker process: from spawn to its first event, and an event's way to it and back."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from common import RUNS, TOKEN, median, reference_python, report, serve_ours, serve_reference

from dnworker import RuntimeClient

SCRIPT = """
from {package} import Worker
worker = Worker(name="echo")

@worker.on_event("bench.ping")
async def ping(event, client):
    await client.publish("bench.pong", {{"n": event.payload["n"]}})

if __name__ == "__main__":
    worker.run()
"""

ROUNDS = 50


def capability(directory: Path, python: str, package: str) -> Path:
    """Write a capability with one Python worker process."""
    directory.mkdir()
    (directory / "echo.py").write_text(SCRIPT.format(package=package))
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\n"
        f"workers:\n  echo: {{command: {json.dumps(python)}, args: ['${{CAPABILITY_ROOT}}/echo.py']}}\n"
    )
    return directory


async def measure(url: str) -> tuple[float, float, int]:
    """Return seconds from spawn to the first answer, milliseconds a round trip, and events lost."""
    async with RuntimeClient(url, auth_token=TOKEN) as client:
        pongs = client.subscribe("bench.pong")
        waiting = asyncio.ensure_future(anext(pongs))
        async with asyncio.timeout(60):
            while not waiting.done():  # until the stream is open and the worker is there
                await client.publish("bench.ping", {"n": -1})
                await asyncio.wait({waiting}, timeout=0.05)
        for _ in range(2):
            await client.reload_capabilities()
        started = time.perf_counter()
        await client.reload_capabilities()  # the answer comes when the process was spawned
        seen: list[int] = []
        number = 0

        async def take() -> None:
            async for event in pongs:
                if event.payload["n"] >= 0:
                    seen.append(event.payload["n"])

        taking = asyncio.create_task(take())
        async with asyncio.timeout(60):
            while not seen:
                await client.publish("bench.ping", {"n": number})
                number += 1
                await asyncio.sleep(0.02)
        first = time.perf_counter() - started
        await asyncio.sleep(1.0)
        lost = number - len(set(seen))
        taking.cancel()
        await asyncio.wait({taking})
        pongs = client.subscribe("bench.pong")
        waiting = asyncio.ensure_future(anext(pongs))
        await asyncio.sleep(0.2)
        trips = []
        for n in range(ROUNDS):
            begun = time.perf_counter()
            await client.publish("bench.ping", {"n": 1000 + n})
            while (await waiting).payload["n"] != 1000 + n:
                waiting = asyncio.ensure_future(anext(pongs))
            trips.append(time.perf_counter() - begun)
            waiting = asyncio.ensure_future(anext(pongs))
        waiting.cancel()
        await asyncio.wait({waiting})
        await pongs.aclose()
        return first, median(trips) * 1000, lost


def main() -> None:
    """Measure ours with a dnworker child, and the reference with a child of the SDK."""
    with tempfile.TemporaryDirectory() as home:
        ours = capability(Path(home) / "ours", sys.executable, "dnworker")
        theirs = capability(Path(home) / "theirs", str(reference_python()), "dreadnode.capabilities.worker")
        with serve_ours(ours) as (url, _, _):
            mine = [asyncio.run(measure(url)) for _ in range(RUNS)]
        with serve_reference(theirs) as (url, _, _):
            reference = [asyncio.run(measure(url)) for _ in range(RUNS)]
    report(
        what="a Python worker process",
        spawn_to_first_answer_s=median([m[0] for m in mine]),
        limit_s=0.6,
        reference_s=median([m[0] for m in reference]),
        round_trip_ms=median([m[1] for m in mine]),
        round_trip_limit_ms=3,
        reference_round_trip_ms=median([m[1] for m in reference]),
        events_lost_after_spawn=max(m[2] for m in mine),
        reference_events_lost=max(m[2] for m in reference),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
