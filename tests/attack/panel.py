"""Attacks on the loop by the panel."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dnworker import EventEnvelope, Runtime, RuntimeClient, Worker
from tests.attack.attack import Scale, attack

LIMIT_MS = 50
PARTS = ["log"]
LOOKS: dict[str, dict[str, Any]] = {
    "runs": {},
    "overview": {},
    "worker": {"worker": "w0"},
    "life": {"worker": "w0"},
    "map": {},
    "sessions": {},
    "capabilities": {},
    "fire": {},
}
"""More than any one view of the panel shows at a time."""

FILLED_WITHIN = 90
"""Seconds within which everything has been sent once, on a machine that does much else."""


def worker(number: int) -> Worker:
    """Return a worker with a handler of each kind that a panel shows figures of."""
    made = Worker(f"w{number}")

    @made.on_startup
    async def start(client: RuntimeClient) -> None: ...

    @made.on_event(f"kind.{number % 50}")
    async def handle(event: EventEnvelope, client: RuntimeClient) -> None: ...

    @made.every(seconds=60)
    async def tick(client: RuntimeClient) -> None: ...

    return made


class Lag:
    """Measures how long the loop is kept from a timer, in ms: by the clock, and in processor time.

    Processor time does not depend on what else the machine does.
    """

    def __init__(self) -> None:
        self.by_clock: list[float] = []
        self.by_processor: list[float] = []

    async def watch(self) -> None:
        """Measure until it is cancelled."""
        while True:
            clock, processor = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            self.by_clock.append((time.perf_counter() - clock - 0.005) * 1000)
            self.by_processor.append((time.thread_time() - processor) * 1000)


def p99(values: list[float]) -> float:
    """Return the value that 99 of 100 do not exceed."""
    return sorted(values)[int(len(values) * 0.99)]


def unsent(messages: list[dict[str, Any]]) -> list[str]:
    """Return the parts that were not sent yet."""
    sent = {part for message in messages for part in message}
    return [part for part in (*PARTS, *LOOKS) if part not in sent]


@attack()
async def a_view_of_a_thousand_workers(scale: Scale) -> str:
    """The loop goes on for handlers while one view looks at 1,000 workers and 10,000 sessions."""
    lag, messages = Lag(), list[dict[str, Any]]()
    async with Runtime(port=None) as runtime:
        for number in range(1_000):
            await runtime.add(worker(number))
        for _ in range(10_000):
            runtime.sessions.create()

        def send(message: dict[str, Any]) -> None:
            messages.append(message)
            if "seq" in message:
                ack = {"type": "ack", "view": "v", "seq": message["seq"]}
                runtime.loop.call_soon(channel.receive, ack)

        channel = runtime.feed.connect(send)
        watching = asyncio.create_task(lag.watch())
        channel.receive({"type": "hello", "view": "v", "parts": PARTS, "looks": LOOKS})
        for number in range(FILLED_WITHIN * 20):
            if number >= scale.of(60, 6) * 20 and not unsent(messages):
                break
            runtime.publish(f"kind.{number % 50}", {"number": number})
            await asyncio.sleep(0.05)
        watching.cancel()
        channel.close()
    shown = {one["name"] for message in messages for one in message.get("workers", {}).get("changed", ())}
    silent = unsent(messages)
    assert not silent, f"the view was not sent {silent} within {FILLED_WITHIN} s"
    assert len(shown) == 1_000, f"the view was shown {len(shown)} of 1,000 workers"
    busy, wall = p99(lag.by_processor), p99(lag.by_clock)
    assert busy < LIMIT_MS, f"the loop's lag is {busy:.0f} ms of processor time at the 99th percentile"
    worst = max(lag.by_processor)
    return f"lag p99 {wall:.1f} ms, {busy:.1f} ms of it work (worst {worst:.1f} ms); {len(messages)} messages"
