"""`Bounds`: keeps a broker's file short, in small steps between the groups that are written."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.sqlite import store
from dnworker.events.brokers.sqlite.cursors import read_cursors
from dnworker.events.journal_rows import note_dropped

log = logging.getLogger("dnworker.broker")

MAX_AGE = timedelta(days=7)
MAX_BYTES = 1024 * 1024 * 1024
"""Bounds of a file that nobody set."""

STEP = 1_000
"""Events that are looked at in one step."""

_DROP_OLD = """
DELETE FROM {table} WHERE id IN (
    SELECT id FROM (SELECT id, at FROM {table} ORDER BY id LIMIT ?) WHERE at < ? OR ?
)
"""
"""Looks at the oldest entries only: the others are younger, and many."""

_TABLES = ("invocations", "states")
"""What is noted beside the events: it goes with those of its time, and before what is not handled."""

PAGES = 256
"""Pages of the file that are given back to the disk in one step."""

WARN_SECONDS = 60.0
"""Seconds in which a worker's lost events are warned of at most once."""


class Bounds:
    """Drops what is too old or too much: what all workers have handled first.

    Args:
        path: the file, for what is said of it.
        now: the time of the clock.
        max_age, max_bytes, max_events: the bounds.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_bytes: int,
        max_events: int | None,
    ) -> None:
        self._path = path
        self._now = now
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._max_events = max_events
        # The round that is under way: first without what somebody has not handled, then with it.
        self._is_under_way = False
        self._takes_all = False
        self._after = 0
        self._excess = 0
        self._is_too_big = False
        self._dropped = 0
        self._dropped_at = ""
        """The time of the newest event that it has dropped."""
        # What was lost by it, and is not said yet.
        self._lost: Counter[str] = Counter()
        self._warned_at = -WARN_SECONDS

    def step(self, connection: sqlite3.Connection) -> bool:
        """Do a little; return whether there is more to do."""
        now = self._now()
        oldest = (now - self._max_age).isoformat()
        if not self._is_under_way:
            self._is_under_way, self._takes_all, self._after, self._dropped = True, False, 0, 0
            self._dropped_at = ""
            self._excess = self._count_excess(connection)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            store.expire(connection, now.timestamp())
            is_at_end = self._drop(connection, oldest)
            is_spent = is_at_end and not self._takes_all and self._is_too_big and self._excess > 0
            values = STEP, max(oldest, self._dropped_at), is_spent
            gone = [connection.execute(_DROP_OLD.format(table=table), values).rowcount for table in _TABLES]
        connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")  # `execute` gives back a single page
        if is_spent and any(gone):
            self._excess = self._count_excess(connection)  # it may be enough
            return True
        if not is_at_end or max(gone) == STEP:
            return True
        if not self._takes_all and (self._excess > 0 or self._has_older(connection, oldest)):
            self._takes_all, self._after = True, 0
            return True
        self._is_under_way = False
        self._warn()
        return self._dropped > 0  # and see whether it is enough, and what it leaves free

    def _count_excess(self, connection: sqlite3.Connection) -> int:
        """Return how many events are over the bounds of size and count; about, for size."""
        over = 0
        if self._max_events is not None:
            (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
            over = count - self._max_events
        size = _size(connection)
        self._is_too_big = size > self._max_bytes
        if self._is_too_big:
            first, last = connection.execute(
                "SELECT (SELECT min(id) FROM events), (SELECT max(id) FROM events)"
            ).fetchone()
            if first is not None:
                over = max(over, 1 + int((last - first) * (size - self._max_bytes) / size))
        return over

    def _has_older(self, connection: sqlite3.Connection, oldest: str) -> bool:
        """Return whether an event is too old; the newest is not: its number must not come again."""
        query = "SELECT at FROM events WHERE id < (SELECT max(id) FROM events) ORDER BY id LIMIT 1"
        first = connection.execute(query).fetchone()
        return first is not None and first[0] < oldest

    def _drop(self, connection: sqlite3.Connection, oldest: str) -> bool:
        """Drop events of the next ones; return whether nothing after them is to go."""
        rows = connection.execute(
            "SELECT id, at, kind, only_for FROM events"
            " WHERE id > ? AND id < (SELECT max(id) FROM events) ORDER BY id LIMIT ?",
            (self._after, STEP),
        ).fetchall()
        cursors = read_cursors(connection).values()
        gone: list[tuple[int]] = []
        is_young = False
        for number, at, kind, only in rows:
            is_young = at >= oldest and self._excess <= 0
            if is_young:
                break
            self._after = number
            waiting = [cursor.worker for cursor in cursors if is_waiting(cursor, number, kind, only)]
            if not waiting or self._takes_all:
                self._lost.update(waiting)
                gone.append((number,))
                self._dropped_at = max(self._dropped_at, at)
                self._excess -= 1
        connection.executemany("DELETE FROM events WHERE id = ?", gone)
        if gone:
            note_dropped(connection, gone[-1][0])
        self._dropped += len(gone)
        return is_young or len(rows) < STEP

    def _warn(self) -> None:
        if self._lost and time.monotonic() - self._warned_at >= WARN_SECONDS:
            self._warned_at = time.monotonic()
            for worker, count in self._lost.items():
                log.warning(
                    "%s is over its bounds: %d events were dropped that %s had not handled",
                    self._path,
                    count,
                    worker,
                )
            self._lost.clear()


def is_waiting(cursor: Cursor, number: int, kind: str, only: str | None) -> bool:
    """Return whether a worker has not handled an event."""
    if only not in (None, cursor.worker):
        return False
    is_next = number > cursor.handled_to and cursor.wants(kind, number)
    return is_next or number in cursor.outstanding or cursor.former.waits(kind, number)


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
