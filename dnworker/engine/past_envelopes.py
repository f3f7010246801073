"""`PastEnvelopes`: whole events for those who copy or follow them, from the journal, else from memory."""

from __future__ import annotations

import asyncio
import re
from hashlib import blake2s
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from dnworker.core.envelope import EventEnvelope, encode, has_payload
from dnworker.core.errors import Conflict, Invalid, JournalError
from dnworker.core.text import shorten
from dnworker.events.kept_envelopes import PAGE_BYTES, KeptEnvelopes, KeptPage, Slice, marked

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.events.brokers.event_journal import EventJournal
    from dnworker.events.past_events import Wanted

_CURSOR = re.compile(r"(seq|row|own)(\d{1,18})(?:-(\d{1,18}))?@([0-9a-f]{8})")
_LONGEST_SHOWN = 80


class KeptEnvelope(EventEnvelope, kw_only=True, frozen=True, gc=False):
    """An event as the wire has it, with a mark where its payload is not kept any more."""

    payload_dropped: bool = False
    caused: bool = False
    """Whether a handler has published it: who fires events again fires those above it."""
    via: list[str] = []
    """The ids of the runtimes by which a copy of an event has come."""


class EnvelopesPage(msgspec.Struct, kw_only=True):
    """Whole events, the oldest first."""

    runtime_id: str
    """Of the runtime that answers: another one numbers its events anew, unless it is durable."""
    envelopes: list[KeptEnvelope]
    next: str | None
    """The `cursor` of the next page, which may have more though this one has few; None where that is all."""
    latest_seq: int
    """The `seq` of the newest event that there is, whether it is among those asked for or not."""
    gap: bool
    """Whether events that were asked for are kept no more, or a payload of these is not."""
    journal_failed: str | None = None
    """Why the journal's file cannot be read; the events are those of memory then."""


class _Place(NamedTuple):
    """Where a page begins, and the last that is wanted: a `seq`, or a row of the file, of this run or any."""

    of: Literal["seq", "row", "own"]
    low: int
    high: int | None


class PastEnvelopes:
    """Reads whole events; the loop is held for what memory has only, and a thread reads the file."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_of_broker = engine.bus.broker.journal is not None

    async def page(
        self, wanted: Wanted, limit: int, *, last: int | None, after: int | None, cursor: str | None
    ) -> EnvelopesPage:
        """Return a page of events.

        Args:
            wanted: which.
            limit: how many at most; fewer where they are large.
            last: only the newest so many of what is wanted; they are fixed by the first page.
            after: only those whose `seq` is higher.
            cursor: the `next` of the page before; `last` and `after` are of no matter then.

        Raises:
            Invalid: `cursor` is not the `next` of a page.
            Conflict: it is of a runtime that was here before, or the file cannot be read any more.
        """
        place = None if cursor is None else self._place(cursor)
        if place is not None and place.of == "seq":
            after = place.low
        is_in_rows = place is not None and place.of != "seq"
        high = None if place is None else place.high
        if after is not None and not is_in_rows and self._reaches(after):
            page = self._in_memory(wanted, limit, last, after, high)
            if not page.gap:
                return page
        failure = None
        if (journal := self._engine.journal) is not None and (failure := journal.failure) is None:
            try:
                return await self._in_file(journal, wanted, limit, last, after, place)
            except JournalError as exc:
                failure = str(exc)
        if is_in_rows:
            raise Conflict(
                f"{failure or 'there is no journal any more'}; begin without a cursor", code="DN224"
            )
        page = self._in_memory(wanted, limit, last, after, high)
        page.journal_failed, page.gap = failure, page.gap or failure is not None
        return page

    # -- memory ----------------------------------------------------------------------------------------

    def _reaches(self, after: int) -> bool:
        """Return whether memory has all events after a `seq`."""
        history = self._engine.history
        if (oldest := history.oldest()) is None:
            return after >= self._engine.bus.latest_seq
        able = self._engine.bus.broker.capabilities
        if able.numbers_events or able.survives_kill:  # numbers go on where those of an earlier run ended
            return after >= oldest.seq - 1
        return not history.dropped.events or after >= oldest.seq - 1

    def _in_memory(
        self, wanted: Wanted, limit: int, last: int | None, after: int | None, high: int | None
    ) -> EnvelopesPage:
        newest = self._engine.history.newest_first()
        low = -1 if after is None else after
        found = [
            event
            for event in takewhile(lambda event: event.seq > low, newest)
            if (high is None or event.seq <= high)
            and wanted.takes(event)
            and (after is None or not self._is_copy(event))
        ][:last]
        if last is not None:
            high = found[0].seq if found else low
        found.reverse()
        given, gap = list[msgspec.Raw](), after is not None and not self._reaches(after)
        size = 0
        for event in found[:limit]:
            frame, is_kept = encode(event), has_payload(event)
            if given and size + len(frame) > PAGE_BYTES:
                break
            via = self._engine.history.causes.via(event.event_id)
            given.append(marked(frame, dropped=not is_kept, caused=self._is_caused(event), via=via))
            gap, size = gap or not is_kept, size + len(frame)
        oldest = self._engine.history.oldest()
        if after is None and oldest is not None and self._engine.history.dropped.events:
            gap = gap or wanted.is_short(len(found), last, oldest.timestamp)
        has_more = len(given) < len(found)
        return self._made(given, _Place("seq", found[len(given) - 1].seq, high) if has_more else None, gap)

    def _is_copy(self, event: EventEnvelope) -> bool:
        """Return whether an event was not published here; who follows this runtime does not get it."""
        source = self._engine.history.causes.source(event.event_id)
        return source is not None and source.is_other_runtime

    def _is_caused(self, event: EventEnvelope) -> bool:
        causes = self._engine.history.causes
        source = causes.source(event.event_id)
        return causes.above(event.event_id) is not None or (source is not None and source.cause is not None)

    # -- the file --------------------------------------------------------------------------------------

    async def _in_file(
        self,
        journal: EventJournal,
        wanted: Wanted,
        limit: int,
        last: int | None,
        after: int | None,
        place: _Place | None,
    ) -> EnvelopesPage:
        run = None if self._is_of_broker else self._engine.runtime_id
        is_own = run is not None and (after is not None if place is None else place.of != "row")
        latest = self._engine.bus.latest_seq

        def read() -> tuple[KeptPage, bool]:
            journal.flush()
            with KeptEnvelopes(journal.path) as past:
                if place is None or place.of == "seq":
                    rows = past.slice_of(
                        wanted, last, after, run, up_to=None if place is None else place.high
                    )
                else:
                    rows = Slice(place.low, place.high)
                reaches = after is None or after >= latest or past.reaches(after, run)
                return past.page_of(wanted, rows, limit, run if is_own else None), reaches

        # Not asyncio.to_thread: what a thread reads must not count as done by the handler that asks.
        kept, reaches = await asyncio.get_running_loop().run_in_executor(None, read)
        on = None if kept.on is None else _Place("own" if is_own else "row", kept.on.low, kept.on.high)
        is_short = after is not None and (not reaches or bool(journal.lost))
        return self._made(kept.envelopes, on, is_short or kept.is_short)

    # -- cursors ---------------------------------------------------------------------------------------

    def _made(self, envelopes: list[msgspec.Raw], on: _Place | None, gap: bool) -> EnvelopesPage:
        frames: Any = envelopes
        return EnvelopesPage(
            runtime_id=self._engine.runtime_id,
            envelopes=frames,
            next=None if on is None else self._cursor(on),
            latest_seq=self._engine.bus.latest_seq,
            gap=gap,
        )

    def _cursor(self, place: _Place) -> str:
        high = "" if place.high is None else f"-{place.high}"
        return f"{place.of}{place.low}{high}@{self._mark()}"

    def _mark(self) -> str:
        return blake2s(self._engine.runtime_id.encode()).hexdigest()[:8]

    def _place(self, cursor: str) -> _Place:
        if (found := _CURSOR.fullmatch(cursor)) is None:
            raise Invalid(
                f"cursor {shorten(cursor, _LONGEST_SHOWN)!r} is no place in the list; "
                "take the `next` of a page",
                code="DN912",
            )
        if found[4] != self._mark():
            raise Conflict(
                "the runtime was restarted since the page before; begin without a cursor", code="DN224"
            )
        of: Any = found[1]
        return _Place(of, int(found[2]), None if found[3] is None else int(found[3]))
