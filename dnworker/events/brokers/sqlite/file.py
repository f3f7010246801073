"""The file of a broker: opening it, with the one process that may, and what errors of its disk mean."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec

from dnworker.core.errors import BrokerError, JournalError
from dnworker.events.brokers.kept.cursors import Cursor
from dnworker.events.brokers.sqlite.cursors import read_cursors
from dnworker.events.damage import JournalDamaged, is_damage
from dnworker.events.journal_file import open_journal
from dnworker.events.journal_lock import Lock

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Opened(NamedTuple):
    """A file that was opened."""

    lock: Lock
    connection: sqlite3.Connection
    inodes: tuple[int, int]
    """Of the file, and of its log."""
    run: int
    """The number of the run that begins."""
    latest_seq: int
    """The highest `seq` that was given in it."""
    cursors: dict[str, Cursor]
    """How far workers are, by name."""

    def close(self) -> None:
        """Close it, and let others have it."""
        try:
            self.connection.close()
        finally:
            self.lock.release()


async def opened_file(path: Path, runtime_id: str, started_at: str) -> Opened:
    """Open the file of a broker off the loop; it is closed again where nobody waits for it any more.

    Raises:
        BrokerError: as of `open_file`.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, open_file, path, runtime_id, started_at)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_discard)
        await asyncio.wait([opening])
        raise


def _discard(opening: asyncio.Future[Opened]) -> None:
    """Close a file that nobody waits for."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def open_file(path: Path, runtime_id: str, started_at: str) -> Opened:
    """Open the file of a broker, make it or bring it to the present format, and note a run in it.

    Raises:
        BrokerError: it cannot be used; says why, and the way out.
    """
    _check_place(path)
    lock = Lock(path)
    connection = None
    try:
        connection = open_journal(path)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise BrokerError(
                f"{path} is on a disk where SQLite can keep no log; name a file on another", code="DN707"
            )
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            latest = _latest_seq(connection)
            run = connection.execute(
                "INSERT INTO runs (runtime_id, started_at) VALUES (?, ?)", (runtime_id, started_at)
            ).lastrowid
            # What was live may have been given all there is.
            connection.execute("UPDATE cursors SET taken_to = ?, is_live = 0 WHERE is_live", (latest,))
        cursors = read_cursors(connection)
        return Opened(lock, connection, inodes_of(path), run or 0, latest, cursors)
    except BaseException as exc:
        if connection is not None:
            connection.close()
        lock.release()
        is_of_file = isinstance(exc, sqlite3.Error | JournalError | OSError | msgspec.MsgspecError)
        if is_of_file and not isinstance(exc, BrokerError):
            code = "DN703" if _is_damaged(exc) else "DN707"
            raise BrokerError(_why_not_opened(exc, path), code=code) from exc
        raise


def inodes_of(path: Path) -> tuple[int, int]:
    """Return what tells a file and its log from others of their names.

    Raises:
        OSError: one of them is not there.
    """
    return path.stat().st_ino, path.with_name(f"{path.name}-wal").stat().st_ino


def _check_place(path: Path) -> None:
    """Check that a file can be written in its directory, which is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BrokerError(
            f"the directory {path.parent} cannot be made: {exc.strerror}; name a file in another",
            code="DN707",
        ) from exc
    if path.is_dir():
        raise BrokerError(
            f"{path} is a directory; name a file in it, such as {path / 'events.sqlite'}", code="DN707"
        )
    if path.is_symlink():  # still, though links were followed
        raise BrokerError(f"{path} is a link that leads to itself; name another file", code="DN707")
    if path.exists() and not path.is_file():
        raise BrokerError(
            f"{path} is a device or a pipe, in which nothing can be kept; name a file", code="DN707"
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise BrokerError(f"{path} may not be written; make it writable, or name another file", code="DN707")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BrokerError(
            f"the directory {path.parent} may not be written, and {path.name} has its log there; "
            "make it writable, or name a file in another",
            code="DN707",
        )


def _latest_seq(connection: sqlite3.Connection) -> int:
    """Return the highest `seq`; the events of it may be gone, but those who have handled them know it."""
    highest = (
        "SELECT max(coalesce((SELECT max(id) FROM events), 0),"
        " coalesce((SELECT max(seq) FROM events WHERE only_for = ''), 0),"  # of journals; else it is the id
        " coalesce((SELECT max(max(handled_to, taken_to)) FROM cursors), 0))"
    )
    (latest,) = connection.execute(highest).fetchone()
    return int(latest)


def _is_damaged(exc: BaseException) -> bool:
    return isinstance(exc, JournalDamaged) or (isinstance(exc, sqlite3.Error) and is_damage(exc))


def _why_not_opened(exc: BaseException, path: Path) -> str:
    cause = exc if isinstance(exc, sqlite3.Error) else exc.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if _is_damaged(exc):
        why = str(exc).partition(" is damaged: ")[2].partition(";")[0] or str(exc)
        return (
            f"{path} is damaged: {why}; it is left as it is, for there may be accepted events in it: "
            "`sqlite3 FILE .recover` reads what can be read; move it away, or name another file"
        )
    if code in _LOCKED:
        return f"{path} is locked by another program; close it there, or name another file"
    if is_full(cause):
        return f"the disk of {path} is full ({cause}); make room, or name a file on another disk"
    if isinstance(exc, JournalError) and ";" in str(exc):
        return str(exc)
    return f"{path} cannot be opened: {cause or exc}; name another file"


def is_full(exc: BaseException | None) -> bool:
    """Return whether an error says that a disk has no room."""
    if isinstance(exc, sqlite3.Error):
        return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT)


def why_not_written(exc: Exception, path: Path) -> str:
    """Return why a group of events could not be written, and the way out."""
    if isinstance(exc, sqlite3.Error) and is_damage(exc):
        return (
            f"{path} is damaged ({exc}); nothing was published; stop the runtime, and see with "
            "`sqlite3 FILE .recover` what of it can be read: accepted events are in it"
        )
    if isinstance(exc, sqlite3.Error) and getattr(exc, "sqlite_errorcode", 0) & 0xFF in _LOCKED:
        return f"{path} is locked by another program; nothing was published; close it there, and try again"
    if is_full(exc):
        return f"the disk of {path} is full ({exc}); nothing was published; make room, and try again"
    return f"{path} cannot be written ({exc}); nothing was published; see to its disk, and try again"
