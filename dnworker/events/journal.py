"""The stored history: events, invocations and states in SQLite, written in batches off the loop.

What happened up to a quarter of a second before a runtime was killed is there when it starts again: a batch
is one transaction, and the write-ahead log survives the process. Readers may look at the same time.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import NOISE, EventEnvelope, decode, encode
from dnworker.core.errors import JournalError
from dnworker.core.invocation import Invocation, current_invocation

if TYPE_CHECKING:
    from dnworker.events.bus import EventBus
    from dnworker.events.history import History

log = logging.getLogger("dnworker.journal")

VERSION = 1
BATCH_SECONDS = 0.25
BUSY_SECONDS = 5.0
PENDING_LIMIT = 200_000
"""Entries that wait for a disk that is full or slow before the newest are dropped, and counted."""

MAX_BYTES = 256 * 1024 * 1024
MAX_AGE = timedelta(days=30)
PRUNE_EVERY = 20_000
PRUNE_SHARE = 0.1
LOGS_KEPT = 200
SHORTEST_ID = 4
LONGEST_SEQ = 18
"""Characters of a `#seq`: SQLite's integers have 63 bits."""

_SCHEMA = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE runs (id INTEGER PRIMARY KEY, runtime_id TEXT NOT NULL, started_at TEXT NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL,
    kind TEXT NOT NULL, session_id TEXT, event_id TEXT NOT NULL, cause TEXT, envelope TEXT NOT NULL
);
CREATE INDEX events_by_kind ON events (kind, id);
CREATE INDEX events_by_event ON events (event_id);
CREATE TABLE invocations (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at TEXT NOT NULL, invocation TEXT NOT NULL,
    worker TEXT NOT NULL, handler TEXT NOT NULL, cause TEXT NOT NULL, event_id TEXT,
    generation INTEGER NOT NULL, outcome TEXT NOT NULL, duration REAL, error TEXT, logs TEXT NOT NULL
);
CREATE INDEX invocations_by_event ON invocations (event_id);
CREATE TABLE states (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at TEXT NOT NULL, worker TEXT NOT NULL, state TEXT NOT NULL,
    error TEXT
);
"""
_TABLES = ("events", "invocations", "states")


class StoredInvocation(msgspec.Struct, kw_only=True):
    """One run of a handler, as it was; `duration` in seconds, `at` when it ended."""

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


class Journal:
    """Writes what a runtime does to a file.

    Args:
        path: of the file; made if it is not there.
        runtime_id: by which runs are told apart.
        max_bytes: of the file; the oldest entries go first.
        max_age: of entries.
    """

    def __init__(
        self, path: Path, runtime_id: str, *, max_bytes: int = MAX_BYTES, max_age: timedelta = MAX_AGE
    ) -> None:
        self.path = path
        self.lost = 0
        self.failure: str | None = None
        self._runtime_id = runtime_id
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._pending: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._batch: list[tuple[str, tuple[Any, ...]]] = []
        self._filled = threading.Event()
        self._written = threading.Condition()
        self._ending = False
        self._hurry = threading.Event()
        self._noted = 0
        self._done = 0
        self._run = 0
        self._since_prune = 0

    @contextmanager
    def recording(self, bus: EventBus, history: History) -> Iterator[None]:
        """Write everything that happens meanwhile; all of it is in the file at the end.

        Raises:
            JournalError: the file cannot be opened, or is none of ours; says which and what to do.
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
        self._note("events", (envelope, None if cause is None else cause.id))

    def note_invocation(self, invocation: Invocation) -> None:
        """Keep an invocation once it has ended."""
        if invocation.outcome != "running":
            self._note("invocations", (invocation, _now()))

    def note_state(self, worker: str, state: str, error: str | None) -> None:
        """Keep a worker's change of state."""
        self._note("states", (_now(), worker, state, error))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything noted so far is in the file; False when the time was up before."""
        noted = self._noted
        self._hurry.set()
        self._filled.set()
        with self._written:
            return self._written.wait_for(lambda: self._done >= noted, timeout)

    def _note(self, table: str, entry: tuple[Any, ...]) -> None:
        if len(self._pending) >= PENDING_LIMIT:
            self.lost += 1
            return
        self._noted += 1
        self._pending.append((table, entry))
        if not self._filled.is_set():
            self._filled.set()

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
                for table, entry in self._batch:
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
            self._batch = []
            self._written.notify_all()
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


class JournalReader:
    """Reads a journal, also one that is being written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            raise JournalError(f"there is no journal {path}")
        self._connection = open_journal(path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> JournalReader:
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
        """Return the newest `last` events, oldest first; `from_outside`: of those that no handler caused."""
        quiet = "".join(f" AND kind NOT LIKE '{prefix}%'" for prefix in NOISE)
        rows = self._connection.execute(
            "SELECT envelope FROM events WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR session_id = ?2)"  # noqa: S608
            f" AND (?3 = 0 OR (cause IS NULL {quiet})) ORDER BY id DESC LIMIT ?4",
            (kind, session_id, from_outside, last),
        )
        return [decode(row[0]) for row in rows][::-1]

    def find(self, name: str) -> EventEnvelope | None:
        """Return the newest event of a `#seq`, an id, or the beginning of an id of at least four digits."""
        if name.startswith("#"):
            seq = int(name[1:]) if name[1:].isdecimal() and len(name) < LONGEST_SEQ else 0
            query, value = "SELECT envelope FROM events WHERE seq = ? ORDER BY id DESC", seq
            row = self._connection.execute(query, (value,)).fetchone()
        elif len(name) < SHORTEST_ID:
            return None
        else:
            query = "SELECT envelope FROM events WHERE event_id >= ? AND event_id < ? ORDER BY id DESC"
            row = self._connection.execute(query, (name, name + "g")).fetchone()
        return None if row is None else decode(row[0])

    def event(self, event_id: str) -> EventEnvelope | None:
        """Return one event, or None."""
        row = self._connection.execute(
            "SELECT envelope FROM events WHERE event_id = ? ORDER BY id DESC", (event_id,)
        ).fetchone()
        return None if row is None else decode(row[0])

    def notifications(self, last: int = 100) -> list[EventEnvelope]:
        """Return the newest notifications, oldest first."""
        return self.events(last, kind="notify")

    def invocations(self, last: int = 100, *, event_id: str | None = None) -> list[StoredInvocation]:
        """Return the newest `last` invocations that ended, oldest first; of one event, or of all."""
        rows = self._connection.execute(
            "SELECT at, invocation, worker, handler, cause, event_id, generation, outcome, duration, error,"
            " logs FROM invocations WHERE (?1 IS NULL OR event_id = ?1) ORDER BY id DESC LIMIT ?2",
            (event_id, last),
        )
        found = [
            StoredInvocation(
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
            for at, id_, worker, handler, cause, event, generation, outcome, duration, error, logs in rows
        ]
        return found[::-1]

    def states(self, last: int = 100) -> list[StoredState]:
        """Return the newest `last` changes of state, oldest first."""
        rows = self._connection.execute(
            "SELECT at, worker, state, error FROM states ORDER BY id DESC LIMIT ?", (last,)
        )
        return [StoredState(at=at, worker=w, state=s, error=e) for at, w, s, e in rows][::-1]


def open_journal(path: Path) -> sqlite3.Connection:
    """Open a journal for reading and writing, making it if it is not there.

    Raises:
        JournalError: it cannot be opened, is no journal, or was written by a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what is in it is for its owner
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as exc:
        raise JournalError(f"journal {path} cannot be opened: {exc}") from exc
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise JournalError(
                f"journal {path} was written by a later version of dnworker: it is of format {version}, "
                f"and this one knows {VERSION}; update, or name another file"
            )
        if version == 0:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
                raise JournalError(f"{path} is a database of something else; name another file")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as exc:
        connection.close()
        raise JournalError(
            f"{path} is no journal, or is damaged: {exc}; name another file or move it away"
        ) from exc
    except JournalError:
        connection.close()
        raise
    return connection


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
