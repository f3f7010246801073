"""What an event costs in parts that no runtime of this wire can leave out; for the page's words on goals.

`python benchmarks/floors.py` prints microseconds each, and which share of a bare task they leave.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import msgspec
from bench_bus import bare

from dnworker.core.envelope import EventEnvelope
from dnworker.core.ids import new_id
from dnworker.core.invocation import Invocation

TURNS, COUNT = 7, 50_000


def parts() -> dict[str, Callable[[], object]]:
    """Return what each event needs: contract 7 for the envelope, the traces for the run."""
    payload = {"n": 1}
    event = EventEnvelope(seq=1, kind="bench.event", payload=payload)
    return {
        "check and encode the payload": lambda: msgspec.json.encode(payload),
        "id": new_id,
        "time of day": lambda: datetime.now(UTC),
        "envelope": lambda: EventEnvelope(seq=1, kind="bench.event", payload=payload),
        "run": lambda: Invocation("demo:w", "on_event", "event", event),
        "two readings of the clock": lambda: (time.monotonic(), time.monotonic()),
        "context of the handler": contextvars.copy_context,
    }


def cost(part: Callable[[], object]) -> float:
    """Return the microseconds of one call, without those of an empty one."""

    def turn(call: Callable[[], object]) -> float:
        started = time.perf_counter()
        for _ in range(COUNT):
            call()
        return (time.perf_counter() - started) / COUNT * 1e6

    return median(turn(part) - turn(lambda: None) for _ in range(TURNS))


def main() -> None:
    """Print the parts, and the share of a bare task that is left with them."""
    task = median(1e6 / asyncio.run(bare()) for _ in range(TURNS))
    found = {name: round(cost(part), 3) for name, part in parts().items()}
    print(
        json.dumps(
            {"bare task": round(task, 3), **found, "share": round(task / (task + sum(found.values())), 3)}
        )
    )


if __name__ == "__main__":
    main()
