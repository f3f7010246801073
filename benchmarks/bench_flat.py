"""What one delivery costs with 1 and with 1,000 workers, kinds and subscribers around it."""

from __future__ import annotations

import asyncio
import time

from common import RUNS, median, report

from dnworker import Runtime, Worker
from dnworker.events.bus import EventBus

EVENTS = 2_000
MANY = 1_000


def worker(name: str, kind: str) -> Worker:
    """Return a worker with one handler."""
    made = Worker(name)

    @made.on_event(kind)
    async def on_event(event: object, client: object) -> None: ...

    return made


async def to_one_of(workers: int) -> float:
    """Return microseconds from publish to handled, of events for one worker out of many."""
    async with Runtime(port=None) as runtime:
        for number in range(workers):
            await runtime.add(worker(f"w{number}", f"bench.{number}"))
        await runtime.settle()
        started = time.perf_counter()
        for number in range(EVENTS):
            runtime.publish("bench.0", {"n": number})
            if number % 100 == 99:
                await runtime.settle(None)
        return (time.perf_counter() - started) / EVENTS * 1e6


async def to_all(subscribers: int) -> float:
    """Return microseconds a delivery, to so many subscribers of one kind."""
    bus = EventBus()
    subscriptions = [bus.subscribe(["bench.event"]) for _ in range(subscribers)]
    events = max(1, 100_000 // subscribers)
    started = time.perf_counter()
    for number in range(events):
        bus.publish("bench.event", {"n": number})
        for subscription in subscriptions:
            await anext(subscription)
    return (time.perf_counter() - started) / (events * subscribers) * 1e6


async def main() -> None:
    """Take turns."""
    await to_one_of(1)
    pairs = [(await to_one_of(1), await to_one_of(MANY)) for _ in range(RUNS)]
    fans = [(await to_all(100), await to_all(MANY)) for _ in range(RUNS)]
    few, many = (median([p[n] for p in pairs]) for n in (0, 1))
    hundred, thousand = (median([p[n] for p in fans]) for n in (0, 1))
    report(
        what="cost of a delivery, 1 against 1,000 workers and kinds; 100 against 1,000 subscribers",
        one_worker_us=few,
        thousand_workers_us=many,
        ratio_workers=median([b / a for a, b in pairs]),
        hundred_subscribers_us=hundred,
        thousand_subscribers_us=thousand,
        ratio_subscribers=median([b / a for a, b in fans]),
        limit_ratio=1.2,
        runs=RUNS,
    )


if __name__ == "__main__":
    asyncio.run(main())
