"""`Journal`: writes the events, invocations and states of a runtime to SQLite, in batches off the loop.

What happened up to a quarter of a second before a runtime was killed is there when it starts again: a batch
is one transaction, and the write-ahead log survives the process. A file that is damaged is set aside, and one
that was removed is made again, at the start and while it runs; a full disk is waited for.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import EventEnvelope, bytes_of_payload
from dnworker.core.errors import JournalError
from dnworker.core.hops import via_here
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import Limits
from dnworker.core.threads import untraced
from dnworker.events.damage import JournalDamaged, is_damage, set_aside
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_lock import owner_of, why_not_one
from dnworker.events.journal_rows import Entry, drop_handled, drop_oldest, insert_batch, note, share_of

if TYPE_CHECKING:
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

log = logging.getLogger("dnworker.journal")

BATCH_SECONDS = 0.25
"""Seconds for which entries are collected to one transaction."""

REPLACE_SECONDS = 60.0
"""Seconds in which at most one file is set aside while it is written."""

ENDING_SECONDS = 10.0
"""Seconds that the writer gets at the end to write what waits."""

RETRY_SECONDS = 1.0
"""Seconds after which a file that could not be written is tried again."""

BATCH_LIMIT = 4_096
"""Entries of one transaction at most."""

ENTRIES_UNTIL_REST, REST_SECONDS = 256, 0.00002
"""Entries of a burst after which the loop rests for so many seconds, so that the writer gets to run."""

PENDING_LIMIT = 200_000
"""Entries that wait for a disk that is full or slow before the newest are dropped, and counted."""

ENTRY_OVERHEAD = 600
"""Bytes of an entry that waits, beside the payload of its event or the error of its invocation."""

MAX_BYTES = 256 * 1024 * 1024
MAX_AGE = timedelta(days=30)
"""Bounds of a journal's file that nobody set."""

PRUNE_EVERY = 20_000
"""Entries after which age and size are checked."""

_BESIDE = ("invocations", "states")
"""What is written beside the events."""

_FOR_EVER = "9999"  # a time that all others are before


class Journal:
    """Writes the events, invocations and states of a runtime to a file.

    Args:
        path: the file; it is made if it is not there.
        runtime_id: is stored with the run.
        max_bytes: the bound of the file's size; the oldest entries go first, but for what workers wait for.
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
        self._is_over = False
        self._file: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._replaced_at: float | None = None

        # Entries on their way: noted by the loop, taken in batches by the writer's thread.
        self._pending: deque[Entry] = deque()
        self._batch: list[Entry] = []
        self._noted = 0
        self._done = 0
        self._pending_limit = pending_bytes
        self._bytes_noted = 0  # by the loop
        self._bytes_done = 0  # by the writer's thread
        self._is_behind = False
        self._since_rest = 0

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
        connection = self._open()
        self._ending, lost = False, self.lost
        writer = untraced(
            threading.Thread(target=self._write_all, args=(connection,), name="dnworker journal", daemon=True)
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
            writer.join(timeout=ENDING_SECONDS)
            if writer.is_alive():  # a disk that hangs: what waits for it is not written, or nobody knows
                self.lost += len(self._pending) + len(self._batch)
            if self.lost > lost:
                log.error("journal %s misses %d entries of this run", self.path, self.lost - lost)

    def _open(self) -> sqlite3.Connection:
        """Open the file and note the run; a damaged one is set aside.

        Raises:
            JournalError: the file cannot be opened, or is no journal; names it and the way out.
        """
        try:
            return self._begin_run()
        except JournalDamaged as exc:
            aside = self._set_aside(exc)
            log.warning("%s; it is kept as %s, and a new one begins", str(exc).partition(";")[0], aside)
            return self._begin_run()

    def _set_aside(self, exc: Exception) -> Path:
        """Rename the damaged file, and return its new name.

        Raises:
            JournalError: one was set aside just now: the disk spoils whatever is written.
        """
        now = time.monotonic()
        if self._replaced_at is not None and now - self._replaced_at < REPLACE_SECONDS:
            again = f"journal {self.path} is damaged again: {exc}; is its disk sound?"
            raise JournalError(again, code="DN703")
        self._replaced_at = now
        return set_aside(self.path)

    def _begin_run(self) -> sqlite3.Connection:
        if (owner := owner_of(self.path)) is not None:
            used = f"is the file of the runtime in process {owner}, which keeps all events in it"
            way = "stop that one, or name another file"
            raise JournalError(f"journal {self.path} {used}; {way}", code="DN706")
        if (why := why_not_one(self.path)) is not None:
            raise JournalError(f"journal {why}", code="DN707")
        connection = open_journal(self.path)
        try:
            values = (self._runtime_id, _now())
            begun = connection.execute("INSERT INTO runs (runtime_id, started_at) VALUES (?, ?)", values)
            self._file, self._wal = _file_of(self.path), _file_of(_wal_of(self.path))
        except (sqlite3.Error, OSError) as exc:
            connection.close()
            if isinstance(exc, sqlite3.Error) and is_damage(exc):
                raise JournalDamaged(f"journal {self.path} is damaged: {exc}") from exc
            raise JournalError(f"journal {self.path} cannot be written: {exc}", code="DN707") from exc
        self._run = begun.lastrowid or 0
        return connection

    def note_event(self, envelope: EventEnvelope) -> None:
        """Keep an event, and which invocation published it."""
        cause = current_invocation.get()
        noted = note(envelope, None if cause is None else cause.id, via_here())
        self._note("events", noted, bytes_of_payload(envelope))

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
        if len(self._pending) >= BATCH_LIMIT:
            self._let_writer_run()
        if len(self._pending) >= PENDING_LIMIT or self.pending_bytes + size > self._pending_limit:
            self._note_lost()
            return
        self._noted += 1
        self._bytes_noted += size
        self._pending.append((table, entry, size))
        if not self._filled.is_set():
            self._filled.set()

    def _let_writer_run(self) -> None:
        """Let a burst be written while it comes: what may wait is limited, and a transaction takes no more.

        A loop that never rests takes the interpreter back before another thread has woken up to have it.
        """
        if self.failure is None and not self._hurry.is_set():
            self._hurry.set()
        self._since_rest += 1
        if self._since_rest >= ENTRIES_UNTIL_REST:
            self._since_rest = 0
            time.sleep(REST_SECONDS)

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
        self._connection = connection
        try:
            while not self._ending or self._pending or self._batch:
                self._filled.wait()
                if not self._ending:  # so that a burst becomes one transaction
                    self._hurry.wait(BATCH_SECONDS if self.failure is None else RETRY_SECONDS)
                self._hurry.clear()
                self._filled.clear()
                if self._try_batch():
                    if self._pending:
                        self._filled.set()
                        self._hurry.set()
                elif self._ending:
                    self.lost += len(self._pending) + len(self._batch)
                    return
                else:
                    self._filled.set()  # try again with what there is by then
        finally:
            self._close()

    def _try_batch(self) -> bool:
        """Write what waits, into another file where this one is damaged; whatever fails is noted."""
        try:
            try:
                return self._write_batch()
            except JournalDamaged as exc:
                return self._replace(exc) and self._write_batch()
        except Exception as exc:  # the thread must not end while entries come: it tries again
            self._note_failure(exc)
            return False

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _write_batch(self) -> bool:
        """Write what waits, or a part of it; returns whether that is in the file.

        Raises:
            JournalDamaged: the file is damaged.
        """
        room = min(len(self._pending), BATCH_LIMIT - len(self._batch))  # the loop only adds to what waits
        self._batch += [self._pending.popleft() for _ in range(room)]
        try:
            connection = self._ready()
            with connection:
                connection.execute("BEGIN")
                insert_batch(connection, self._run, self._batch, self._leave_out)
        except (sqlite3.Error, JournalError) as exc:
            if isinstance(exc, sqlite3.Error) and is_damage(exc):
                raise JournalDamaged(str(exc)) from exc
            self._note_failure(exc)
            return False
        if self.failure is not None:
            log.warning("journal %s can be written again; %d entries were lost", self.path, self.lost)
            self.failure = None
        written = len(self._batch)
        with self._written:
            self._done += written
            self._bytes_done += sum([noted[2] for noted in self._batch])
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

    def _note_failure(self, exc: Exception) -> None:
        if self.failure is None:
            log.error(
                "journal %s cannot be written: %s; what happens now may be missing in it", self.path, exc
            )
        self.failure = str(exc)

    def _ready(self) -> sqlite3.Connection:
        """Return the open file; one that was removed or replaced meanwhile is opened anew.

        Raises:
            JournalError: it cannot be opened.
        """
        if self._connection is not None:
            if _file_of(self.path) == self._file:
                return self._connection
            self._close()
            if self._wal is not None and _file_of(_wal_of(self.path)) == self._wal:
                # SQLite leaves the log of a file that is gone, and would take it for that of the next.
                with suppress(OSError):
                    _wal_of(self.path).unlink()
            log.warning("journal %s was removed or replaced while it was written; it begins anew", self.path)
        self._connection = self._open()
        return self._connection

    def _replace(self, exc: Exception) -> bool:
        """Set a file aside that turned out to be damaged, and begin another; returns whether there is one."""
        self._close()
        try:
            aside = self._set_aside(exc)
            log.warning(
                "journal %s is damaged: %s; it is kept as %s, and a new one begins", self.path, exc, aside
            )
            self._connection = self._begin_run()
        except JournalError as problem:
            self._note_failure(problem)
            return False
        return True

    def _leave_out(self, table: str) -> None:
        self.lost += 1
        log.exception("an entry of the journal's %s could not be written", table)

    def _prune(self, connection: sqlite3.Connection, written: int) -> None:
        """Keep the file within its bounds of age and size."""
        self._since_prune += written
        if self._since_prune < PRUNE_EVERY and (self._is_over or _size(connection) <= self._max_bytes):
            return
        self._since_prune = 0
        oldest = (datetime.now(UTC) - self._max_age).isoformat()
        with connection:
            drop_handled(connection, oldest, -1)
            for table in _BESIDE:
                connection.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608  our own names
        while _size(connection) > self._max_bytes:
            with connection:
                gone = drop_handled(connection, _FOR_EVER, share_of(connection, "events"))
                gone += sum(drop_oldest(connection, table) for table in _BESIDE)
            connection.executescript("PRAGMA incremental_vacuum")  # `execute` gives back a single page
            if not gone:
                self._warn_of_bounds()
                break
        else:
            self._is_over = False
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _warn_of_bounds(self) -> None:
        text = (
            "journal %s is over its bound of size: events that workers have not handled are kept, and all "
            "else goes; a durable runtime on it delivers them, `dnworker cursors drop` forgets a worker"
        )
        if not self._is_over:
            log.warning(text, self.path)
        self._is_over = True


def _wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _file_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _now() -> str:
    return datetime.now(UTC).isoformat()
