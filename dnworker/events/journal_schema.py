"""The tables of a journal's file, and how one of an earlier version is brought to them.

What `brokers/sqlite` needs is there in every file, so that a journal can become the file of a broker. The
`id` of an event rises over all runs; a broker gives its events the `seq` that is their `id`. `only_for` names
the worker that alone gets an event; it is '' where none does: of the runs in memory, and of what was let go.
"""

from __future__ import annotations

import sqlite3

VERSION = 2
"""The format of the file that this version of dnworker writes; it reads all from 1."""

_FIRST = """
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

_SECOND = """
ALTER TABLE events ADD COLUMN only_for TEXT DEFAULT '';
ALTER TABLE events ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_by_session ON events (session_id, id) WHERE session_id IS NOT NULL;
CREATE INDEX events_of_journals ON events (seq) WHERE only_for = '';
CREATE TABLE cursors (
    worker TEXT PRIMARY KEY, kinds TEXT NOT NULL, handled_to INTEGER NOT NULL, taken_to INTEGER NOT NULL,
    is_live INTEGER NOT NULL, outstanding TEXT NOT NULL, seen_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE leases (
    name TEXT PRIMARY KEY, holder TEXT, fence INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE kv (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, until REAL
);
CREATE INDEX kv_by_until ON kv (until) WHERE until IS NOT NULL;
PRAGMA user_version = 2;
"""

_OF_FIRST = {
    "runs": "id, runtime_id, started_at",
    "events": "id, run, seq, at, kind, session_id, event_id, cause, envelope",
    "invocations": "id, run, at, invocation, worker, handler, cause, event_id, generation, outcome, duration,"
    " error, logs",
    "states": "id, run, at, worker, state, error",
}

COLUMNS = {
    1: _OF_FIRST,
    2: _OF_FIRST
    | {
        "events": f"{_OF_FIRST['events']}, only_for, is_held, size",
        "cursors": "worker, kinds, handled_to, taken_to, is_live, outstanding, seen_at",
        "leases": "name, holder, fence, until",
        "kv": "revision, key, value, until",
    },
}
"""What a file of a version has: by the table's name."""


def make(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    connection.executescript(f"BEGIN IMMEDIATE;{_FIRST}{_SECOND}COMMIT;")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the present version, in one transaction; does nothing to one that has it."""
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    if version_of(connection) == 1:  # another process may have done it meanwhile
        for statement in _SECOND.split(";"):
            connection.execute(statement)
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the format of a file; 0 of one that is empty."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
