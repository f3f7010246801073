"""`GroupWriter`: the one thread that writes to a broker's file, in groups with one fsync each.

It takes all that waits, writes it in one transaction, and reports once a group to the loop. When nothing else
waits, what comes is written at once; while a group is on its way to the disk, the next one gathers. What
nobody waits for is written without an fsync, which the next group brings, or `SYNC_SECONDS` without one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dnworker.core.envelope import EventEnvelope, decode_stored
from dnworker.core.threads import untraced
from dnworker.events.brokers.sqlite.cursors import write_cursors
from dnworker.events.brokers.sqlite.file import Opened, inodes_of, is_full, why_not_written
from dnworker.events.damage import is_damage
from dnworker.events.journal_rows import NOBODY, ROWS_AT_ONCE, insert

log = logging.getLogger("dnworker.broker")

GROUP_EVENTS = 1_000
GROUP_BYTES = 4_000_000
"""What one group takes at most: a few milliseconds of writing."""

SYNC_SECONDS = 0.25
"""Seconds after which what was written without an fsync gets one, where no event has brought it."""

RETRY_SECONDS = 1.0
"""Seconds after which a disk that was full is tried again, where something waits for it that is no event."""


@dataclass(slots=True)
class Publication:
    """An event to be written."""

    envelope: EventEnvelope
    size: int
    only: str | None
    is_held: bool
    row: tuple[Any, ...]
    is_idempotent: bool
    future: asyncio.Future[Any]
    first: EventEnvelope | None = None
    """The event of the same id that was there before."""


@dataclass(slots=True)
class Call:
    """Something else to do in a transaction."""

    act: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None


@dataclass(slots=True)
class CursorRows:
    """How far workers are, by name; None of one that is forgotten."""

    rows: dict[str, tuple[Any, ...] | None]
    future: asyncio.Future[None] | None = None
    is_patient: bool = True
    """Whether it waits for room while the disk is full, and is not refused."""
    is_urgent: bool = True
    """Whether somebody waits until it is on disk."""


Op = Publication | Call | CursorRows


class Riders(Protocol):
    """What nobody waits for, and is written between groups; called on the writer's thread."""

    def due_in(self) -> float | None:
        """Return in how many seconds it is to be written at the latest; None where nothing waits."""

    def write(self, connection: sqlite3.Connection) -> None:
        """Write a part of it, as part of a transaction."""

    def written(self) -> None:
        """Take note that the transaction is in the file."""

    def not_written(self) -> None:
        """Take note that it is not: what was written in it waits again."""


class GroupWriter:
    """Writes what is put; used by one loop.

    Args:
        path, opened: the file, which it closes at its end.
        report: called on the loop with each group, and why it was refused; None where it is on disk.
        riders: what is written beside it.
        tidy: called between groups; returns whether there is more to do.
    """

    def __init__(
        self,
        path: Path,
        opened: Opened,
        *,
        report: Callable[[list[Op], str | None], None],
        riders: Riders,
        tidy: Callable[[sqlite3.Connection], bool],
    ) -> None:
        self._path = path
        self._opened = opened
        self._connection = opened.connection
        self._report = report
        self._riders = riders
        self._tidy = tidy
        self._loop = asyncio.get_running_loop()
        # What waits: None only wakes the thread.
        self._queue: queue.SimpleQueue[Op | None] = queue.SimpleQueue()
        self._is_ending = False
        self._is_to_tidy = True
        self._is_tidying = False
        self._owed = CursorRows({})
        self._waiting: list[CursorRows] = []
        self._bad: set[str] = set()
        self._is_syncing = True
        self._unsynced_since: float | None = None
        # What went wrong.
        self.failure: str | None = None
        self.is_lost = False
        """Whether the file is damaged or gone, or the thread has ended: no group will be written any more."""
        self._in_hand: list[Op] = []
        self._has_ended = False
        self._thread = untraced(threading.Thread(target=self._work, name="dnworker broker", daemon=True))
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()

    def put(self, op: Op) -> None:
        """Have something written with the next group."""
        self._queue.put(op)
        if self._has_ended:  # and nobody takes it
            self._refuse_rest()

    def wake(self) -> None:
        """Look again at the riders."""
        self._queue.put(None)

    def tidy_up(self) -> None:
        """Shorten the file between the next groups."""
        self._is_to_tidy = True
        self._queue.put(None)

    @property
    def _is_untidy(self) -> bool:
        return self._is_to_tidy or self._is_tidying

    async def stop(self) -> None:
        """Write what waits, and end."""
        self._is_ending = True
        self._queue.put(None)
        await asyncio.shield(self._ended)

    # -- on the thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._write_all()
        except BaseException as exc:  # a fault of our own: nothing is to wait for ever
            self.failure = (
                f"{self._path} cannot be written any more for a fault ({exc!r}); nothing was published; "
                "stop the runtime, and start it again"
            )
            self.is_lost = True
            log.exception("%s", self.failure)
        finally:
            self._sync()
            self._opened.close()
            self._has_ended = True
            self._refuse_rest()
            with suppress(RuntimeError):  # the loop was closed, and nobody waits
                self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _write_all(self) -> None:
        while True:
            is_last = self._is_ending and self._queue.empty()
            self._in_hand = self._gather(wait=not is_last)
            is_written = self._write(self._in_hand)
            is_any, self._in_hand = bool(self._in_hand), []
            if is_any and is_written:  # who waited for it has it, and the riders have their turn
                self._write([])
            if is_last and (self._riders.due_in() is None or not is_written):
                break
            if self._until_sync() <= 0:
                self._sync()
            self._keep_tidy()

    def _refuse_rest(self) -> None:
        """Refuse what nobody will write any more."""
        rest: list[Op] = [*self._in_hand, *self._waiting]
        self._in_hand, self._waiting = [], []
        while group := self._gather(wait=False):
            rest += group
        self._tell(rest, self.failure or f"{self._path} is closed; start the runtime first")

    def _gather(self, *, wait: bool) -> list[Op]:
        """Return what waits; wait for it where it is nothing, until something else is due."""
        group: list[Op] = []
        size = 0
        timeout = self._patience() if wait else 0.0
        with suppress(queue.Empty):
            op = self._queue.get(timeout=timeout) if timeout != 0 else self._queue.get_nowait()
            while True:
                if op is not None:
                    group.append(op)
                    size += op.size if isinstance(op, Publication) else 0
                if len(group) >= GROUP_EVENTS or size >= GROUP_BYTES:
                    break
                op = self._queue.get_nowait()
        return group

    def _patience(self) -> float | None:
        """Return for how many seconds there is nothing to do but to wait for what is put."""
        due = self._riders.due_in()
        if self.failure is not None:
            return RETRY_SECONDS if due is not None or self._owed.rows or self._waiting else None
        if self._is_untidy:
            return 0.0
        if self._unsynced_since is None:
            return due
        return self._until_sync() if due is None else min(due, self._until_sync())

    def _until_sync(self) -> float:
        since = self._unsynced_since
        return 0.0 if since is None else max(0.0, since + SYNC_SECONDS - time.monotonic())

    def _sync(self) -> None:
        """Have on disk what was written without an fsync."""
        if self._unsynced_since is None or self.is_lost:
            return
        self._unsynced_since = None
        try:
            log_of_file = os.open(f"{self._path}-wal", os.O_RDONLY)
            try:
                os.fsync(log_of_file)
            finally:
                os.close(log_of_file)
        except OSError as exc:  # it is in the file, and the next fsync has it, too
            log.warning("%s is not safe from a power failure now: %s", self._path, exc)

    def _write(self, group: list[Op]) -> bool:
        """Write a group, or the riders that are due; report it. Returns whether it is in the file."""
        due = self._riders.due_in()
        if not group and not self._owed.rows and (due is None or (due > 0 and not self._is_ending)):
            return True
        try:
            self._transact(group)
        except Exception as exc:  # the thread must go on; whose fault it is, is said below
            self._undo()
            if not isinstance(exc, sqlite3.OperationalError | OSError) and not is_damage_or_gone(exc):
                if len(group) > 1:  # one that cannot be written must not keep the others from it
                    return min([self._write([op]) for op in group])
                log.exception("%s: what cannot be written is refused", self._path)
            self._refuse(group, exc)
            return False
        self._accept(group)
        return True

    def _transact(self, group: list[Op]) -> None:
        self._check_there()
        connection = self._connection
        is_urgent = any(not isinstance(op, CursorRows) or op.is_urgent for op in [*group, *self._waiting])
        if is_urgent is not self._is_syncing:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_urgent else 'NORMAL'}")
            self._is_syncing = is_urgent
        if not self._owed.rows and _is_plain(group):  # one statement is a transaction of its own
            insert(connection, "events", [op.row for op in group if isinstance(op, Publication)])
            self._unsynced_since = None
            self._check_there(is_written=True)
            return
        connection.execute("BEGIN IMMEDIATE")
        before = connection.total_changes
        rows: list[tuple[Any, ...]] = []
        cursors = dict(self._owed.rows)
        for op in group:
            if isinstance(op, Publication):
                if op.is_idempotent:
                    insert(connection, "events", rows)
                    rows.clear()
                    op.first = _find(connection, op.envelope.event_id)
                if op.first is None:
                    rows.append(op.row)
            elif isinstance(op, Call):
                op.result = op.act(connection)
            else:
                cursors |= op.rows
        insert(connection, "events", rows)
        for worker, exc in write_cursors(connection, cursors).items():
            if worker not in self._bad:
                self._bad.add(worker)
                log.error("how far %r is cannot be written, and is left out", worker, exc_info=exc)
        if not is_urgent:
            self._riders.write(connection)
        connection.execute("COMMIT")
        if is_urgent and connection.total_changes != before:  # else SQLite had nothing to sync
            self._unsynced_since = None
        elif not is_urgent and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
        self._check_there(is_written=True)

    def _check_there(self, *, is_written: bool = False) -> None:
        """Raise where the file is gone; `is_written` if the group may be in it."""
        if self.is_lost or self._is_gone():
            raise _Gone(is_written)

    def _undo(self) -> None:
        self._riders.not_written()
        with suppress(sqlite3.Error):  # SQLite may have done it, or the file is gone
            self._connection.execute("ROLLBACK")

    def _accept(self, group: list[Op]) -> None:
        if self.failure is not None:
            log.warning("%s can be written again", self._path)
            self.failure = None
        self._riders.written()
        self._owed.rows.clear()
        waiting, self._waiting = self._waiting, []
        self._tell([*waiting, *group], None)

    def _refuse(self, group: list[Op], exc: Exception) -> None:
        """Refuse events and calls; keep how far workers are, while there may be room for it later."""
        is_lost = self.is_lost or is_damage_or_gone(exc)
        if isinstance(exc, _Gone):
            failure = self.failure if self.is_lost and self.failure else exc.told(self._path)
        else:
            failure = why_not_written(exc, self._path)
        if self.failure is None or is_lost is not self.is_lost:
            log.error("%s", failure)
        if is_full(exc) or is_lost or isinstance(exc, sqlite3.OperationalError):
            self.failure = failure
        self.is_lost = is_lost
        refused: list[Op] = []
        for op in group:
            if isinstance(op, CursorRows) and op.is_patient and not self.is_lost:
                self._owed.rows |= op.rows
                self._waiting.append(op)
            else:
                refused.append(op)
        if self.is_lost:
            refused += self._waiting
            self._owed.rows.clear()
            self._waiting.clear()
        self._tell(refused, failure)

    def _tell(self, group: list[Op], problem: str | None) -> None:
        if group:
            with suppress(RuntimeError):  # the loop was closed: nobody waits
                self._loop.call_soon_threadsafe(self._report, group, problem)

    def _keep_tidy(self) -> None:
        """Shorten the file a little, between two groups."""
        if self._is_untidy and self.failure is None:
            self._is_tidying, self._is_to_tidy = True, False
            try:
                self._is_tidying = self._tidy(self._connection)
            except Exception as exc:  # what is published goes on
                self._is_tidying = False
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                is_own = not isinstance(exc, sqlite3.Error)
                log.warning("%s could not be shortened: %s", self._path, exc, exc_info=is_own)

    def _is_gone(self) -> bool:
        try:
            return inodes_of(self._path) != self._opened.inodes
        except OSError:
            return True


class _Gone(Exception):
    """The file is not there any more; the argument is whether a group may be written to it still."""

    def told(self, path: Path) -> str:
        (is_written,) = self.args
        what = (
            "what was just published may be in the file that was moved"
            if is_written
            else "nothing was published"
        )
        return (
            f"{path} was removed or replaced while it was in use; {what}; "
            "stop the runtime, put the file back, and start it again"
        )


def is_damage_or_gone(exc: Exception) -> bool:
    """Return whether nothing can be written to the file any more."""
    return isinstance(exc, _Gone) or (isinstance(exc, sqlite3.Error) and is_damage(exc))


def _is_plain(group: list[Op]) -> bool:
    """Return whether a group is nothing but new events, of which one statement takes all."""
    return 0 < len(group) <= ROWS_AT_ONCE and all(
        isinstance(op, Publication) and not op.is_idempotent for op in group
    )


def _find(connection: sqlite3.Connection, event_id: str) -> EventEnvelope | None:
    """Return the first event of an id."""
    row = connection.execute(
        "SELECT envelope FROM events WHERE event_id = ? ORDER BY id LIMIT 1", (event_id,)
    ).fetchone()
    return None if row is None else decode_stored(row[0])


def take_from_workers(connection: sqlite3.Connection, numbers: list[int]) -> None:
    """Let no worker get some events any more, by `seq`."""
    of_numbers = "UPDATE events SET only_for = ? WHERE id IN (SELECT value FROM json_each(?))"
    connection.execute(of_numbers, (NOBODY, json.dumps(numbers)))
