"""`Past`: what happened, as `/api/history` tells it: from memory, and older events from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from dnworker.core.errors import Conflict, Invalid, JournalError, NotFound
from dnworker.core.text import closest, shorten
from dnworker.engine.event_rows import EventRow, Rows, past_row
from dnworker.events.journal import SHORTEST_ID
from dnworker.events.past_events import PastEvents, PastPage, PastTrace, Wanted, is_quiet_kind
from dnworker.events.trace import Trace

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.engine import Engine

T = TypeVar("T")

Source = Literal["memory", "file"]

OF_FILE = "file-"
"""What a cursor begins with that leads on in the file."""

LAST, LAST_FAILED = "last", "last-failed"
"""Names of the newest event, and of the newest that a handler failed on."""

_LONGEST_SHOWN = 80


class Page(msgspec.Struct, kw_only=True):
    """Events, the newest first."""

    events: list[EventRow]
    next: str | None
    """The `before` of the next page, which may have more though this one has few; None where that is all."""
    oldest: datetime | None
    """When the oldest event was published that memory has."""
    near: str | None = None
    """The kind or worker that was probably meant, where what was named is not known."""
    journal_failed: str | None = None
    """Why older events cannot be read from the journal's file."""


class Found(msgspec.Struct):
    """One event with what it caused, and where that was read."""

    trace: Trace
    source: Source
    cut: list[str] = []
    """What the trace lacks of what the event has caused, in words."""


class Past:
    """Reads what happened; the loop is held for what memory has only, and threads read the file.

    Args:
        engine: whose events.
        kinds: returns the kinds that some handler listens to, for what was probably meant.
    """

    def __init__(self, engine: Engine, kinds: Callable[[], set[str]]) -> None:
        self._engine = engine
        self._kinds = kinds

    async def page(self, wanted: Wanted, limit: int, *, before: str | None, after: int | None) -> Page:
        """Return a page of events.

        Args:
            wanted: which.
            limit: how many at most.
            before: the `next` of the page before; None begins with the newest.
            after: only those whose `seq` is higher; memory alone is read then.

        Raises:
            Invalid: `before` is not the `next` of a page.
        """
        below, row = _cursor(before)
        found, failure = list[EventRow](), None
        has_more = False
        if row is None:
            found, has_more = self._in_memory(wanted, limit, below, after)
        place = str(found[-1].seq) if has_more else None
        if not has_more and after is None:
            try:
                found, place = await self._on_in_file(found, wanted, limit, below, row)
            except JournalError as exc:
                failure = str(exc)
        oldest = self._engine.history.oldest()
        return Page(
            events=found,
            next=place,
            oldest=None if oldest is None else oldest.timestamp,
            near=None if found else self._meant(wanted),
            journal_failed=failure or self._broken_journal(),
        )

    async def find(self, name: str) -> Found:
        """Return an event by its id, the beginning of that, its `seq`, `#seq`, `last` or `last-failed`.

        Raises:
            NotFound: there is none; says how far back events are kept.
            Conflict: several ids begin so.
        """
        if name in (LAST, LAST_FAILED):
            wanted = Wanted(failed=name == LAST_FAILED)
            page = await self.page(wanted, 1, before=None, after=None)
            while not page.events and page.next is not None:
                page = await self.page(wanted, 1, before=page.next, after=None)
            if not page.events:
                what = "no handler has failed" if wanted.failed else "there is no event"
                raise NotFound(f"{what}: {await self._reach()}", code="DN209")
            name = page.events[0].id
        if (event := self._named(name)) is not None:
            return Found(Trace(event, self._engine.history), "memory")
        found = await self._in_file(lambda past: _traced(past, name))
        if found is None:
            raise NotFound(
                f"there is no event {shorten(name, _LONGEST_SHOWN)}: {await self._reach()}", code="DN209"
            )
        return Found(found.trace, "file", found.cut)

    def _named(self, name: str) -> EventEnvelope | None:
        """Return an event of memory by its name."""
        history = self._engine.history
        if (event := history.event(name)) is not None:
            return event
        seq = name.removeprefix("#")
        if seq.isascii() and seq.isdecimal():
            for one in history.newest_first():
                if str(one.seq) == seq:
                    return history.event(one.event_id)
        if len(name) < SHORTEST_ID:
            return None
        matching = [*islice((one for one in history.newest_first() if one.event_id.startswith(name)), 10)]
        if len(matching) > 1:
            listed = ", ".join(f"{one.event_id[: len(name) + 4]} ({one.kind})" for one in matching[:3])
            raise Conflict(
                f"{len(matching)} events begin with {name}: {listed}; give more digits", code="DN209"
            )
        return history.event(matching[0].event_id) if matching else None

    def _in_memory(
        self, wanted: Wanted, limit: int, below: int | None, after: int | None
    ) -> tuple[list[EventRow], bool]:
        """Return events of memory, and whether there may be more of them."""
        history, rows, found = self._engine.history, Rows(self._engine.history), list[EventRow]()
        for event in history.newest_first():
            if below is not None and event.seq >= below:
                continue
            if after is not None and event.seq <= after:
                break
            if not wanted.takes(event) or not rows.may_be(event, wanted):
                continue
            if len(found) == limit:
                return found, True
            found.append(rows.row(event))
        return found, False

    async def _on_in_file(
        self, found: list[EventRow], wanted: Wanted, limit: int, seq: int | None, row: int | None
    ) -> tuple[list[EventRow], str | None]:
        """Go on in the file below a row, or below the oldest event of memory."""
        if len(found) == limit:
            return found, None if self._engine.journal is None else str(found[-1].seq)
        history = self._engine.history
        oldest = history.oldest()
        first = None if oldest is None else (oldest.event_id, oldest.seq)

        def read(past: PastEvents) -> PastPage:
            below = row
            if below is None and seq is not None and (first is None or first[1] > seq):
                last = past.find(f"#{seq}")  # memory has dropped it since the page before
                below = None if last is None else past.number_of(last.event_id)
            if below is None and first is not None:
                below = past.number_of(first[0])
            return past.page(wanted, limit - len(found), below=below)

        page = await self._in_file(read)
        if page is None:
            return found, None
        below = None if page.below is None else f"{OF_FILE}{page.below}"
        return [*found, *map(past_row, page.events)], below

    async def _in_file(self, read: Callable[[PastEvents], T]) -> T | None:
        """Read the journal in a thread of its own context; None where there is no journal, or a broken one.

        Raises:
            JournalError: it cannot be read now.
        """
        journal = self._engine.journal
        if journal is None or journal.failure is not None:
            return None

        def run() -> T:
            journal.flush()
            with PastEvents(journal.path) as past:
                return read(past)

        # Not asyncio.to_thread: a trace is rebuilt there, and must not count as published by who asks.
        return await asyncio.get_running_loop().run_in_executor(None, run)

    def _broken_journal(self) -> str | None:
        journal = self._engine.journal
        return None if journal is None else journal.failure

    async def _reach(self) -> str:
        """Return how far back events are kept, in words."""
        first = self._engine.history.oldest()
        memory = "memory has none" if first is None else f"memory reaches back to {_said(first)}"
        if self._engine.journal is None:
            return f"{memory}; `dnworker serve --journal FILE` keeps older ones"
        try:
            oldest = await self._in_file(PastEvents.oldest)
        except JournalError as exc:
            return f"{memory}, and {exc}"
        file = "the journal has none" if oldest is None else f"the journal to {_said(oldest)}"
        return f"{memory}, {file}"

    def _meant(self, wanted: Wanted) -> str | None:
        """Return what was probably meant by a kind or a worker that is not known."""
        if wanted.worker is not None:
            workers = sorted(worker.qualified_name for worker in self._engine.workers())
            return None if wanted.worker in workers else closest(wanted.worker, workers, cutoff=0.5)
        known = self._kinds() | {one.kind for one in self._engine.history.newest_first()}
        known = {kind for kind in known if not is_quiet_kind(kind)}
        for kind in wanted.kinds:
            if not kind.endswith("*") and kind not in known:
                return closest(kind, sorted(known))
        return None


def _cursor(before: str | None) -> tuple[int | None, int | None]:
    """Return the seq below which memory is read, or the row below which the file is.

    Raises:
        Invalid: it is no cursor.
    """
    if before is None:
        return None, None
    number = before.removeprefix(OF_FILE).removeprefix("#")
    if not (number.isascii() and number.isdecimal() and len(number) <= 18):
        raise Invalid(
            f"before {shorten(before, _LONGEST_SHOWN)!r} is no place in the list; take the `next` of a page",
            code="DN912",
        )
    return (None, int(number)) if before.startswith(OF_FILE) else (int(number), None)


def _traced(past: PastEvents, name: str) -> PastTrace | None:
    is_seq = name.isascii() and name.isdecimal()
    event = past.find(f"#{name}") if is_seq else None
    event = event or past.find(name)
    return None if event is None else past.trace(event)


def _said(event: EventEnvelope) -> str:
    return f"#{event.seq} ({event.timestamp:%Y-%m-%d %H:%M:%S} UTC)"
