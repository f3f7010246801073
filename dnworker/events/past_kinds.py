"""`PastKinds`: which kinds a journal's file has, since when, and their events; the catalogue reads it."""

from __future__ import annotations

import sqlite3

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import JournalError
from dnworker.events.journal import JournalReader

MOST_KINDS = 10_000


class PastKinds(JournalReader):
    """Reads a journal by kinds, each by the index of these, however large the file is."""

    def kinds(self, most: int = MOST_KINDS) -> list[str]:
        """Return the kinds, sorted, the first so many.

        Raises:
            JournalError: the file cannot be read now.
        """
        found = list[str]()
        try:
            (kind,) = self._connection.execute("SELECT min(kind) FROM events").fetchone()
            while kind is not None and len(found) < most:
                found.append(str(kind))
                query = "SELECT min(kind) FROM events WHERE kind > ?"
                (kind,) = self._connection.execute(query, (kind,)).fetchone()
        except sqlite3.Error as exc:
            raise JournalError(f"journal {self._path} cannot be read: {exc}") from exc
        return found

    def ends_of(self, kind: str) -> tuple[EventEnvelope, EventEnvelope] | None:
        """Return the first and the last event of a kind that are kept; None where there is none."""
        first = self._event("id = (SELECT min(id) FROM events WHERE kind = :kind)", {"kind": kind})
        last = self._event("id = (SELECT max(id) FROM events WHERE kind = :kind)", {"kind": kind})
        return None if first is None or last is None else (first, last)

    def newest_of(self, kind: str, last: int, most_bytes: int) -> list[EventEnvelope]:
        """Return the newest events of a kind, oldest first; their JSON takes at most so many bytes."""
        sizes = self._newest(
            "events", "id, length(envelope)", "kind = :kind", {"kind": kind}, last, lambda row: row
        )
        found = list[EventEnvelope]()
        for number, size in sizes:
            most_bytes -= size
            if most_bytes < 0:
                break
            if (event := self._event("id = :id", {"id": number})) is not None:
                found.append(event)
        return found[::-1]
