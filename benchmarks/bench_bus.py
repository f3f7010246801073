"""Events a second from publish to handler, statistics and tracing on, beside a bare task an event."""

from __future__ import annotations

import asyncio
import time

from common import RUNS, median, report, row, sized

from dnworker import Runtime, Worker

ROWS = ("handler",)

EVENTS = sized(20_000)


async def bare() -> float:
    """Return tasks a second that asyncio alone starts and ends, kept as its documentation demands."""
    running: set[asyncio.Task[None]] = set()

    async def handler(event: object, client: object) -> None: ...

    started = time.perf_counter()
    for number in range(EVENTS):
        task = asyncio.create_task(handler({"n": number}, None))
        running.add(task)
        task.add_done_callback(running.discard)
    while running:
        await asyncio.sleep(0)
    return EVENTS / (time.perf_counter() - started)


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
    """Take turns."""
    await ours()
    pairs = [(await bare(), await ours()) for _ in range(RUNS)]
    report(
        what="publish to handler, in-process",
        rows=[row("handler", [b for _, b in pairs], [a for a, _ in pairs])],
        events_per_s=median([b for _, b in pairs]),
        bare_tasks_per_s=median([a for a, _ in pairs]),
        share_of_bare=median([b / a for a, b in pairs]),
        runs=RUNS,
    )


if __name__ == "__main__":
    asyncio.run(main())
