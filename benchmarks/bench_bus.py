"""Events a second from the bus to a handler, beside tasks a second of bare asyncio in the same process."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from dnworker import Runtime, Worker

EVENTS = 20_000
RUNS = 5


async def bare() -> float:
    """Return tasks a second that asyncio alone starts and ends: the limit for one task an event."""
    done = 0

    async def one() -> None:
        nonlocal done
        done += 1

    started = time.perf_counter()
    for _ in range(EVENTS // 100):
        await asyncio.gather(*(one() for _ in range(100)))
    return done / (time.perf_counter() - started)


async def ours() -> float:
    """Return events a second through bus, runner and history."""
    worker = Worker(name="bench")
    handled = 0

    @worker.on_event("bench.event")
    async def on_event(event: object, client: object) -> None:
        nonlocal handled
        handled += 1

    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        started = time.perf_counter()
        for number in range(EVENTS):
            runtime.publish("bench.event", {"n": number})
        await runtime.settle(timeout=None)
        took = time.perf_counter() - started
    assert handled == EVENTS
    return handled / took


async def main() -> None:
    """Take turns, median of five."""
    pairs = [(await bare(), await ours()) for _ in range(RUNS)]
    print(
        json.dumps(
            {
                "what": "bus to handler, in-process",
                "events_per_s": round(statistics.median(b for _, b in pairs)),
                "bare_asyncio_tasks_per_s": round(statistics.median(a for a, _ in pairs)),
                "ratio": round(statistics.median(b / a for a, b in pairs), 3),
                "runs": RUNS,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
