"""`BrokerJournal`: the invocations and states of a runtime, written between the groups of its events."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation
from dnworker.core.limits import Limits
from dnworker.events.journal_rows import insert_entries

if TYPE_CHECKING:
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

log = logging.getLogger("dnworker.journal")

RIDE_SECONDS = 0.25
"""Seconds that an entry waits for others to be written with."""

ENTRIES_PER_GROUP = 256
"""What is written at once: a publisher may wait for it."""

ENTRY_OVERHEAD = 600
"""Bytes of an entry, beside the error and the lines of its invocation."""


class BrokerJournal:
    """What a runtime notes beside its events; to the runtime it is a `Journal`.

    Args:
        path: the broker's file.
        pending_bytes: the bound of what waits in memory for the disk.
    """

    def __init__(self, path: Path, *, pending_bytes: int = Limits().journal) -> None:
        self.path = path
        self.run = 0
        """The number of the run, once the broker is open."""
        self.wake: Callable[[], None] = lambda: None
        """Has the writer look at what waits."""
        self.lost = 0
        self._said_lost = 0
        self.failure_of: Callable[[], str | None] = lambda: None
        self.now: Callable[[], datetime] = partial(datetime.now, UTC)
        """The time of the broker's clock, which the bounds of the file go by."""
        # Entries on their way: noted by the loop, taken by the writer's thread.
        self._pending: deque[tuple[str, tuple[Any, ...], int]] = deque()
        self._batch: list[tuple[str, tuple[Any, ...], int]] = []
        self._since: float | None = None
        self._is_hurried = False
        self._noted = 0
        self._done = 0
        self._bytes_noted = 0  # by the loop
        self._bytes_done = 0  # by the writer's thread
        self._max_bytes = pending_bytes
        self._is_behind = False
        self._written = threading.Condition()

    @property
    def failure(self) -> str | None:
        """Why nothing can be written; None where it can."""
        return self.failure_of()

    @property
    def pending_bytes(self) -> int:
        """Bytes of what waits in memory for the disk."""
        return self._bytes_noted - self._bytes_done

    @contextmanager
    def recording(self, bus: EventBus, history: History) -> Iterator[None]:
        """Note how invocations end while the block runs; the broker has the events itself.

        What waits then is written when the broker is closed.
        """
        release = history.listen(self.note_invocation)
        try:
            yield
        finally:
            release()

    def end(self) -> None:
        """Say what a run misses; called once nothing more is written of it."""
        self.lost += len(self._pending)
        self._pending.clear()
        self._done, self._bytes_done, self._since = self._noted, self._bytes_noted, None
        if self.lost > self._said_lost:
            missing = self.lost - self._said_lost
            log.error("journal %s misses %d entries of this run", self.path, missing)
        self._said_lost = self.lost

    def note_invocation(self, invocation: Invocation) -> None:
        """Keep an invocation once it has ended."""
        if invocation.outcome != "running":
            self._note("invocations", (invocation, self.now().isoformat()), invocation.bytes_used())

    def note_state(self, worker: str, state: str, error: str | None) -> None:
        """Keep a worker's change of state."""
        self._note("states", (self.now().isoformat(), worker, state, error))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds; return whether everything noted so far is in the file.

        Not for the loop, which waits for no disk.
        """
        if self.failure is not None:
            return False
        noted = self._noted
        self._is_hurried = True
        self.wake()
        with self._written:
            return self._written.wait_for(lambda: self._done >= noted, timeout)

    def _note(self, table: str, entry: tuple[Any, ...], size: int = 0) -> None:
        size += ENTRY_OVERHEAD
        if self.pending_bytes + size > self._max_bytes:
            self.lost += 1
            if not self._is_behind and self.failure is None:
                log.warning("journal %s: the disk is too slow; what happens now is missing in it", self.path)
            self._is_behind = True
            return
        self._is_behind = False
        self._noted += 1
        self._bytes_noted += size
        self._pending.append((table, entry, size))
        if self._since is None:
            self._since = time.monotonic()
            self.wake()

    # -- on the writer's thread ------------------------------------------------------------------------

    def due_in(self) -> float | None:
        """Return in how many seconds what waits is to be written at the latest; None for nothing."""
        if not self._pending:
            return None
        since = self._since
        return 0.0 if self._is_hurried or since is None else max(0.0, since + RIDE_SECONDS - time.monotonic())

    def write(self, connection: sqlite3.Connection) -> None:
        """Write a part of what waits, as part of a transaction."""
        while self._pending and len(self._batch) < ENTRIES_PER_GROUP:
            self._batch.append(self._pending.popleft())
        for table in ("invocations", "states"):
            entries = [entry for name, entry, _ in self._batch if name == table]
            insert_entries(connection, table, self.run, entries, self._leave_out)

    def _leave_out(self, table: str) -> None:
        self.lost += 1
        log.exception("an entry of the journal's %s could not be written", table)

    def written(self) -> None:
        """Take note that the transaction is in the file."""
        if not self._batch:
            return
        with self._written:
            self._done += len(self._batch)
            self._bytes_done += sum(size for *_, size in self._batch)
            self._batch = []
            if len(self._pending) < ENTRIES_PER_GROUP:  # else the next ones are due, too
                self._since = time.monotonic() if self._pending else None
            if not self._pending:
                self._is_hurried = False
            self._written.notify_all()

    def not_written(self) -> None:
        """Take note that it is not: what was written in it waits again."""
        self._pending.extendleft(reversed(self._batch))
        self._batch = []
