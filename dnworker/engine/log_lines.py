"""`lines_page`: the lines of workers, by worker and invocation; `/api/history` answers them.

The runtime's own log (`runtime_log.py`) keeps fewer records, those of the framework among them, and does not
know which invocation wrote a line.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from dnworker.core.logs import LogBook, LogLine
from dnworker.core.models import LogPage, LogRecord, iso
from dnworker.core.text import clip
from dnworker.engine.runtime_log import LEVELS, MESSAGE_LENGTH

_ALL = 1_000_000
_INFO = LEVELS["info"]


class LineRecord(LogRecord, kw_only=True):
    """One line of a worker."""

    stream: str
    """`stdout`, `stderr`, `log`, `display` or `runtime`."""
    invocation_id: str | None = None
    event_id: str | None = None


class LinesPage(LogPage, kw_only=True):
    """A page of lines, oldest first."""

    entries: list[LineRecord]  # type: ignore[assignment]  # each of them is a record, too
    missed: int = 0
    """Lines after the cursor, of any worker, that were dropped before they were asked for."""
    oldest: datetime | None = None
    """When the oldest line was written that is kept."""


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are asked for; nothing given means all of them."""

    workers: Collection[str] = ()
    invocation: str | None = None
    """The id of a run, or of an event whose runs are meant."""
    level: str = "trace"
    text: str = ""
    since: datetime | None = None

    def takes(self, line: LogLine) -> bool:
        """Return whether a line is wanted."""
        return (
            (not self.workers or line.worker in self.workers)
            and (self.invocation is None or self.invocation in (line.invocation_id, line.event_id))
            and LEVELS.get(line.level, _INFO) >= LEVELS[self.level]
            and (self.since is None or line.timestamp >= self.since)
            and self.text.lower() in line.text.lower()
        )


def lines_page(book: LogBook, instance: str, wanted: Lines, *, after: int | None, limit: int) -> LinesPage:
    """Return up to `limit` lines after a number; without one, the newest."""
    latest = book.end - 1
    is_ahead = after is not None and after > latest
    start = None if is_ahead else after
    first = book.first
    kept = book.tail(_ALL) if start is None else book.since(start, _ALL)
    seen = max(0, kept[-1].number if kept else latest)  # threads add lines meanwhile
    found = [line for line in kept if wanted.takes(line)]
    shown = found[-limit:] if start is None else found[:limit]
    is_cut = start is not None and len(found) > limit
    missed = 0 if start is None else max(0, first - 1 - start)
    return LinesPage(
        instance_id=instance,
        next_cursor=shown[-1].number if is_cut else seen,
        reset=is_ahead,
        gap=bool(missed),
        entries=[_record(line) for line in shown],
        missed=missed,
        oldest=kept[0].timestamp if kept and kept[0].number == first else None,
    )


def _record(line: LogLine) -> LineRecord:
    level = line.level if line.level in LEVELS else "info"
    return LineRecord(
        sequence=line.number,
        timestamp=iso(line.timestamp),
        level=level.upper(),
        level_no=LEVELS[level],
        source=line.worker,
        message=clip(line.text, MESSAGE_LENGTH),
        truncated=len(line.text) > MESSAGE_LENGTH,
        stream=line.source,
        invocation_id=line.invocation_id,
        event_id=line.event_id,
    )
