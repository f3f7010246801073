"""What it costs to look at the state of workers: an event with it off and on, and a `%fire` with it on."""

from __future__ import annotations

import asyncio
import time

from bench_bus import EVENTS, bare
from common import RUNS, median, report

from dnworker import Runtime, Worker
from dnworker.engine.state_watch import StateWatch

FIRES = 300


async def ours(*, is_watched: bool) -> float:
    """Return events a second through bus, runner and history, of events that nobody fired."""
    worker = Worker(name="bench")
    worker.state["count"] = 0

    @worker.on_event("bench.event")
    async def on_event(event: object, client: object) -> None:
        worker.state["count"] += 1

    async with Runtime(port=None) as runtime:
        watch = StateWatch(runtime)
        if is_watched:
            watch.start()
        await runtime.add(worker)
        started = time.perf_counter()
        for number in range(EVENTS):
            runtime.publish("bench.event", {"n": number})
        await runtime.settle(timeout=None)
        took = time.perf_counter() - started
        watch.stop()
    assert worker.state["count"] == EVENTS
    return EVENTS / took


async def fire(*, is_watched: bool, users: int) -> float:
    """Return the median milliseconds from firing an event to its trace, with so many users in the state."""
    worker = Worker(name="bench")
    worker.state.update(count=0, users={f"user {n}": {"age": n, "tags": ["a", "b"]} for n in range(users)})

    @worker.on_event("bench.event")
    async def on_event(event: object, client: object) -> None:
        worker.state["count"] += 1

    async with Runtime(port=None) as runtime:
        watch = StateWatch(runtime)
        if is_watched:
            watch.start()
        await runtime.add(worker)
        took = []
        for _ in range(FIRES):
            started = time.perf_counter()
            trace = await runtime.fire("bench.event", {})
            took.append(1_000 * (time.perf_counter() - started))
        if is_watched:
            assert trace.invocations[0].state_changes == [f"count {FIRES - 1} -> {FIRES}"]
        watch.stop()
    return median(took)


async def main() -> None:
    """Take turns."""
    await ours(is_watched=False)
    rows = [(await bare(), await ours(is_watched=False), await ours(is_watched=True)) for _ in range(RUNS)]
    report(
        what="the state of workers, looked at",
        share_of_bare_off=median([off / alone for alone, off, _ in rows]),
        share_of_bare_on=median([on / alone for alone, _, on in rows]),
        fire_ms_off=await fire(is_watched=False, users=10),
        fire_ms_on=await fire(is_watched=True, users=10),
        fire_ms_on_500_users=await fire(is_watched=True, users=500),
        limit_share_off=0.6,
        limit_fire_ms=15,
        runs=RUNS,
    )


if __name__ == "__main__":
    asyncio.run(main())
