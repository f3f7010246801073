"""`KeptEnvelopes`: whole envelopes of a journal's file, the oldest first, page by page."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from dnworker.core.envelope import decode
from dnworker.core.errors import JournalError
from dnworker.events.damage import is_damage
from dnworker.events.journal_copies import COPIED
from dnworker.events.past_events import ROWS_LOOKED_AT, PastEvents, Wanted, sql_of

PAGE_BYTES = 4_000_000
"""Bytes of payloads that one page holds at most; a single event may be larger than what is left of them."""


class Slice(NamedTuple):
    """Rows that are read: those above `low`, up to `high`; None is up to what is newest when it is read."""

    low: int
    high: int | None
    is_short: bool = False
    """Whether more was asked for than is kept."""


class KeptPage(NamedTuple):
    """Envelopes as their JSON, the oldest first."""

    envelopes: list[msgspec.Raw]
    on: Slice | None
    """What is left to read; None where that is all that there is now."""
    is_short: bool
    """Whether some of what it is to have cannot be read, or is kept no more."""


def marked(
    frame: bytes, *, dropped: bool = False, caused: bool = False, via: Sequence[str] = ()
) -> msgspec.Raw:
    """Return the JSON of an envelope with what else is said of it; a mark that is not so is left out."""
    marks = (b',"payload_dropped":true' if dropped else b"") + (b',"caused":true' if caused else b"")
    marks += b',"via":' + msgspec.json.encode(via) if via else b""
    return msgspec.Raw(frame[:-1] + marks + b"}" if marks else frame)


class KeptEnvelopes(PastEvents):
    """Reads whole envelopes for those who copy or follow them."""

    def slice_of(
        self,
        wanted: Wanted,
        last: int | None,
        after: int | None,
        runtime_id: str | None,
        *,
        up_to: int | None = None,
    ) -> Slice:
        """Return the rows to begin with.

        Args:
            wanted: which events.
            last: only the newest so many of them.
            after: only those whose `seq` is higher.
            runtime_id: whose `seq` that is; None where all runs have one row of numbers.
            up_to: the highest `seq` that is wanted.

        Raises:
            JournalError: the file cannot be read now.
        """
        lowest = self._number("SELECT min(id) FROM events", {})
        low = 0 if lowest is None else lowest - 1
        if after is not None:
            low = max(low, self._row_before(after, runtime_id))
        if up_to is not None:
            return Slice(low, self._row_before(up_to, runtime_id))
        if last is None:
            return Slice(low, None)
        high = self._above_all("events") - 1
        where, values = sql_of(wanted)
        newest = (
            f"SELECT id FROM events WHERE id > :low AND id <= :high AND {where} ORDER BY id DESC LIMIT :last"  # noqa: S608
        )
        values |= {"low": low, "high": high, "last": last}
        first = self._number(f"SELECT min(id) FROM ({newest})", values)  # noqa: S608  our own
        found = self._number(f"SELECT count(*) FROM ({newest})", values) or 0  # noqa: S608  our own
        oldest = self.oldest() if after is None and low > 0 else None
        is_short = oldest is not None and wanted.is_short(found, last, oldest.timestamp)
        return Slice(high if first is None else first - 1, high, is_short)

    def reaches(self, after: int, runtime_id: str | None) -> bool:
        """Return whether the event of a `seq`, or the one behind it, is kept: nothing between is missing."""
        where, values = _of_run(runtime_id)
        lowest = self._number(f"SELECT min(seq) FROM events WHERE {where}", values)  # noqa: S608  our own
        return lowest is not None and lowest <= after + 1

    def page_of(self, wanted: Wanted, rows: Slice, limit: int, run: str | None) -> KeptPage:
        """Return up to `limit` envelopes of the rows, out of the next `ROWS_LOOKED_AT`.

        Args:
            wanted: which events.
            rows: what is left to read.
            limit: how many at most; fewer where they have more than `PAGE_BYTES`.
            run: only those of a runtime, by its id.

        Raises:
            JournalError: the file cannot be read now.
        """
        newest = self._above_all("events") - 1
        lowest = self._number("SELECT min(id) FROM events", {}) or 1
        is_gone = rows.low < lowest - 1 or rows.low > newest  # since, or gone and numbered anew
        if is_gone:
            rows = Slice(lowest - 1, None if rows.low > newest else rows.high)
        top = newest if rows.high is None else min(newest, rows.high)
        high = min(top, rows.low + ROWS_LOOKED_AT)
        where, values = sql_of(wanted)
        if run is not None:
            of_run, more = _of_run(run)
            where, values = f"{where} AND {of_run}", values | more
        found, low, has_damage = self._ascending(where, values, rows.low, high, limit)
        on = None if low >= top else Slice(low, rows.high)
        return KeptPage(found, on, rows.is_short or is_gone or has_damage)

    def _ascending(
        self, where: str, values: dict[str, Any], low: int, high: int, limit: int
    ) -> tuple[list[msgspec.Raw], int, bool]:
        """Return envelopes above a row, the row up to which that is all, and whether some are damaged."""
        found, size, step, has_damage = list[msgspec.Raw](), 0, 1, False
        query = (
            f"SELECT id, envelope, cause FROM events WHERE id > :low AND id <= :high AND {where} ORDER BY id"  # noqa: S608
        )
        while low < high:
            try:
                for number, text, cause in self._connection.execute(
                    query, {**values, "low": low, "high": high}
                ):
                    if found and size + len(text) > PAGE_BYTES:
                        return found, low, has_damage
                    low, step, before = number, 1, len(found)
                    with self._leaving_out("events", number):
                        decode(text)
                        found.append(marked(text.encode(), caused=cause is not None))
                        size += len(text)
                    has_damage = has_damage or len(found) == before
                    if len(found) == limit:
                        return found, low, has_damage
                return found, high, has_damage
            except sqlite3.Error as exc:
                if not is_damage(exc):
                    raise self._unreadable(exc) from exc
                self._warn(str(exc))
                low, step, has_damage = low + step, 2 * step, True  # on behind the page that is damaged
        return found, high, has_damage

    def _row_before(self, after: int, runtime_id: str | None) -> int:
        """Return the row behind which all events with a higher `seq` are."""
        where, values = _of_run(runtime_id)
        query = f"SELECT min(id) FROM events WHERE seq > :after AND {where}"  # noqa: S608  our own
        first = self._number(query, {"after": after, **values})
        return self._above_all("events") - 1 if first is None else first - 1

    def _number(self, query: str, values: dict[str, Any]) -> int | None:
        try:
            (number,) = self._connection.execute(query, values).fetchone()
        except sqlite3.Error as exc:
            raise self._unreadable(exc) from exc
        return None if number is None else int(number)

    def _unreadable(self, exc: sqlite3.Error) -> JournalError:
        return JournalError(f"journal {self._path} cannot be read: {exc}")


def _of_run(runtime_id: str | None) -> tuple[str, dict[str, Any]]:
    """Return the SQL for the rows of a runtime: of a journal's rows, which have an index by `seq`."""
    if runtime_id is None:
        return "1", {}
    own = f"runtime_id = :runtime AND started_at NOT LIKE '{COPIED}%'"
    of_it = f"run = (SELECT max(id) FROM runs WHERE {own})"  # noqa: S608  our own
    return f"only_for = '' AND {of_it}", {"runtime": runtime_id}
