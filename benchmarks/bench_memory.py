"""The most memory that a process holds while 1,000,000 events go through its runtime, beside 10,000 events.

A handler publishes them as fast as it may, and another one takes them. This process imports little: the peak
of a child is at least what its parent held when it was spawned.
"""

from __future__ import annotations

import subprocess
import sys
import time

from common import QUICK, report, row

ROWS = ("memory",)

EVENTS = 20_000 if QUICK else 1_000_000
FEW = 1_000 if QUICK else 10_000

CHILD = """
import asyncio, resource, sys
from dnworker import Runtime, Worker

async def main(count):
    worker = Worker(name="bench")

    handled = 0

    @worker.on_event("bench.event")
    async def on_event(event, client):
        nonlocal handled
        handled += 1

    @worker.on_event("bench.run")
    async def on_run(event, client):
        for number in range(count):
            await client.publish("bench.event", {"n": number, "text": "x" * 100})

    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        runtime.publish("bench.run", {})
        await runtime.settle(None)
    assert handled == count, handled

asyncio.run(main(int(sys.argv[1])))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (2**20 if sys.platform == "darwin" else 2**10))
"""


def peak_mib(events: int) -> float:
    """Return the peak of a process of its own."""
    command = [sys.executable, "-c", CHILD, str(events)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    """Measure once: a peak hardly changes from run to run."""
    few, started = peak_mib(FEW), time.perf_counter()
    many = peak_mib(EVENTS)
    report(
        what=f"the memory of {EVENTS:,} events through a runtime",
        rows=[row("memory", [many], [few])],
        seconds=time.perf_counter() - started,
        runs=1,
    )


if __name__ == "__main__":
    main()
