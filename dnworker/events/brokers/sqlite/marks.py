"""`Marks`: writes how far workers are, soon after it changes."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from dnworker.core.clock import Clock
from dnworker.core.listeners import Listeners
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.brokers.sqlite.cursors import row_of
from dnworker.events.brokers.sqlite.group_commit import CursorRows, GroupWriter

log = logging.getLogger("dnworker.broker")

MARK_SECONDS = 0.05
"""Seconds after which it is written what workers have handled."""

MARKED_EVENTS = 1_000
"""Events in flight that make it that much later again: each takes the loop's time."""


class Marks:
    """The part of a broker that writes cursors."""

    clock: Clock
    _cursors: dict[str, Cursor]
    _writer: GroupWriter | None

    def __init__(self) -> None:
        super().__init__()
        self.left: Listeners[[LeftEvents]] = Listeners()
        """Called with what waits of kinds that a worker names no more."""
        self._marked: dict[str, Cursor] = {}
        self._mark_timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._bad: set[str] = set()

    def mark(self, cursor: Cursor) -> None:
        """Write a cursor soon; not that of a consumer that was open before the broker was closed."""
        if self._cursors.get(cursor.worker) is not cursor or self._writer is None:
            return
        self._marked[cursor.worker] = cursor
        if self._mark_timer is None:
            delay = MARK_SECONDS * (1 + self._in_flight / MARKED_EVENTS)
            self._mark_timer = asyncio.get_running_loop().call_later(
                delay, partial(self._flush, is_urgent=False)
            )

    def write(self, *cursors: Cursor) -> asyncio.Future[None]:
        """Write cursors before what is published from now on; returns when they are on disk."""
        self._marked |= {cursor.worker: cursor for cursor in cursors}
        return self._flush()

    def _flush(self, *, is_urgent: bool = True) -> asyncio.Future[None]:
        """Write the cursors that are marked; without an fsync of their own where nobody waits for it."""
        if self._mark_timer is not None:
            self._mark_timer.cancel()
            self._mark_timer = None
        marked, self._marked = self._marked, {}
        rows: dict[str, tuple[Any, ...] | None] = {}
        for worker, cursor in marked.items():
            try:
                if cursor.consumer is not None:
                    cursor.consumer.note_position()
                    cursor.seen_at = self.clock.now().isoformat()
                rows[worker] = row_of(cursor)
            except Exception:  # one that cannot be written must not keep the others from it
                if worker not in self._bad:
                    self._bad.add(worker)
                    log.exception("how far %r is cannot be written, and is left out", worker)
        self._in_flight = sum(len(cursor.outstanding) for cursor in marked.values())
        return self._put_rows(rows, is_urgent=is_urgent)

    def _put_rows(
        self, rows: dict[str, tuple[Any, ...] | None], *, is_patient: bool = True, is_urgent: bool = True
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if rows and self._writer is not None:
            self._writer.put(CursorRows(rows, future, is_patient, is_urgent))
        else:
            future.set_result(None)
        return future
