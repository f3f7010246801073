"""The rows of a journal: what is stored of events, invocations and states."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec

from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.invocation import Invocation

LOGS_KEPT = 200
"""Lines of log that are stored with an invocation."""

NOBODY = ""
"""Whom an event is for that no worker gets from the file: it was handled in memory, or somebody let it go."""

ROWS_AT_ONCE = 64
"""Rows that one statement inserts at most: each statement takes the interpreter from the loop but once."""

DROPPED_TO = "broker/dropped-to"
"""The key of the `seq` up to which events may be gone."""

_NOTE_DROPPED = """
INSERT INTO kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
WHERE CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER)
"""

_HANDLED = """
(only_for = '' OR (
    id <= coalesce((SELECT min(handled_to) FROM cursors), id)
    AND id NOT IN (SELECT CAST(key AS INTEGER) FROM cursors, json_each(cursors.outstanding))
))
"""
"""What no worker waits for that a broker knew of when it was last open."""

_COLUMNS = {
    "events": "id, run, seq, at, kind, session_id, event_id, cause, envelope, only_for, is_held, size",
    "invocations": "run, at, invocation, worker, handler, cause, event_id, generation, outcome, duration,"
    " error, logs",
    "states": "run, at, worker, state, error",
}


def event_row(
    run: int,
    envelope: EventEnvelope,
    cause: str | None,
    *,
    number: int | None = None,
    only: str | None = NOBODY,
    is_held: bool = False,
    size: int = 0,
) -> tuple[Any, ...]:
    """Return the row of an event; its `id` is the next one unless `number` says it.

    `only` is the worker that it is for, None for all; `NOBODY` in a journal, which delivers nothing.
    """
    return (
        number,
        run,
        envelope.seq,
        envelope.timestamp.isoformat(),
        envelope.kind,
        envelope.session_id,
        envelope.event_id,
        cause,
        encode(envelope).decode(),
        only,
        is_held,
        size,
    )


def _invocation_row(run: int, invocation: Invocation, at: str) -> tuple[Any, ...]:
    error = invocation.error
    frames = None if error is None else msgspec.json.encode(error).decode()
    logs = [line.text for line in list(invocation.logs)[-LOGS_KEPT:]]
    logs += [f"x {warning}" for warning in invocation.warnings]  # the table is as earlier versions read it
    return (
        run,
        at,
        invocation.id,
        invocation.worker,
        invocation.handler,
        invocation.cause,
        invocation.event.event_id if invocation.event else None,
        invocation.generation,
        invocation.outcome,
        invocation.duration,
        frames,
        msgspec.json.encode(logs).decode(),
    )


def _state_row(run: int, *entry: Any) -> tuple[Any, ...]:
    return (run, *entry)


ROW: dict[str, Callable[..., tuple[Any, ...]]] = {
    "events": event_row,
    "invocations": _invocation_row,
    "states": _state_row,
}
"""Makes the row of an entry, as part of a run: by the table's name."""


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows into their table."""
    for place in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[place : place + ROWS_AT_ONCE]
        connection.execute(_statement(table, len(part)), [*chain.from_iterable(part)])


@cache
def _statement(table: str, rows: int) -> str:
    columns = _COLUMNS[table]
    marks = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([marks] * rows)}"  # noqa: S608  our own names


def drop_handled(connection: sqlite3.Connection, before: str, most: int) -> int:
    """Drop the oldest events of before a time that no worker waits for; return how many."""
    rows = connection.execute(
        f"SELECT id FROM events WHERE at < ? AND {_HANDLED} ORDER BY id LIMIT ?",  # noqa: S608  our own names
        (before, most),
    ).fetchall()
    connection.executemany("DELETE FROM events WHERE id = ?", rows)
    if rows:
        note_dropped(connection, rows[-1][0])
    return len(rows)


def note_dropped(connection: sqlite3.Connection, number: int) -> None:
    """Note up to which event some may be gone."""
    connection.execute(_NOTE_DROPPED, (DROPPED_TO, b"%d" % number))
