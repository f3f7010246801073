"""`FileReader`: reads a broker's file on a connection and a thread of its own: it waits for no fsync."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, decode_stored
from dnworker.core.errors import BrokerError, Invalid, JournalError
from dnworker.core.threads import untraced
from dnworker.events.brokers.base import CursorInfo
from dnworker.events.brokers.kept.pages import Page, Stored
from dnworker.events.brokers.sqlite.cursors import read_cursors
from dnworker.events.journal_file import BUSY_SECONDS, open_read_only
from dnworker.events.journal_schema import VERSION, version_of

log = logging.getLogger("dnworker.broker")

T = TypeVar("T")


class FileReader:
    """Runs queries, one after the other, off the loop, while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Begin; the file is opened with the first query."""
        self._thread = ThreadPoolExecutor(1, "dnworker broker reads", lambda: _be_untraced())

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a query finds.

        Raises:
            BrokerError: the file cannot be read, or is closed.
        """
        if self._thread is None:
            raise BrokerError(f"{self._path} is closed; start the runtime first", code="DN807")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, query)

    def _run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
                )
            return query(self._connection)
        except sqlite3.Error as exc:
            raise BrokerError(f"{self._path} cannot be read ({exc}); see to its disk", code="DN702") from exc

    async def close(self) -> None:
        """End; does nothing where it is not open."""
        if self._connection is not None:
            await self.run(lambda connection: connection.close())
            self._connection = None
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)


def _be_untraced() -> None:
    untraced(threading.current_thread())


_EVENT = "SELECT id, envelope, size, only_for FROM events"
_FOR_SOMEBODY = "only_for IS NOT ''"
_OF_KIND = (
    f"SELECT id FROM events WHERE kind = ? AND id > ? AND id <= ? AND {_FOR_SOMEBODY} ORDER BY id LIMIT ?"  # noqa: S608
)
_OF_IDS = f"{_EVENT} WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608  our own names
_OF_ALL = f"{_EVENT} WHERE id > ? AND id <= ? AND {_FOR_SOMEBODY} ORDER BY id LIMIT ?"


def page(
    connection: sqlite3.Connection,
    kinds: dict[str | None, int],
    after: int,
    upto: int,
    most: int,
    max_bytes: int,
) -> Page:
    """Return the next events of some kinds after a `seq` up to another one, of each since its own."""
    if None in kinds:
        rows = connection.execute(_OF_ALL, (max(after, min(kinds.values())), upto, most))
    else:
        each = (
            connection.execute(_OF_KIND, (kind, max(after, since), upto, most))
            for kind, since in kinds.items()
        )
        ids = sorted(number for (number,) in chain.from_iterable(each))[:most]
        rows = connection.execute(_OF_IDS, (msgspec.json.encode(ids).decode(),))
        if len(ids) == most:  # some of which may be dropped by the time that their rows are read
            upto = ids[-1]
    taken: list[tuple[int, str, int, str | None]] = []
    used, reached = 0, upto
    for row in rows:
        taken.append(row)
        used += row[2]
        if len(taken) == most or used >= max_bytes:
            rows.close()
            reached = row[0]
            break
    return Page([*_stored(taken)], reached)


def by_seq(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[Stored]:
    """Return those events of some numbers that are kept, in the order of the numbers."""
    rows = connection.execute(_OF_IDS, (msgspec.json.encode(numbers).decode(),))
    found = {stored.envelope.seq: stored for stored in _stored(rows)}
    return [found[number] for number in numbers if number in found]


def replay(
    connection: sqlite3.Connection, session_id: str | None, after: int, limit: int
) -> list[EventEnvelope]:
    """Return the events of a session, or of the runtime's scope, after a `seq`."""
    # `IS ?` would be neither: the index of sessions is of those that are not null.
    where, of = ("IS NULL", ()) if session_id is None else ("= ?", (session_id,))
    found = connection.execute(
        f"{_EVENT} WHERE session_id {where} AND id > ? ORDER BY id LIMIT ?", (*of, after, limit)
    )
    return [replace(stored.envelope, replay=True) for stored in _stored(found)]


def counted(connection: sqlite3.Connection, info: CursorInfo, kinds: dict[str | None, int]) -> CursorInfo:
    """Return how far a worker is, with what waits for it after `handled_to` of kinds since their `seq`."""
    count = "SELECT count(*) FROM events WHERE id > ? AND (only_for IS NULL OR only_for = ?)"
    total = info.pending
    for kind, since in kinds.items():
        of_kind, values = ("", ()) if kind is None else (" AND kind = ?", (kind,))
        query = f"{count}{of_kind}"
        (found,) = connection.execute(query, (max(info.handled_to, since), info.worker, *values)).fetchone()
        total += found
    return replace(info, pending=total)


def cursors_of(path: Path) -> list[CursorInfo]:
    """Return how far the workers are that a file knows, and leave the file as it is.

    Raises:
        JournalError: it cannot be read, or there are no workers in it; says why.
    """
    with closing(open_read_only(path)) as connection:
        if (version := version_of(connection)) < VERSION:
            raise JournalError(
                f"{path} is a journal of format {version}, which knows of no worker; "
                "a durable runtime brings it to the present format",
                code="DN704",
            )
        try:
            cursors = sorted(read_cursors(connection).items())
            return [counted(connection, cursor.info(), cursor.kinds) for _, cursor in cursors]
        except sqlite3.Error as exc:
            raise JournalError(f"{path} cannot be read ({exc}); see to its disk") from exc


def _stored(rows: Iterable[tuple[int, str, int, str | None]]) -> Iterator[Stored]:
    """Yield events; those of a journal have another `seq` than their number in the file."""
    for number, text, size, only in rows:
        try:
            envelope = decode_stored(text)
        except Invalid as exc:
            log.error("event %d of the file cannot be read, and is left out: %s", number, exc)
            continue
        if envelope.seq != number:
            envelope = replace(envelope, seq=number)
        yield Stored(envelope, size or len(text), only)
