"""`Journal`: writes the events, invocations and states of a runtime to SQLite, in batches off the loop.

What happened up to a quarter of a second before a runtime was killed is there when it starts again: a batch
is one transaction, and the write-ahead log survives the process.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import EventEnvelope, bytes_of_payload, encode
from dnworker.core.errors import JournalError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import Limits
from dnworker.events.journal import open_journal

if TYPE_CHECKING:
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

log = logging.getLogger("dnworker.journal")

BATCH_SECONDS = 0.25
"""Seconds for which entries are collected to one transaction."""

PENDING_LIMIT = 200_000
"""Entries that wait for a disk that is full or slow before the newest are dropped, and counted."""

ENTRY_OVERHEAD = 1_000
"""Bytes of an entry that waits, beside the payload of its event or the error of its invocation."""

MAX_BYTES = 256 * 1024 * 1024
MAX_AGE = timedelta(days=30)
"""Bounds of a journal's file that nobody set."""

PRUNE_EVERY = 20_000
PRUNE_SHARE = 0.1
"""Entries after which age and size are checked, and the share of the entries that goes at once."""

LOGS_KEPT = 200
"""Lines of log that are stored with an invocation."""

_TABLES = ("events", "invocations", "states")


class Journal:
    """Writes the events, invocations and states of a runtime to a file.

    Args:
        path: the file; it is made if it is not there.
        runtime_id: is stored with the run.
        max_bytes: the bound of the file's size; the oldest entries go first.
        max_age: the bound of an entry's age.
        pending_bytes: the bound of what waits in memory for the disk.
    """

    def __init__(
        self,
        path: Path,
        runtime_id: str,
        *,
        max_bytes: int = MAX_BYTES,
        max_age: timedelta = MAX_AGE,
        pending_bytes: int = Limits().journal,
    ) -> None:
        # The file, and its bounds.
        self.path = path
        self._runtime_id = runtime_id
        self._run = 0
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._since_prune = 0

        # Entries on their way: noted by the loop, taken in batches by the writer's thread.
        self._pending: deque[tuple[str, tuple[Any, ...], int]] = deque()
        self._batch: list[tuple[str, tuple[Any, ...], int]] = []
        self._noted = 0
        self._done = 0
        self._pending_limit = pending_bytes
        self._bytes_noted = 0  # by the loop
        self._bytes_done = 0  # by the writer's thread
        self._is_behind = False

        # Signals to the writer's thread, and from it.
        self._filled = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._ending = False

        # What went wrong.
        self.lost = 0
        self.failure: str | None = None

    @contextmanager
    def recording(self, bus: EventBus, history: History) -> Iterator[None]:
        """Write everything that happens while the block runs; all of it is in the file at its end.

        Raises:
            JournalError: the file cannot be opened, or is no journal; names it and the way out.
        """
        connection = open_journal(self.path)
        try:
            begun = connection.execute(
                "INSERT INTO runs (runtime_id, started_at) VALUES (?, ?)", (self._runtime_id, _now())
            )
        except sqlite3.Error as exc:
            connection.close()
            raise JournalError(f"journal {self.path} cannot be written: {exc}") from exc
        self._run = begun.lastrowid or 0
        self._ending = False
        writer = threading.Thread(
            target=self._write_all, args=(connection,), name="dnworker journal", daemon=True
        )
        writer.start()
        releases = [bus.tap(self.note_event), history.listen(self.note_invocation)]
        try:
            yield
        finally:
            for release in releases:
                release()
            self._ending = True
            self._filled.set()
            self._hurry.set()
            writer.join(timeout=10)

    def note_event(self, envelope: EventEnvelope) -> None:
        """Keep an event, and which invocation published it."""
        cause = current_invocation.get()
        size = bytes_of_payload(envelope)
        self._note("events", (envelope, None if cause is None else cause.id), size)

    def note_invocation(self, invocation: Invocation) -> None:
        """Keep an invocation once it has ended."""
        if invocation.outcome != "running":
            self._note("invocations", (invocation, _now()), invocation.bytes_used())

    def note_state(self, worker: str, state: str, error: str | None) -> None:
        """Keep a worker's change of state."""
        self._note("states", (_now(), worker, state, error))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds; return whether everything noted so far is in the file."""
        noted = self._noted
        self._hurry.set()
        self._filled.set()
        with self._written:
            return self._written.wait_for(lambda: self._done >= noted, timeout)

    @property
    def pending_bytes(self) -> int:
        """Bytes of what waits in memory for the disk."""
        return self._bytes_noted - self._bytes_done

    def _note(self, table: str, entry: tuple[Any, ...], size: int = 0) -> None:
        size += ENTRY_OVERHEAD
        if len(self._pending) >= PENDING_LIMIT or self.pending_bytes + size > self._pending_limit:
            self._note_lost()
            return
        self._noted += 1
        self._bytes_noted += size
        self._pending.append((table, entry, size))
        if not self._filled.is_set():
            self._filled.set()

    def _note_lost(self) -> None:
        """Count an entry that there is no room for; the first of a row of them is said."""
        self.lost += 1
        if not self._is_behind and self.failure is None:
            log.warning(
                "journal %s: the disk is too slow; what happens now is missing in it until it has caught up",
                self.path,
            )
        self._is_behind = True

    # -- on the writer's thread ------------------------------------------------------------------------

    def _write_all(self, connection: sqlite3.Connection) -> None:
        with closing(connection):
            while not self._ending or self._pending or self._batch:
                self._filled.wait()
                if not self._ending:
                    self._hurry.wait(BATCH_SECONDS)  # so that a burst becomes one transaction
                self._hurry.clear()
                self._filled.clear()
                if not self._write_batch(connection) and self._ending:
                    self.lost += len(self._pending) + len(self._batch)
                    return

    def _write_batch(self, connection: sqlite3.Connection) -> bool:
        while self._pending and len(self._batch) < PENDING_LIMIT:
            self._batch.append(self._pending.popleft())
        try:
            with connection:
                connection.execute("BEGIN")
                for table, entry, _ in self._batch:
                    self._insert(connection, table, entry)
        except sqlite3.Error as exc:
            if self.failure is None:
                log.error(
                    "journal %s cannot be written: %s; what happens now may be missing in it", self.path, exc
                )
            self.failure = str(exc)
            self._filled.set()  # try again with what there is by then
            return False
        if self.failure is not None:
            log.warning("journal %s can be written again; %d entries were lost", self.path, self.lost)
            self.failure = None
        written = len(self._batch)
        with self._written:
            self._done += written
            self._bytes_done += sum(size for *_, size in self._batch)
            self._batch = []
            self._written.notify_all()
        if self._is_behind and not self._pending:
            self._is_behind = False
            log.warning("journal %s has caught up; %d entries are missing in it", self.path, self.lost)
        try:
            self._prune(connection, written)
        except sqlite3.Error as exc:
            log.warning("journal %s could not be shortened: %s", self.path, exc)
        return True

    def _insert(self, connection: sqlite3.Connection, table: str, entry: tuple[Any, ...]) -> None:
        try:
            _INSERT[table](connection, self._run, entry)
        except (sqlite3.OperationalError, sqlite3.InternalError):
            raise  # the disk, not the entry
        except Exception:  # one entry that cannot be written must not keep the others from it
            self.lost += 1
            log.exception("an entry of the journal's %s could not be written", table)

    def _prune(self, connection: sqlite3.Connection, written: int) -> None:
        """Keep the file within its bounds of age and size."""
        self._since_prune += written
        if self._since_prune < PRUNE_EVERY and _size(connection) <= self._max_bytes:
            return
        self._since_prune = 0
        oldest = (datetime.now(UTC) - self._max_age).isoformat()
        with connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608  our own names
        while _size(connection) > self._max_bytes:
            with connection:
                gone = sum(_drop_oldest(connection, table) for table in _TABLES)
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            if not gone:
                break
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


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


_INSERT = {"events": _insert_event, "invocations": _insert_invocation, "states": _insert_state}


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _drop_oldest(connection: sqlite3.Connection, table: str) -> int:
    """Drop a tenth of a table, the oldest first; returns how many rows went."""
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  our own names
    share = max(1, int(count * PRUNE_SHARE)) if count else 0
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)",  # noqa: S608
        (share,),
    )
    return share


def _now() -> str:
    return datetime.now(UTC).isoformat()
