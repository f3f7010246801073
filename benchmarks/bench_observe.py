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

def note(last):
    global seen, began, used
    if not seen:
        began, used = time.perf_counter(), time.process_time()
    seen += 1
    if last:
        figures = {"events": seen, "seconds": time.perf_counter() - began, "cpu": time.process_time() - used}
        seen = 0
        return figures

@worker.on_event("bench.count")
async def count(event, client):
    if figures := note(event.payload["last"]):
        await client.publish("bench.done", figures)

@worker.on_event("bench.publish")
async def publish(event, client):
    figures = note(event.payload["last"])
    await client.publish("bench.done" if figures else "bench.seen", figures)

if __name__ == "__main__":
    worker.run()
"""

ROUNDS = 40
COUNTED, PUBLISHING, AT_ONCE = 2_000, 160, 8
"""Events of a round whose handler does nothing, those whose handler publishes one, and how many at once."""


def capability(directory: Path, python: str) -> Path:
    """Write a capability with one worker of the SDK."""
    directory.mkdir()
    (directory / "counter.py").write_text(SCRIPT)
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\n"
        f"workers:\n  counter: {{command: {json.dumps(python)}, args: [counter.py]}}\n"
    )
    return directory


async def measure(runtime: Runtime, *, publishes: bool) -> tuple[float, float]:
    """Return how many events a second the process handled, and its microseconds of processor an event."""
    answers = runtime.bus.subscribe(["bench.done", "bench.seen"])
    kind, events = ("bench.publish", PUBLISHING) if publishes else ("bench.count", COUNTED)
    async with asyncio.timeout(120):
        for n in range(1, events + 1):
            runtime.publish(kind, {"last": n == events})
            if publishes and n % AT_ONCE == 0:
                got = [await anext(answers) for _ in range(AT_ONCE)]
        last = got[-1] if publishes else await anext(answers)
    await answers.aclose()
    done = (
        last.payload if last.kind == "bench.done" else next(e for e in got if e.kind == "bench.done").payload
    )
    return done["events"] / done["seconds"], done["cpu"] / done["events"] * 1e6


async def main() -> None:
    """Measure a process with and one without in turns: what else the machine does is the same for both."""
    found: dict[tuple[bool, bool], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as home:
        root = capability(Path(home) / "bench", str(reference_python()))
        async with Runtime(port=0, observe=True) as observed, Runtime(port=0, observe=False) as plain:
            for runtime in (observed, plain):
                await runtime.load(root)
                async with asyncio.timeout(60):
                    await runtime.worker("counter").connected.wait()  # type: ignore[attr-defined]
                await measure(runtime, publishes=True)
            for number in range(ROUNDS):
                for is_observed in (True, False) if number % 2 else (False, True):
                    runtime = observed if is_observed else plain
                    for publishes in (False, True):
                        figures = await measure(runtime, publishes=publishes)
                        found.setdefault((is_observed, publishes), []).append(figures)
    report(what="a worker of the SDK that is observed", **_compared(found), rounds=ROUNDS)


def _compared(found: dict[tuple[bool, bool], list[tuple[float, float]]]) -> dict[str, float]:
    """Return the medians, and those of the differences between neighbours: machines are not steady."""
    figures: dict[str, float] = {}
    for publishes, name in ((False, "counting"), (True, "publishing")):
        observed, plain = found[True, publishes], found[False, publishes]
        pairs = list(zip(observed, plain, strict=True))
        figures |= {
            f"{name}_observed_per_s": median([rate for rate, _ in observed]),
            f"{name}_plain_per_s": median([rate for rate, _ in plain]),
            f"{name}_cost_percent": median([(1 - a[0] / b[0]) * 100 for a, b in pairs]),
            f"{name}_cpu_us": median([used for _, used in plain]),
            f"{name}_cpu_us_more": median([a[1] - b[1] for a, b in pairs]),
            f"{name}_cpu_percent_more": median([(a[1] / b[1] - 1) * 100 for a, b in pairs]),
        }
    return figures | {"limit_percent": 5}


if __name__ == "__main__":
    asyncio.run(main())
