"""What the tests of the SQLite broker share."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.journal_schema import _FIRST

from ...conformance.stage import Make


def making(**options: object) -> Make:
    """Return what makes brokers with options; their file is `events.sqlite`."""
    return lambda directory: SqliteBroker(directory / "events.sqlite", **options)


def make_first(path: Path, runs: list[list[str]]) -> None:
    """Make a file of format 1, with the events of runs by kind; `seq` begins at 1 in each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_FIRST)
        connection.execute("PRAGMA user_version = 1")
        for run, kinds in enumerate(runs, 1):
            connection.execute("INSERT INTO runs VALUES (?, 'rt', '2030-01-01T00:00:00+00:00')", (run,))
            for seq, kind in enumerate(kinds, 1):
                event_id = f"{run * 1000 + seq:032x}"
                at = "2030-01-01T00:00:00Z"
                text = (
                    f'{{"schema_version":2,"event_id":"{event_id}","seq":{seq},"timestamp":"{at}",'
                    f'"kind":"{kind}","payload":{{"run":{run},"seq":{seq}}}}}'
                )
                connection.execute(
                    "INSERT INTO events (run, seq, at, kind, event_id, envelope) VALUES (?, ?, ?, ?, ?, ?)",
                    (run, seq, at, kind, event_id, text),
                )
        connection.commit()


def version_of(path: Path) -> int:
    """Return the format of a file."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
