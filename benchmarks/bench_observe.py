"""What it costs a worker of the reference's SDK that it is observed: events a second, with and without."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from common import median, reference_python, report

from dnworker import Runtime

SCRIPT = """
import time
from dreadnode.capabilities.worker import Worker

worker = Worker(name="counter")
seen = began = used = 0

@worker.on_event("bench.count")
async def count(event, client):
    global seen, began, used
    if not seen:
        began, used = time.perf_counter(), time.process_time()
    seen += 1
    if event.payload["publishes"]:
        await client.publish("bench.seen", {"n": seen})
    if event.payload["last"]:
        took, cpu = time.perf_counter() - began, time.process_time() - used
        seen, done = 0, seen
        await client.publish("bench.done", {"events": done, "seconds": took, "cpu": cpu})

if __name__ == "__main__":
    worker.run()
"""

ROUNDS = 15
COUNTED, PUBLISHING = 4_000, 200
"""Events of a round whose handler only counts, and whose handler publishes one in turn."""


def capability(directory: Path, python: str) -> Path:
    """Write a capability with one worker of the SDK."""
    directory.mkdir()
    (directory / "counter.py").write_text(SCRIPT)
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\n"
        f"workers:\n  counter: {{command: {json.dumps(python)}, args: [counter.py]}}\n"
    )
    return directory


async def measure(runtime: Runtime, events: int, *, publishes: bool) -> tuple[float, float]:
    """Return how many events a second the process handled, and its microseconds of processor an event."""
    done = runtime.bus.subscribe(["bench.done"])
    for n in range(events):
        runtime.publish("bench.count", {"publishes": publishes, "last": n == events - 1})
        if n % 64 == 63:
            await asyncio.sleep(0)
    async with asyncio.timeout(120):
        payload = (await anext(done)).payload
    await done.aclose()
    return payload["events"] / payload["seconds"], payload["cpu"] / payload["events"] * 1e6


async def main() -> None:
    """Measure a process with, one without, in turns, so that what else the machine does is the same for both."""
    found: dict[tuple[bool, bool], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as home:
        root = capability(Path(home) / "bench", str(reference_python()))
        async with Runtime(port=0, observe=True) as observed, Runtime(port=0, observe=False) as plain:
            for runtime in (observed, plain):
                await runtime.load(root)
                async with asyncio.timeout(60):
                    await runtime.worker("counter").connected.wait()  # type: ignore[attr-defined]
                await measure(runtime, 500, publishes=True)
            for number in range(ROUNDS):
                for is_observed in (True, False) if number % 2 else (False, True):
                    runtime = observed if is_observed else plain
                    for publishes, events in ((False, COUNTED), (True, PUBLISHING)):
                        figures = await measure(runtime, events, publishes=publishes)
                        found.setdefault((is_observed, publishes), []).append(figures)
    report(what="a worker of the SDK that is observed", **_compared(found), rounds=ROUNDS)


def _compared(found: dict[tuple[bool, bool], list[tuple[float, float]]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for publishes, name in ((False, "counting"), (True, "publishing")):
        rates = {on: median([rate for rate, _ in found[on, publishes]]) for on in (True, False)}
        cpu = {on: median([used for _, used in found[on, publishes]]) for on in (True, False)}
        figures |= {
            f"{name}_observed_per_s": rates[True],
            f"{name}_plain_per_s": rates[False],
            f"{name}_cost_percent": (1 - rates[True] / rates[False]) * 100,
            f"{name}_cpu_us_more": cpu[True] - cpu[False],
            f"{name}_cpu_percent_more": (cpu[True] / cpu[False] - 1) * 100,
        }
    return figures | {"limit_percent": 5}


if __name__ == "__main__":
    asyncio.run(main())
