"""The rows of a journal: how `journal_writer` stores events, invocations and states."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from dnworker.core.envelope import encode

LOGS_KEPT = 200
"""Lines of log that are stored with an invocation."""


def _insert_event(connection: sqlite3.Connection, run: int, entry: tuple[Any, ...]) -> None:
    envelope, cause = entry
    connection.execute(
        "INSERT INTO events (run, seq, at, kind, session_id, event_id, cause, envelope)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            envelope.seq,
            envelope.timestamp.isoformat(),
            envelope.kind,
            envelope.session_id,
            envelope.event_id,
            cause,
            encode(envelope).decode(),
        ),
    )


def _insert_invocation(connection: sqlite3.Connection, run: int, entry: tuple[Any, ...]) -> None:
    invocation, at = entry
    error = invocation.error
    frames = None if error is None else msgspec.json.encode(error).decode()
    logs = [line.text for line in list(invocation.logs)[-LOGS_KEPT:]]
    logs += [f"x {warning}" for warning in invocation.warnings]  # the table is as earlier versions read it
    connection.execute(
        "INSERT INTO invocations (run, at, invocation, worker, handler, cause, event_id, generation, outcome,"
        " duration, error, logs) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
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
        ),
    )


def _insert_state(connection: sqlite3.Connection, run: int, entry: tuple[Any, ...]) -> None:
    connection.execute(
        "INSERT INTO states (run, at, worker, state, error) VALUES (?, ?, ?, ?, ?)", (run, *entry)
    )


INSERT = {"events": _insert_event, "invocations": _insert_invocation, "states": _insert_state}
"""Writes an entry into its table, as part of a run: by the table's name."""
