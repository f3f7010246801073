"""Cursors of workers as rows of the file."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.former import FormerKinds
from dnworker.events.damage import JournalDamaged, is_damage

_outstanding = msgspec.json.Decoder(dict[int, Outstanding])
_kinds = msgspec.json.Decoder(list[tuple[str | None, int]])
_former = msgspec.json.Decoder(FormerKinds)

FORMER = "broker/former/"
"""How the keys begin of the former kinds of workers: beside their rows, which earlier versions read."""


def row_of(cursor: Cursor) -> tuple[Any, ...]:
    """Return a cursor as it is written."""
    return (
        cursor.worker,
        msgspec.json.encode([*cursor.kinds.items()]).decode(),
        cursor.handled_to,
        cursor.taken_to,
        cursor.is_live,
        msgspec.json.encode(cursor.outstanding).decode(),
        cursor.seen_at,
        msgspec.json.encode(cursor.former) if cursor.former else b"" if cursor.had_former else None,
    )


def read_cursors(connection: sqlite3.Connection) -> dict[str, Cursor]:
    """Return what is known of all workers.

    Raises:
        JournalDamaged: a row cannot be read; names the worker.
    """
    found = {}
    query = "SELECT worker, kinds, handled_to, taken_to, is_live, outstanding, seen_at FROM cursors"
    for worker, kinds, handled_to, taken_to, is_live, outstanding, seen_at in connection.execute(query):
        try:
            cursor = found[worker] = Cursor(worker, dict(_kinds.decode(kinds)), handled_to, seen_at)
            cursor.outstanding = _outstanding.decode(outstanding)
        except msgspec.DecodeError as exc:
            raise JournalDamaged(f"the file is damaged: how far {worker} is cannot be read ({exc})") from exc
        cursor.taken_to = taken_to
        cursor.is_live = bool(is_live)
    _read_former(connection, found)
    return found


def _read_former(connection: sqlite3.Connection, found: dict[str, Cursor]) -> None:
    """Read the kinds that workers name no more."""
    query = "SELECT key, value FROM kv WHERE key >= ? AND key < ?"
    for key, value in connection.execute(query, (FORMER, f"{FORMER[:-1]}0")):
        worker = key.removeprefix(FORMER)
        if (cursor := found.get(worker)) is None:
            continue
        try:
            cursor.former, cursor.had_former = _former.decode(value), True
        except msgspec.DecodeError as exc:
            raise JournalDamaged(
                f"the file is damaged: what waits of former kinds of {worker} cannot be read ({exc})"
            ) from exc


def write_cursors(
    connection: sqlite3.Connection, rows: dict[str, tuple[Any, ...] | None]
) -> dict[str, Exception]:
    """Write the rows of workers, and remove those of None; return the workers whose row cannot be written.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    bad: dict[str, Exception] = {}
    for worker, row in rows.items():
        try:
            if row is None:
                connection.execute("DELETE FROM cursors WHERE worker = ?", (worker,))
                connection.execute("DELETE FROM kv WHERE key = ?", (f"{FORMER}{worker}",))
            else:
                *columns, former = row
                connection.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?)", columns)
                if former is not None:
                    _write_former(connection, worker, former)
        except Exception as exc:  # one that cannot be written must not keep the others from it
            if isinstance(exc, sqlite3.OperationalError) or (
                isinstance(exc, sqlite3.Error) and is_damage(exc)
            ):
                raise
            bad[worker] = exc
    return bad


def _write_former(connection: sqlite3.Connection, worker: str, former: bytes) -> None:
    """Write the kinds that a worker names no more, or remove those of none."""
    key = f"{FORMER}{worker}"
    if former:
        connection.execute(
            "INSERT INTO kv (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, former),
        )
    else:
        connection.execute("DELETE FROM kv WHERE key = ?", (key,))
