"""Opens the journal's file, to write it or to read it, and says of a file that is no journal why not."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from dnworker.core.errors import JournalError
from dnworker.events.damage import JournalDamaged, is_damage, is_of_others
from dnworker.events.journal_schema import COLUMNS, VERSION, make, migrate

BUSY_SECONDS = 5.0
"""Seconds to wait for another process that writes."""

_NO_FILES_BESIDE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
"""What SQLite raises where it can make no files beside the one that it is to read."""


def open_journal(path: Path, *, is_writer: bool = True) -> sqlite3.Connection:
    """Open a journal for reading and writing, making it if it is not there.

    A writer brings one of an earlier version to the present format.

    Raises:
        JournalDamaged: it cannot be read any more.
        JournalError: it cannot be opened, is no journal, or was written by a later version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_file(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as exc:
        raise JournalError(f"journal {path} cannot be opened: {exc}") from exc
    try:
        if _check(connection, path):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            make(connection)
        if is_writer:
            migrate(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException as exc:
        connection.close()
        if isinstance(exc, sqlite3.Error):
            raise _why(exc, path, may_be_open=not is_writer) from exc
        raise
    return connection


def _make_file(path: Path) -> None:
    """Make a file that is not there; see whether it may be written if it is.

    One that is there is not opened: its close would take away the locks that SQLite has on
    it in this process.
    """
    with suppress(FileExistsError):
        os.close(
            os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        )  # is for its owner
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a journal, which may be in a place that can only be read.

    Raises:
        JournalError: as of `open_journal`.
    """
    try:
        return open_journal(path, is_writer=False)
    except JournalDamaged:
        raise
    except JournalError:
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            raise
        return open_read_only(path)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a journal of any format, and leave it as it is.

    Raises:
        JournalDamaged, JournalError: as of `open_journal`; or it is empty.
    """
    # With what the writer left in its log, if SQLite may make its files beside it; else the file alone.
    for mode in ("mode=ro", "immutable=1"):
        connection = None
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?{mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            if _check(connection, path):
                raise JournalError(
                    f"{path} is empty: nothing was kept in it yet; name another file", code="DN705"
                )
            return connection
        except BaseException as exc:
            if connection is not None:
                connection.close()
            if not isinstance(exc, sqlite3.Error):
                raise
            problem = exc
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF not in _NO_FILES_BESIDE:
                break
    raise _why(problem, path, may_be_open=True) from problem


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Check that a database is a journal; returns whether it is empty, and has to be made one.

    Raises:
        JournalDamaged, JournalError, sqlite3.Error: as of `open_journal`.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(
            f"journal {path} was written by a later version of dnworker: it is of format {version}, "
            f"and this one knows {VERSION}; update, or name another file",
            code="DN704",
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version == 0 and not tables:
        return True
    if version == 0 or (tables and not tables & COLUMNS[VERSION].keys()):
        raise JournalError(f"{path} is a database of something else; name another file", code="DN705")
    for table, columns in COLUMNS[version].items():
        try:
            connection.execute(f"SELECT {columns} FROM {table} LIMIT 0").close()  # noqa: S608  our own names
        except sqlite3.OperationalError as exc:
            if is_damage(exc) or getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
                raise
            raise JournalDamaged(f"journal {path} is damaged: {exc}") from exc
    return False


def _why(exc: sqlite3.Error, path: Path, *, may_be_open: bool) -> JournalError:
    """Return what an error means that SQLite raised when a journal was opened."""
    is_database = getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_NOTADB
    if is_damage(exc) and (is_database or not is_of_others(path, may_be_open=may_be_open)):
        return JournalDamaged(f"journal {path} is damaged: {exc}; name another file or move it away")
    if is_damage(exc):
        return JournalError(f"{path} is no journal: {exc}; name another file or move it away", code="DN705")
    return JournalError(f"journal {path} cannot be opened: {exc}")
