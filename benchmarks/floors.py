"""What an event costs in parts that no runtime of this wire can leave out; for the page's words on goals.

`python benchmarks/floors.py` prints microseconds of each part of an event, and which share of a bare task
they leave; what a cell costs that only shows as much as `%fire`; and how long a journal's thread keeps the
interpreter. `floors_of_starts.py` has those of starts.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from bench_bus import bare
from bench_notebook import FIRST, TASK, kernel, run

from dnworker.core.envelope import EventEnvelope
from dnworker.core.ids import new_id
from dnworker.core.invocation import Invocation
from dnworker.events.journal_writer import BATCH_LIMIT, Journal

TURNS, COUNT = 7, 50_000

CELLS = 60

SHOWS = """
class Shown:
    def _repr_html_(self): return "<p>x</p>" * 600
    def __repr__(self): return "x" * 50
async def shown():
    await asyncio.create_task(asyncio.sleep(0))
    return Shown()
"""
"""A cell whose value has as much HTML and text as the trace of an event with one handler."""


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


def shown() -> dict[str, float]:
    """Return the milliseconds of a cell that awaits a task, and of one that shows a value too."""
    with kernel() as (client, _):
        run(client, FIRST)
        run(client, SHOWS)
        pairs = [(run(client, TASK)[1], run(client, "await shown()")[1]) for _ in range(CELLS)]
    plain, rich = (median(one) for one in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    return {"cell": round(plain, 3), "cell that shows": round(rich, 3), "times": round(ratio, 3)}


class _Watched:
    """A connection that notes how long a thread has the interpreter between two statements."""

    def __init__(self, connection: sqlite3.Connection, held: list[float]) -> None:
        self._connection, self._held = connection, held
        self._since = time.thread_time()

    def execute(self, *arguments: Any) -> Any:
        self._held.append(time.thread_time() - self._since)
        done = self._connection.execute(*arguments)
        self._since = time.thread_time()
        return done

    def __enter__(self) -> None:
        self._connection.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._held.append(time.thread_time() - self._since)
        self._connection.__exit__(*exc)
        self._since = time.thread_time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def held() -> float:
    """Return the longest microseconds for which the writer of a journal does not let the loop run."""
    longest = []
    for _ in range(TURNS):
        times: list[float] = []
        with tempfile.TemporaryDirectory() as directory:
            journal = Journal(Path(directory) / "journal.sqlite", "floors")
            connection = journal._begin_run()
            for number in range(BATCH_LIMIT):
                payload = {"n": number, "text": "x" * 100}
                journal.note_event(EventEnvelope(seq=number, kind="bench.event", payload=payload))
            journal._connection = _Watched(connection, times)  # type: ignore[assignment]
            journal._write_batch()
            journal._close()
        longest.append(max(times))
    return median(longest) * 1e6


def main() -> None:
    """Print the parts, and the share of a bare task that is left with them."""
    task = median(1e6 / asyncio.run(bare()) for _ in range(TURNS))
    found = {name: round(cost(part), 3) for name, part in parts().items()}
    print(
        json.dumps(
            {"bare task": round(task, 3), **found, "share": round(task / (task + sum(found.values())), 3)}
        )
    )
    print(json.dumps({"a journal keeps the interpreter, us": round(held())}))
    print(json.dumps(shown()))


if __name__ == "__main__":
    main()
