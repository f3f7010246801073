"""Events into the journal of a runtime whose events are in memory, and how late its loop turns meanwhile.

Beside it: SQLite's `executemany` of the same rows into a file of the same tables, and the same events without
a journal.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

from common import RUNS, median, report, row, sized

from dnworker import Runtime
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_writer import BATCH_LIMIT, Journal

ROWS = ("journal", "journal-lag")

EVENTS = sized(100_000)

AT_ONCE = 20
"""Events that are published before the loop turns."""

COLUMNS = "run, seq, at, kind, session_id, event_id, cause, envelope, only_for, is_held, size"

PAUSE = 0.001


async def watch(lags: list[float]) -> None:
    """Note how many milliseconds late the loop turns."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(PAUSE)
        lags.append(1_000 * (time.perf_counter() - began - PAUSE))


async def publish(path: Path | None) -> tuple[float, float, int]:
    """Return events a second until they are in the file, the lag's 99th percentile in ms, and events lost."""
    lags: list[float] = []
    async with Runtime(port=None, journal=path) as runtime:
        watching = asyncio.create_task(watch(lags))
        await asyncio.sleep(0)
        started = time.perf_counter()
        for begin in range(0, EVENTS, AT_ONCE):
            for number in range(begin, begin + AT_ONCE):
                runtime.publish("bench.event", {"n": number, "text": "x" * 100})
            await asyncio.sleep(0)
        watching.cancel()
        journal, lost = runtime.journal, 0
        if isinstance(journal, Journal):
            while not await asyncio.to_thread(journal.flush, 60.0):
                assert journal.failure is None, journal.failure
            lost = journal.lost
        took = time.perf_counter() - started
    lags.sort()
    return (EVENTS - lost) / took, lags[int(len(lags) * 0.99)], lost


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """Return the rows that the journal has written."""
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT {COLUMNS} FROM events WHERE kind = 'bench.event'").fetchall()
    connection.close()
    return found


def executemany(path: Path, rows: list[tuple[object, ...]]) -> float:
    """Return rows a second, in transactions as long as the journal's."""
    connection = open_journal(path)
    marks = ", ".join("?" * len(COLUMNS.split(",")))
    started = time.perf_counter()
    for begin in range(0, len(rows), BATCH_LIMIT):
        connection.execute("BEGIN")
        part = rows[begin : begin + BATCH_LIMIT]
        connection.executemany(f"INSERT INTO events ({COLUMNS}) VALUES ({marks})", part)
        connection.execute("COMMIT")
    took = time.perf_counter() - started
    connection.close()
    return len(rows) / took


def turn() -> tuple[float, float, float, float, int]:
    """Return rates of ours and of the bare thing, lags with and without a journal, and events lost."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ours.db"
        rate, lag, lost = asyncio.run(publish(path))
        rows = rows_of(path)
        assert len(rows) == EVENTS - lost, (len(rows), lost)
        bare = executemany(Path(directory) / "bare.db", rows)
    _, quiet, _ = asyncio.run(publish(None))
    return rate, bare, lag, quiet, lost


def main() -> None:
    """Take turns."""
    taken = [turn() for _ in range(RUNS)]
    rates, bare, lags, quiet, lost = ([one[n] for one in taken] for n in range(5))
    report(
        what="events into the journal, not durable",
        rows=[row("journal", rates, bare), row("journal-lag", lags, quiet)],
        longest_lag_p99_ms=max(lags),
        events_lost=max(lost),
        executemany_per_s=median(bare),
        runs=RUNS,
    )


if __name__ == "__main__":
    main()
