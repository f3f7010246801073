"""A trace of 10,000 events and as many runs: collecting it from the history, and drawing it as HTML."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from common import RUNS, median, report, row, sized

from dnworker import Runtime, Worker
from dnworker.events.trace import Trace
from dnworker_jupyter.display.trace_html import trace_html

ROWS = ("trace",)

BRANCHES, LEAVES = sized(101), 98
"""Events below the root, and below each of those: with the root 10,000, as many as the history keeps."""


def make_worker() -> Worker:
    """Return a worker whose handlers publish the tree."""
    worker = Worker(name="bench")

    @worker.on_event("bench.root")
    async def on_root(event: Any, client: Any) -> None:
        for n in range(BRANCHES):
            await client.publish("bench.branch", {"n": n})

    @worker.on_event("bench.branch")
    async def on_branch(event: Any, client: Any) -> None:
        for n in range(LEAVES):
            await client.publish("bench.leaf", {"n": n, "above": event.payload["n"]})

    @worker.on_event("bench.leaf")
    async def on_leaf(event: Any, client: Any) -> None: ...

    return worker


def read(fired: Trace) -> tuple[float, float]:
    """Return the seconds that it takes to collect a trace and to draw it, both from the start."""
    started = time.perf_counter()
    trace = Trace(fired.event, fired.history)
    events, runs = trace.events(), trace.runs()
    collected = time.perf_counter()
    assert trace_html(trace)
    drawn = time.perf_counter()
    wanted = 1 + BRANCHES * (LEAVES + 1)
    assert (len(events), len(runs)) == (wanted, wanted), (len(events), len(runs), trace.losses)
    return collected - started, drawn - collected


async def measure() -> list[tuple[float, float]]:
    """Fire the root once, and read its trace several times."""
    async with Runtime(port=None) as runtime:
        await runtime.add(make_worker())
        fired = await runtime.fire("bench.root", {}, timeout=120)
        return [read(fired) for _ in range(RUNS)]


def main() -> None:
    """Measure in this process."""
    taken = asyncio.run(measure())
    report(
        what="a trace of 10,000 events",
        rows=[row("trace", [collect + draw for collect, draw in taken])],
        collect_s=median([collect for collect, _ in taken]),
        draw_s=median([draw for _, draw in taken]),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
