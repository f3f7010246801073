"""The rows of a journal: what is stored of events, invocations and states."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

import msgspec

from dnworker.core.envelope import EventEnvelope, bytes_of_payload, decode_caused, encode, encode_caused
from dnworker.core.invocation import Invocation
from dnworker.events.damage import is_damage

LOGS_KEPT = 200
"""Lines of log that are stored with an invocation."""

NOBODY = ""
"""Whom an event is for that no worker gets from the file: it was handled in memory, or somebody let it go."""

ROWS_AT_ONCE = 64
"""Rows that one statement inserts at most: each statement takes the interpreter from the loop but once."""

ENTRIES_AT_ONCE = 512
"""Entries that are written in one go: what Python does for them takes the interpreter from the loop."""

PRUNE_SHARE = 0.1
"""Share of a table's rows that goes at once where the file is over its bound of size."""

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
    AND NOT EXISTS (
        SELECT 1 FROM kv, json_each(CAST(kv.value AS TEXT), '$.kinds') AS former
        WHERE kv.key >= 'broker/former/' AND kv.key < 'broker/former0' AND former.key = events.kind
        AND id > json_extract(former.value, '$[0]') AND id <= json_extract(former.value, '$[1]')
    )
))
"""
"""What no worker waits for that a broker knew of when it was last open."""

_COLUMNS = {
    "events": "id, run, seq, at, kind, session_id, event_id, cause, envelope, only_for, is_held, size",
    "invocations": "run, at, invocation, worker, handler, cause, event_id, generation, outcome, duration,"
    " error, logs",
    "states": "run, at, worker, state, error",
}


_to_json = msgspec.json.Encoder().encode


def event_row(
    run: int,
    envelope: EventEnvelope,
    cause: str | None,
    via: Sequence[str] = (),
    *,
    number: int | None = None,
    only: str | None = NOBODY,
    is_held: bool = False,
    size: int = 0,
) -> tuple[Any, ...]:
    """Return the row of an event; its `id` is the next one unless `number` says it.

    `only` is the worker that it is for, None for all; `NOBODY` in a journal, which delivers nothing. `via`
    has the ids of the runtimes by which a copy has come.
    """
    return (
        number,
        run,
        envelope.seq,
        _to_json(envelope.timestamp)[1:-1].decode().replace("Z", "+00:00"),  # as isoformat(), in a fourth
        envelope.kind,
        envelope.session_id,
        envelope.event_id,
        cause,
        _text_of(envelope, via),
        only,
        is_held,
        size,
    )


def _text_of(envelope: EventEnvelope, via: Sequence[str]) -> str:
    """Return the JSON of an event; who reads an envelope of it leaves out by which runtimes it has come."""
    frame = encode(envelope)
    return (frame[:-1] + b',"via":' + _to_json(via) + b"}" if via else frame).decode()


def _noted_row(
    run: int, noted: EventEnvelope | bytes, cause: str | None = None, via: Sequence[str] = ()
) -> tuple[Any, ...]:
    envelope, cause = decode_caused(noted) if isinstance(noted, bytes) else (noted, cause)
    return event_row(run, envelope, cause, via)


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
    "events": _noted_row,
    "invocations": _invocation_row,
    "states": _state_row,
}
"""Makes the row of an entry, as part of a run: by the table's name."""


Entry: TypeAlias = tuple[str, tuple[Any, ...], int]
"""What a journal is to keep: the table, what its row is made of, and the bytes that it counts as."""

TEXT_BYTES = 2_000
"""Bytes of a payload up to which SQLite takes an event apart, and not Python."""

_NUL = b"\\u0000"  # where this is in a text, SQLite's functions end it


def note(envelope: EventEnvelope, cause: str | None, via: Sequence[str] = ()) -> tuple[Any, ...]:
    """Return what the row of an event is made of: on the loop, in a third of a microsecond.

    It is one text of JSON, or the event, the id of what published it and by which runtimes a copy has come.
    """
    if not via and bytes_of_payload(envelope) <= TEXT_BYTES:
        with suppress(Exception):  # it is left out where its row is made, which says so
            text = encode_caused(envelope, cause)
            if _NUL not in text:
                return (text,)
    return envelope, cause, via


_FROM_JSON = f"""
INSERT INTO events ({_COLUMNS["events"]})
SELECT NULL, ?, json_extract(value, '$[0].seq'),
    replace(json_extract(value, '$[0].timestamp'), 'Z', '+00:00'),
    json_extract(value, '$[0].kind'), json_extract(value, '$[0].session_id'),
    json_extract(value, '$[0].event_id'), json_extract(value, '$[1]'), json_extract(value, '$[0]'),
    '{NOBODY}', 0, 0
FROM json_each(?)
"""  # noqa: S608  our own names
"""Makes rows of JSON, as `event_row` does, while the interpreter is free for the loop: values that are bound
one by one are copied while it is not."""


def insert_batch(
    connection: sqlite3.Connection, run: int, batch: Sequence[Entry], leave_out: Callable[[str], None]
) -> None:
    """Write entries, a part at a time; errors are as of `insert_entries`."""
    for begin in range(0, len(batch), ENTRIES_AT_ONCE):
        entries: dict[str, list[Any]] = {}
        for table, entry, _ in batch[begin : begin + ENTRIES_AT_ONCE]:
            entries.setdefault(table, []).append(entry)
        for table, some in entries.items():
            if table != "events" or not _insert_texts(connection, run, some):
                insert_entries(connection, table, run, some, leave_out)


def _insert_texts(connection: sqlite3.Connection, run: int, noted: Sequence[tuple[Any, ...]]) -> bool:
    """Write events that are texts, in their order; returns False where that cannot be, and writes none."""
    texts = [one[0] for one in noted if len(one) == 1]
    if len(texts) < len(noted):
        return False
    try:
        connection.execute(_FROM_JSON, (run, f"[{b','.join(texts).decode()}]"))
    except sqlite3.OperationalError as exc:
        if getattr(exc, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise  # of the disk or the file
        return False  # one is nested too deeply, or this SQLite has no JSON
    return True


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows into their table."""
    for piece in _pieces(len(rows), ROWS_AT_ONCE):
        _insert(connection, table, rows[piece])


def insert_entries(
    connection: sqlite3.Connection,
    table: str,
    run: int,
    entries: Sequence[tuple[Any, ...]],
    leave_out: Callable[[str], None],
) -> None:
    """Write the rows of entries; one that cannot be written must not keep the others from the file.

    Args:
        run: the number of the run that they are of.
        leave_out: called with the table, within an `except`, for each that cannot be written.

    Raises:
        sqlite3.Error: it is the disk or the file, not an entry.
    """
    make_row, variables = ROW[table], connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    for piece in _pieces(len(entries), min(ENTRIES_AT_ONCE, variables // _width(table))):
        rows: list[tuple[Any, ...]] = []
        for entry in entries[piece]:
            try:
                rows.append(make_row(run, *entry))
            except Exception:
                leave_out(table)
        try:
            if rows:
                _insert(connection, table, rows)
        except Exception as exc:
            if _is_of_file(exc):
                raise
            for row in rows:
                _insert_one(connection, table, row, leave_out)


def _insert_one(
    connection: sqlite3.Connection, table: str, row: tuple[Any, ...], leave_out: Callable[[str], None]
) -> None:
    try:
        _insert(connection, table, [row])
    except Exception as exc:
        if _is_of_file(exc):
            raise
        leave_out(table)


def _is_of_file(exc: Exception) -> bool:
    """Return whether an error is of the disk or the file, and not of what was to be written."""
    is_of_disk = isinstance(exc, sqlite3.OperationalError | sqlite3.InternalError)
    return is_of_disk or (isinstance(exc, sqlite3.Error) and is_damage(exc))


def _pieces(count: int, most: int) -> Iterator[slice]:
    """Go through so many rows in pieces of one statement; of few lengths, since statements are cached."""
    begin = 0
    while begin < count:
        while most > max(count - begin, ROWS_AT_ONCE):
            most //= 2
        yield slice(begin, begin + most)
        begin += most


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.execute(_statement(table, len(rows)), [*chain.from_iterable(rows)])


def _width(table: str) -> int:
    return _COLUMNS[table].count(",") + 1


@cache
def _statement(table: str, rows: int) -> str:
    marks = f"({', '.join('?' * _width(table))})"
    return f"INSERT INTO {table} ({_COLUMNS[table]}) VALUES {', '.join([marks] * rows)}"  # noqa: S608  our own names


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


def share_of(connection: sqlite3.Connection, table: str) -> int:
    """Return how many rows of a table go at once."""
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  our own names
    return max(1, int(count * PRUNE_SHARE)) if count else 0


def drop_oldest(connection: sqlite3.Connection, table: str) -> int:
    """Drop a tenth of a table, the oldest first; returns how many rows went."""
    share = share_of(connection, table)
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)",  # noqa: S608
        (share,),
    )
    return share


def note_dropped(connection: sqlite3.Connection, number: int) -> None:
    """Note up to which event some may be gone."""
    connection.execute(_NOTE_DROPPED, (DROPPED_TO, b"%d" % number))
