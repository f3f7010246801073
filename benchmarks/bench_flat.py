"""What one event, delivery or line costs with little and with much around it: workers, kinds, sessions, more.

Both sides of a pair are in one process and take turns in small parts, so that a slow moment meets both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from common import QUICK, RUNS, Row, median, report, row, sized

from dnworker import Runtime, Worker
from dnworker.core.logs import LogBook
from dnworker.events.bus import EventBus

ROWS = (
    "growth-workers",
    "growth-kinds",
    "growth-subscribers",
    "growth-fan",
    "growth-sessions",
    "growth-lines",
)

EVENTS = sized(2_000)
"""Events of one turn."""

AT_ONCE = 100
"""Events until the other side has its turn."""

MANY = 50 if QUICK else 1_000

LINES = 1_000 if QUICK else 100_000

Part = Callable[[], Awaitable[None]]
"""Does what is measured once for each of so many events."""


def worker(name: str, *kinds: str) -> Worker:
    """Return a worker with one handler a kind."""
    made = Worker(name)
    for kind in kinds:

        @made.on_event(kind)
        async def on_event(event: object, client: object) -> None: ...

    return made


async def pairs(few: Part, many: Part, parts: int, size: int) -> tuple[list[float], list[float]]:
    """Return microseconds an event with many and with few, a value a turn."""
    sides: tuple[list[float], list[float]] = ([], [])
    await few()
    await many()
    for _ in range(RUNS):
        took = [0.0, 0.0]
        for _ in range(parts):
            for side, part in enumerate((many, few)):
                started = time.perf_counter()
                await part()
                took[side] += time.perf_counter() - started
        for values, seconds in zip(sides, took, strict=True):
            values.append(seconds / (parts * size) * 1e6)
    return sides


def published(runtime: Runtime, kind: str = "bench.0", session_id: str | None = None) -> Part:
    """Return what publishes events and waits until they are handled."""

    async def part() -> None:
        for number in range(AT_ONCE):
            runtime.publish(kind, {"n": number}, session_id=session_id)
        await runtime.settle(None)

    return part


async def with_workers(count: int, stack: AsyncExitStack) -> Part:
    """Return events for one worker out of many."""
    runtime = await stack.enter_async_context(Runtime(port=None))
    for number in range(count):
        await runtime.add(worker(f"w{number}", f"bench.{number}"))
    return published(runtime)


async def with_kinds(count: int, stack: AsyncExitStack) -> Part:
    """Return events of one kind out of many that a worker listens to."""
    runtime = await stack.enter_async_context(Runtime(port=None))
    await runtime.add(worker("w", *(f"bench.{number}" for number in range(count))))
    return published(runtime)


async def with_sessions(count: int, stack: AsyncExitStack) -> Part:
    """Return events of one session out of many, each of which has had one."""
    runtime = await stack.enter_async_context(Runtime(port=None))
    await runtime.add(worker("w", "bench.0"))
    ids = [(await runtime.client().create_session()).session_id for _ in range(count)]
    for session_id in ids:
        runtime.publish("bench.0", {}, session_id=session_id)
    await runtime.settle(None)
    return published(runtime, session_id=ids[0])


async def with_subscribers(count: int, _: AsyncExitStack) -> Part:
    """Return events for one subscriber out of many, each of a kind of its own."""
    bus = EventBus()
    subscriptions = [bus.subscribe([f"bench.{number}"]) for number in range(count)]

    async def part() -> None:
        for number in range(AT_ONCE):
            bus.publish("bench.0", {"n": number})
            await anext(subscriptions[0])

    return part


async def fan(subscribers: int, _: AsyncExitStack) -> Part:
    """Return deliveries to each of so many subscribers of one kind: as many deliveries for any count."""
    bus = EventBus()
    subscriptions = [bus.subscribe(["bench.event"]) for _ in range(subscribers)]

    async def part() -> None:
        for number in range(MANY // subscribers):
            bus.publish("bench.event", {"n": number})
            for subscription in subscriptions:
                await anext(subscription)

    return part


async def with_lines(count: int, _: AsyncExitStack) -> Part:
    """Return lines added to a log that has so many, with a look at the newest ten after each."""
    book = LogBook(lines_kept=count, limit=2**31)  # full, as the oldest line goes for each new one
    for number in range(count):
        book.add("w", f"line {number} of a worker")

    async def part() -> None:
        for number in range(AT_ONCE):
            book.add("w", f"line {number} of a worker")
            book.tail(10)

    return part


Make = Callable[[int, AsyncExitStack], Awaitable[Part]]


async def grown(
    key: str, make: Make, few: int, many: int, *, parts: int = EVENTS // AT_ONCE, size: int = AT_ONCE
) -> Row:
    """Return the row of a growth from few to many; a turn has so many parts, of `size` events each."""
    async with AsyncExitStack() as stack:
        return row(key, *await pairs(await make(few, stack), await make(many, stack), parts, size))


async def main() -> None:
    """Measure one growth after the other."""
    rows = [
        await grown("growth-workers", with_workers, 1, MANY),
        await grown("growth-kinds", with_kinds, 1, MANY),
        await grown("growth-subscribers", with_subscribers, 1, MANY, parts=10 * EVENTS // AT_ONCE),
        await grown("growth-fan", fan, MANY // 10, MANY, size=MANY),
        await grown("growth-sessions", with_sessions, 1, MANY),
        await grown("growth-lines", with_lines, 10, LINES, parts=10 * EVENTS // AT_ONCE),
    ]
    report(
        what="what one costs, with little and with much around it",
        rows=rows,
        worst_ratio=max(one["ratio"] for one in rows),
        median_ratio=median([one["ratio"] for one in rows]),
        runs=RUNS,
    )


if __name__ == "__main__":
    asyncio.run(main())
