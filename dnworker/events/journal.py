"""`JournalReader`: what a journal has, for replays, magics and exports; `journal_file` opens its file."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from dnworker.core.envelope import NOISE, EventEnvelope, decode
from dnworker.core.errors import Invalid, JournalError
from dnworker.events.damage import is_damage
from dnworker.events.journal_file import open_for_reading

log = logging.getLogger("dnworker.journal")

T = TypeVar("T")

SHORTEST_ID = 4
"""Digits that the beginning of an event's id needs to name it."""

LONGEST_SEQ = 18
"""Characters of a `#seq`: SQLite's integers have 63 bits."""

_said: set[tuple[str, int]] = set()
"""Files, by path and inode, of which it was said that something in them cannot be read."""


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
    """Reads a journal, also one that a runtime is writing, or that may only be read.

    Of a file that is damaged in part, the rest is read; a warning says so, once for a file.

    Args:
        path: the file, as `Runtime(journal=...)` or `serve --journal` named it.

    Raises:
        JournalError: the file is missing, is no journal, or was written by a later version; by the methods,
            that it cannot be read now.

    Examples:
        >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
        >>> await runtime.stop()
        True
        >>> with JournalReader("events.journal") as journal:
        ...     print([event.payload for event in journal.events(kind="demo.greeted")])
        [{'name': 'Ada'}]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            raise JournalError(f"there is no journal {path}", code="DN705")
        self._path = path
        self._connection = open_for_reading(path)

    def close(self) -> None:
        """Close the file; `with` calls it.

        Examples:
            >>> journal = JournalReader("events.journal")
            >>> journal.close()
        """
        self._connection.close()

    def __enter__(self) -> Self:
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
        """Return the newest events, oldest first.

        Args:
            last: how many at most.
            kind: only those of a kind.
            session_id: only those of a session.
            from_outside: only those that no handler caused, and that say something.

        Returns:
            A list of `EventEnvelope`.

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> with JournalReader("events.journal") as journal:
            ...     journal.events(5, from_outside=True)
            []
        """
        quiet = "".join(f" AND kind NOT LIKE '{prefix}%'" for prefix in NOISE)
        where = "(:kind IS NULL OR kind = :kind) AND (:session IS NULL OR session_id = :session)"
        if from_outside:
            where += f" AND cause IS NULL{quiet}"
        values = {"kind": kind, "session": session_id}
        return self._newest("events", "envelope", where, values, last, lambda row: decode(row[0]))[::-1]

    def find(self, name: str) -> EventEnvelope | None:
        """Return the newest event of a name that people type.

        Args:
            name: `#12` for a `seq`, an `event_id`, or the beginning of one, of at least four digits.

        Returns:
            The `EventEnvelope`, or None.

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> with JournalReader("events.journal") as journal:
            ...     print(journal.find("#12"))
            None
        """
        if name.startswith("#"):
            seq = int(name[1:]) if name[1:].isdecimal() and len(name) < LONGEST_SEQ else 0
            return self._event("seq = :seq", {"seq": seq})
        if len(name) < SHORTEST_ID:
            return None
        return self._event("event_id >= :first AND event_id < :end", {"first": name, "end": name + "g"})

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return one event by its id, or None where there is none.

        Args:
            event_id: 32 hexadecimal digits.

        Returns:
            The `EventEnvelope`, or None.

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> with JournalReader("events.journal") as journal:
            ...     print(journal.event("0" * 32))
            None
        """
        return self._event("event_id = :id", {"id": event_id})

    def notifications(self, last: int = 100) -> list[EventEnvelope]:
        """Return the newest notifications, oldest first.

        Args:
            last: how many at most.

        Returns:
            A list of `EventEnvelope` of kind `notify`, whose payloads have `title`, `body`, `severity` and
            `source`.

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> answer = await client.notify("the disk is full", severity="error")
            >>> await runtime.stop()
            True
            >>> with JournalReader("events.journal") as journal:
            ...     print([event.payload["title"] for event in journal.notifications()])
            ['the disk is full']
        """
        return self.events(last, kind="notify")

    def invocations(self, last: int = 100, *, event_id: str | None = None) -> list[StoredInvocation]:
        """Return the newest runs of handlers that ended, oldest first.

        Args:
            last: how many at most.
            event_id: only those of an event.

        Returns:
            A list of `StoredInvocation`, each with `at` (when it ended, ISO-8601), `worker`, `handler`,
            `outcome`, `duration` (seconds), `error` (a dict or None) and `logs` (lines).

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> @worker.on_event("demo.greeted")
            ... async def on_greeted(event, client):
            ...     worker.state["last"] = event.payload["name"]
            >>> managed = await runtime.add(worker)
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> await runtime.stop()
            True
            >>> with JournalReader("events.journal") as journal:
            ...     print([(run.worker, run.handler, run.outcome) for run in journal.invocations()])
            [('notebook:bridge', 'on_greeted', 'ok')]
        """
        columns = (
            "at, invocation, worker, handler, cause, event_id, generation, outcome, duration, error, logs"
        )
        where = "(:event IS NULL OR event_id = :event)"
        return self._newest("invocations", columns, where, {"event": event_id}, last, stored_invocation)[::-1]

    def states(self, last: int = 100) -> list[StoredState]:
        """Return the newest changes of workers' states, oldest first.

        Args:
            last: how many at most.

        Returns:
            A list of `StoredState`, each with `at` (ISO-8601), `worker`, `state` and `error`.

        Raises:
            JournalError: the file cannot be read now.

        Examples:
            >>> managed = await runtime.add(worker)
            >>> await runtime.stop()
            True
            >>> with JournalReader("events.journal") as journal:
            ...     print([change.state for change in journal.states()])
            ['starting', 'running', 'stopping', 'stopped']
        """
        return self._newest("states", "at, worker, state, error", "1", {}, last, _stored_state)[::-1]

    # -- rows ------------------------------------------------------------------------------------------

    def _event(self, where: str, values: dict[str, Any]) -> EventEnvelope | None:
        found = self._newest("events", "envelope", where, values, 1, lambda row: decode(row[0]))
        return found[0] if found else None

    def _newest(
        self,
        table: str,
        columns: str,
        where: str,
        values: dict[str, Any],
        last: int,
        read: Callable[[tuple[Any, ...]], T],
    ) -> list[T]:
        """Return the newest rows, the newest first; those that cannot be read are left out.

        Behind a damaged page, reading goes on farther and farther below, until there are rows again.
        """
        found: list[T] = []
        below, step = self._above_all(table), 1
        query = f"SELECT id, {columns} FROM {table} WHERE id < :below AND {where} ORDER BY id DESC"  # noqa: S608
        while below > 0 and len(found) < last:
            try:
                for row in self._connection.execute(query, {**values, "below": below}):
                    below, step = row[0], 1
                    with self._leaving_out(table, below):
                        found.append(read(row[1:]))
                    if len(found) == last:
                        break
                break
            except sqlite3.Error as exc:
                if not is_damage(exc):
                    raise JournalError(f"journal {self._path} cannot be read: {exc}") from exc
                self._warn(str(exc))
                below, step = below - step, 2 * step
        return found

    def _above_all(self, table: str) -> int:
        """Return a number above the ids of a table."""
        try:
            (highest,) = self._connection.execute(f"SELECT max(id) FROM {table}").fetchone()  # noqa: S608
        except sqlite3.Error as exc:
            if not is_damage(exc):
                raise JournalError(f"journal {self._path} cannot be read: {exc}") from exc
            self._warn(str(exc))
            return 1 << 40
        return 0 if highest is None else int(highest) + 1

    @contextmanager
    def _leaving_out(self, table: str, number: int) -> Iterator[None]:
        """Leave out a row whose content is not what was written; say so once."""
        try:
            yield
        except (Invalid, ValueError, TypeError, msgspec.MsgspecError) as exc:
            self._warn(f"row {number} of {table}: {exc}")

    def _warn(self, why: str) -> None:
        with suppress(OSError):
            name = (str(self._path), self._path.stat().st_ino)
            if name in _said:
                return
            _said.add(name)
        log.warning("journal %s is damaged, and what cannot be read of it is left out: %s", self._path, why)


def stored_invocation(row: tuple[Any, ...]) -> StoredInvocation:
    """Return a row of the table `invocations` as what it says."""
    at, id_, worker, handler, cause, event, generation, outcome, duration, error, logs = row
    stored = StoredInvocation(
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
    return msgspec.convert(msgspec.to_builtins(stored), StoredInvocation)


def _stored_state(row: tuple[Any, ...]) -> StoredState:
    at, worker, state, error = row
    return msgspec.convert({"at": at, "worker": worker, "state": state, "error": error}, StoredState)
