"""`copy_into`: events of another runtime into a journal's file, all of them or none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import JournalError
from dnworker.events.causes import ELSEWHERE
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_rows import event_row, insert

_AT_ONCE = 500

COPIED = "copied "
"""What the start of a run in the file begins with that has events of another runtime."""


class Copy(NamedTuple):
    """An event of another runtime, and whether a handler has published it there."""

    event: EventEnvelope
    is_caused: bool = False


def known_in(path: Path, ids: Sequence[str]) -> set[str]:
    """Return which of these events a journal has.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        with closing(open_journal(path, is_writer=False)) as connection:
            return _known(connection, ids)
    except sqlite3.Error as exc:
        raise JournalError(f"journal {path} cannot be read: {exc}") from exc


def runtimes_of(path: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return the runtimes that copied events were published to, by the id of the event.

    Raises:
        JournalError: the file cannot be read.
    """
    found = dict[str, str]()
    query = "SELECT event_id, runtime_id FROM events JOIN runs ON runs.id = run WHERE started_at LIKE ?"
    try:
        with closing(open_journal(path, is_writer=False)) as connection:
            for part in _parts(ids):
                marks = ", ".join("?" * len(part))
                found.update(connection.execute(f"{query} AND event_id IN ({marks})", (f"{COPIED}%", *part)))
    except sqlite3.Error as exc:
        raise JournalError(f"journal {path} cannot be read: {exc}") from exc
    return found


def copy_into(path: Path, runtime_id: str, copies: Sequence[Copy]) -> list[Copy]:
    """Write events into a journal as those of a run of the runtime that they were published to.

    Returns those that were not there; somebody else may be copying them at the same time.

    Raises:
        JournalError: it cannot be written; nothing was.
    """
    try:
        with closing(open_journal(path, is_writer=False)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            there = _known(connection, [one.event.event_id for one in copies])
            new = [one for one in copies if one.event.event_id not in there]
            if new:
                run = _run_of(connection, runtime_id)
                rows = [event_row(run, one.event, ELSEWHERE if one.is_caused else None) for one in new]
                insert(connection, "events", rows)
            return new
    except sqlite3.Error as exc:
        raise JournalError(f"journal {path} cannot be written: {exc}; nothing was kept") from exc


def _known(connection: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    found = set[str]()
    for part in _parts(ids):
        marks = ", ".join("?" * len(part))
        rows = connection.execute(f"SELECT event_id FROM events WHERE event_id IN ({marks})", part)  # noqa: S608
        found.update(event_id for (event_id,) in rows)
    return found


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids in parts: a statement takes so many values only."""
    for place in range(0, len(ids), _AT_ONCE):
        yield ids[place : place + _AT_ONCE]


def _run_of(connection: sqlite3.Connection, runtime_id: str) -> int:
    """Return the row of a runtime, which is made if there is none."""
    query = f"SELECT max(id) FROM runs WHERE runtime_id = ? AND started_at LIKE '{COPIED}%'"  # noqa: S608
    found = connection.execute(query, (runtime_id,)).fetchone()
    if found[0] is not None:
        return int(found[0])
    values = (runtime_id, f"{COPIED}{datetime.now(UTC).isoformat()}")
    made = connection.execute("INSERT INTO runs (runtime_id, started_at) VALUES (?, ?)", values)
    return made.lastrowid or 0
