"""The journal's file: its format, and `JournalReader`, by which replays, magics and exports read it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.envelope import NOISE, EventEnvelope, decode
from dnworker.core.errors import JournalError

VERSION = 1
"""The format of the file that this version of dnworker reads and writes."""

BUSY_SECONDS = 5.0
"""Seconds to wait for another process that writes."""

SHORTEST_ID = 4
"""Digits that the beginning of an event's id needs to name it."""

LONGEST_SEQ = 18
"""Characters of a `#seq`: SQLite's integers have 63 bits."""

_SCHEMA = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE runs (id INTEGER PRIMARY KEY, runtime_id TEXT NOT NULL, started_at TEXT NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL,
    kind TEXT NOT NULL, session_id TEXT, event_id TEXT NOT NULL, cause TEXT, envelope TEXT NOT NULL
);
CREATE INDEX events_by_kind ON events (kind, id);
CREATE INDEX events_by_event ON events (event_id);
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at TEXT NOT NULL, invocation TEXT NOT NULL,
    worker TEXT NOT NULL, handler TEXT NOT NULL, cause TEXT NOT NULL, event_id TEXT,
    generation INTEGER NOT NULL, outcome TEXT NOT NULL, duration REAL, error TEXT, logs TEXT NOT NULL
);
CREATE INDEX invocations_by_event ON invocations (event_id);
CREATE TABLE states (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at TEXT NOT NULL, worker TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT
);
"""


class StoredInvocation(msgspec.Struct, kw_only=True):
    """One run of a handler that has ended; `duration` in seconds, `at` is when it ended."""

    at: str
    id: str
    worker: str
    handler: str
    cause: str
    event_id: str | None
    generation: int
    outcome: str
    duration: float | None
    error: dict[str, Any] | None
    logs: list[str]


class StoredState(msgspec.Struct, kw_only=True):
    """One change of a worker's state."""

    at: str
    worker: str
    state: str
    error: str | None


class JournalReader:
    """Reads a journal, also one that a runtime is writing.

    Raises:
        JournalError: the file is missing, is no journal, or was written by a later version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            raise JournalError(f"there is no journal {path}")
        self._connection = open_journal(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def events(
        self,
        last: int = 100,
        *,
        kind: str | None = None,
        session_id: str | None = None,
        from_outside: bool = False,
    ) -> list[EventEnvelope]:
        """Return the newest `last` events, oldest first; with `from_outside` those that no handler caused."""
        quiet = "".join(f" AND kind NOT LIKE '{prefix}%'" for prefix in NOISE)
        rows = self._connection.execute(
            "SELECT envelope FROM events WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR session_id = ?2)"  # noqa: S608
            f" AND (?3 = 0 OR (cause IS NULL {quiet})) ORDER BY id DESC LIMIT ?4",
            (kind, session_id, from_outside, last),
        )
        return [decode(row[0]) for row in rows][::-1]

    def find(self, name: str) -> EventEnvelope | None:
        """Return the newest event of a `#seq`, an id, or the beginning of an id of at least four digits."""
        if name.startswith("#"):
            seq = int(name[1:]) if name[1:].isdecimal() and len(name) < LONGEST_SEQ else 0
            query, value = "SELECT envelope FROM events WHERE seq = ? ORDER BY id DESC", seq
            row = self._connection.execute(query, (value,)).fetchone()
        elif len(name) < SHORTEST_ID:
            return None
        else:
            query = "SELECT envelope FROM events WHERE event_id >= ? AND event_id < ? ORDER BY id DESC"
            row = self._connection.execute(query, (name, name + "g")).fetchone()
        return None if row is None else decode(row[0])

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return one event, or None."""
        row = self._connection.execute(
            "SELECT envelope FROM events WHERE event_id = ? ORDER BY id DESC", (event_id,)
        ).fetchone()
        return None if row is None else decode(row[0])

    def notifications(self, last: int = 100) -> list[EventEnvelope]:
        """Return the newest notifications, oldest first."""
        return self.events(last, kind="notify")

    def invocations(self, last: int = 100, *, event_id: str | None = None) -> list[StoredInvocation]:
        """Return the newest `last` invocations that ended, oldest first; of one event, or of all."""
        rows = self._connection.execute(
            "SELECT at, invocation, worker, handler, cause, event_id, generation, outcome, duration, error,"
            " logs FROM invocations WHERE (?1 IS NULL OR event_id = ?1) ORDER BY id DESC LIMIT ?2",
            (event_id, last),
        )
        found = [
            StoredInvocation(
                at=at,
                id=id_,
                worker=worker,
                handler=handler,
                cause=cause,
                event_id=event,
                generation=generation,
                outcome=outcome,
                duration=duration,
                error=None if error is None else msgspec.json.decode(error),
                logs=msgspec.json.decode(logs),
            )
            for at, id_, worker, handler, cause, event, generation, outcome, duration, error, logs in rows
        ]
        return found[::-1]

    def states(self, last: int = 100) -> list[StoredState]:
        """Return the newest `last` changes of state, oldest first."""
        rows = self._connection.execute(
            "SELECT at, worker, state, error FROM states ORDER BY id DESC LIMIT ?", (last,)
        )
        return [StoredState(at=at, worker=w, state=s, error=e) for at, w, s, e in rows][::-1]


def open_journal(path: Path) -> sqlite3.Connection:
    """Open a journal for reading and writing, making it if it is not there.

    Raises:
        JournalError: it cannot be opened, is no journal, or was written by a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what is in it is for its owner
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as exc:
        raise JournalError(f"journal {path} cannot be opened: {exc}") from exc
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise JournalError(
                f"journal {path} was written by a later version of dnworker: it is of format {version}, "
                f"and this one knows {VERSION}; update, or name another file"
            )
        if version == 0:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
                raise JournalError(f"{path} is a database of something else; name another file")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as exc:
        connection.close()
        raise JournalError(
            f"{path} is no journal, or is damaged: {exc}; name another file or move it away"
        ) from exc
    except JournalError:
        connection.close()
        raise
    return connection
