"""`EventCatalogue`: every kind of event with who publishes and hears it, its schema, examples and drift.

The API, the notebook and the command line ask it. It takes what it needs on the loop, a little at a time, and
does the work on a thread: parsing payloads, reading the journal, and what types of users say of themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dnworker.catalogue.entries import KindEntry, KindList, KindRow, Moment, Publisher
from dnworker.catalogue.examples import example_of
from dnworker.catalogue.fields import Recorded
from dnworker.catalogue.making import Gathered, ListenerFacts, fill
from dnworker.catalogue.on_disk import declared_of_file
from dnworker.core.declared import DeclaredPayload, declared_by, describe_declared
from dnworker.core.envelope import EventEnvelope, bytes_of_payload, has_payload, payload_json
from dnworker.core.errors import JournalError, NotFound
from dnworker.core.event_kinds import KINDS
from dnworker.core.text import closest, shorten
from dnworker.engine.flow import RECENT
from dnworker.engine.suggest import Suggestions
from dnworker.events.past_kinds import PastKinds
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
    from dnworker.engine.engine import Engine
    from dnworker.flow.graph import Facts
    from dnworker.workers.managed import ManagedWorker

SAMPLE = 500
"""Recorded payloads of a kind that are looked at, the newest."""

SAMPLE_BYTES = 8_000_000
"""Bytes of JSON that those take at most."""

AT_ONCE = 500
"""Events, handlers and kinds that are looked at before the loop turns."""

KEPT_AS = "catalogue"
GATHERED_KEPT = 10.0
"""Seconds for which a list goes on with what its first page has gathered."""

PAGE_SAMPLE, PAGE_BYTES = 100, 500_000
"""The same for each kind of a page of whole entries."""

MOST_KINDS = 10_000
"""Kinds that are listed; further ones are not, and a note says so."""

_Raw = tuple[int, str, datetime, bytes]
"""A recorded event: seq, id, time, and the JSON of its payload."""


class _Named(NamedTuple):
    """A handler that listens: of a function that can be asked for its annotation, or of a report."""

    worker: str
    kind: str
    handler: str
    function: Any = None
    declared: DeclaredPayload | None = None


class _Kind:
    """What is gathered of a kind for its row; there may be thousands."""

    __slots__ = ("first", "kept", "last", "listeners", "publishers")

    def __init__(self) -> None:
        self.publishers: dict[str, Publisher] = {}
        self.listeners: dict[str, list[_Named]] = {}
        self.kept = 0
        self.first: EventEnvelope | None = None
        self.last: EventEnvelope | None = None

    def publisher(self, name: str) -> Publisher:
        if name not in self.publishers:
            self.publishers[name] = Publisher(name=name)
        return self.publishers[name]

    def note(self, first: EventEnvelope, last: EventEnvelope) -> None:
        """Note the ends of a range of events."""
        if self.first is None or first.timestamp < self.first.timestamp:
            self.first = first
        if self.last is None or last.timestamp > self.last.timestamp:
            self.last = last


class _Gathered(NamedTuple):
    """What was gathered for the first page of a list, and when, in seconds."""

    at: float
    kinds: dict[str, _Kind]
    notes: list[str]


class EventCatalogue:
    """Tells of all kinds of one engine's events. Call it on its loop.

    Args:
        engine: whose kinds.
        suggestions: has payloads to fire; by default those that the engine's own workers let guess.
    """

    def __init__(self, engine: Engine, suggestions: Suggestions | None = None) -> None:
        self._engine = engine
        self._suggestions = suggestions or Suggestions(engine)

    async def rows(
        self,
        *,
        limit: int = 200,
        after: str | None = None,
        prefix: str = "",
        text: str = "",
        whole: bool = False,
    ) -> KindList:
        """Return a page of the list, in the order of the kinds' names.

        Args:
            limit: how many at most.
            after: the kind that the page before ended with.
            prefix: only kinds that begin so.
            text: only kinds that have this in them, in upper or lower case.
            whole: return all that is known of each, looking at fewer payloads.
        """
        kinds, notes = await self._gathered(goes_on=after is not None)
        folded = text.casefold()
        names = sorted(name for name in kinds if name.startswith(prefix) and folded in name.casefold())
        if len(names) > MOST_KINDS:
            notes.append(f"{len(names) - MOST_KINDS:,} kinds are left out: {MOST_KINDS:,} are listed at most")
            del names[MOST_KINDS:]
        wanted = [name for name in names if after is None or name > after]
        page = {name: kinds[name] for name in wanted[:limit]}
        await self._note_ends(page, notes)
        rows = await self._engine.side_threads.run(_rows, page)
        entries = await self._entries(page, [], PAGE_SAMPLE, PAGE_BYTES) if whole else []
        following = rows[-1].kind if len(wanted) > limit else None
        return KindList(kinds=rows, entries=entries, total=len(names), next=following, notes=notes)

    async def entry(self, kind: str) -> KindEntry:
        """Return all that is known of a kind.

        Raises:
            NotFound: nothing is known of it; names the nearest.
        """
        kinds, notes = await self._gathered()
        found = kinds.setdefault(kind, _Kind())
        await self._note_ends({kind: found}, notes)
        if not (found.kept or found.publishers or found.listeners or found.last or kind in KINDS):
            near = closest(kind, sorted(kinds.keys() - {kind})[:MOST_KINDS], cutoff=0.5)
            meant = f"; did you mean {near}?" if near is not None else ""
            raise NotFound(f"nobody publishes or hears {shorten(kind, 80)!r}{meant}", code="DN227")
        (entry,) = await self._entries({kind: found}, notes, SAMPLE, SAMPLE_BYTES)
        return entry

    async def _entries(
        self, kinds: dict[str, _Kind], notes: list[str], sample: int, most_bytes: int
    ) -> list[KindEntry]:
        """Return entries of kinds; the loop turns between them."""
        raw = self._in_memory_of(kinds, sample, most_bytes)
        entries = []
        for kind, found in kinds.items():
            suggestion = await self._suggestions.suggest(kind)
            gathered = Gathered(
                row=_row(kind, found),
                publishers=[*found.publishers.values()],
                reads=self._suggestions.reads(kind),
                suggestion=example_of(suggestion.payload),
                suggestion_source=suggestion.source,
                now=self._engine.clock.now(),
                notes=notes,
            )
            events = await self._with_journal(kind, raw[kind], sample, most_bytes)
            listeners = [one for handlers in found.listeners.values() for one in handlers]
            files = {
                name: self._file_of(name)
                for name, known in found.listeners.items()
                if all(one.function is None and one.declared is None for one in known)
            }
            work = _filled, gathered, listeners, files, events
            entries.append(await self._engine.side_threads.run(*work))
        return entries

    def _file_of(self, worker: str) -> tuple[CapabilityManifest, WorkerDefinition] | None:
        """Return what names the file of a worker whose process reports no types."""
        for one in self._engine.workers():
            if one.qualified_name == worker:
                return one.home.manifest, one.definition
        return None

    # -- gathering -------------------------------------------------------------------------------------

    async def _gathered(self, *, goes_on: bool = False) -> tuple[dict[str, _Kind], list[str]]:
        """Return all kinds with who publishes and hears them, as far as memory and sources say."""
        kept: _Gathered | None = self._engine.between_pages.get(KEPT_AS)
        if goes_on and kept is not None and time.monotonic() - kept.at < GATHERED_KEPT:
            return kept.kinds, [*kept.notes]
        kinds: dict[str, _Kind] = {name: _Kind() for name in KINDS}
        facts = await self._engine.flow.facts(RECENT)
        await _turning(_note_facts(kinds, facts))
        await _turning(self._note_handlers(kinds))
        await _turning(self._note_memory(kinds))
        notes = list[str]()
        if self._engine.journal is not None:
            try:
                for kind in await self._in_journal(PastKinds.kinds):
                    kinds.setdefault(kind, _Kind())
            except JournalError as exc:
                notes.append(f"kinds of the journal are not looked at: {exc}")
        self._engine.between_pages[KEPT_AS] = _Gathered(time.monotonic(), kinds, [*notes])
        return kinds, notes

    def _note_handlers(self, kinds: dict[str, _Kind]) -> Iterator[None]:
        """Note which handlers listen to which kind."""
        for worker in self._engine.workers():
            for one in _handlers(worker):
                kinds.setdefault(one.kind, _Kind()).listeners.setdefault(one.worker, []).append(one)
                yield
        for kind in self._suggestions.kinds_heard():
            kinds.setdefault(kind, _Kind())

    def _note_memory(self, kinds: dict[str, _Kind]) -> Iterator[None]:
        """Note how many events of each kind memory has, and the first and last."""
        events = [*self._engine.history.newest_first()]  # which changes while the loop turns
        for event in events:
            found = kinds.setdefault(event.kind, _Kind())
            found.kept += 1
            found.note(event, event)
            yield

    async def _note_ends(self, kinds: dict[str, _Kind], notes: list[str]) -> None:
        """Let the journal say when kinds were seen first and last."""
        if self._engine.journal is None:
            return

        def read(past: PastKinds) -> dict[str, tuple[EventEnvelope, EventEnvelope]]:
            found = ((kind, past.ends_of(kind)) for kind in kinds)
            return {kind: ends for kind, ends in found if ends is not None}

        try:
            for kind, ends in (await self._in_journal(read)).items():
                kinds[kind].note(*ends)
        except JournalError as exc:
            notes.append(f"when kinds were seen first is not known: {exc}")

    async def _in_journal(self, read: Callable[[PastKinds], Any]) -> Any:
        """Read the journal on a thread.

        Raises:
            JournalError: it cannot be read now.
        """
        journal = self._engine.journal
        if journal is None:
            return {}
        if journal.failure is not None:
            raise JournalError(journal.failure)

        def run() -> Any:
            journal.flush()
            with PastKinds(journal.path) as past:
                return read(past)

        return await self._engine.side_threads.run(run)

    def _in_memory_of(self, kinds: Collection[str], sample: int, most_bytes: int) -> dict[str, list[_Raw]]:
        """Return the newest events of some kinds that memory has, each the newest first."""
        found: dict[str, list[_Raw]] = {kind: [] for kind in kinds}
        room = dict.fromkeys(kinds, most_bytes)
        for event in self._engine.history.newest_first():
            kind = event.kind
            if kind not in room or not has_payload(event):
                continue
            room[kind] -= bytes_of_payload(event)
            if room[kind] < 0 or len(found[kind]) == sample:
                del room[kind]  # of this kind, that is enough
                continue
            found[kind].append(_raw(event))
        return found

    async def _with_journal(self, kind: str, found: list[_Raw], sample: int, most_bytes: int) -> list[_Raw]:
        """Return the newest events of a kind, oldest first: of memory, and more of the journal."""
        room = most_bytes - sum(len(one[3]) for one in found)
        if len(found) < sample and room > 0 and self._engine.journal is not None:
            seen = {one[1] for one in found}
            with contextlib.suppress(JournalError):  # a note of `_gathered` says so
                past = await self._in_journal(lambda past: past.newest_of(kind, sample, room))
                found = [*found, *(_raw(event) for event in past if event.event_id not in seen)]
        return sorted(found, key=lambda one: (one[2], one[0]))[-sample:]


def _filled(
    gathered: Gathered,
    listeners: list[_Named],
    files: dict[str, tuple[CapabilityManifest, WorkerDefinition] | None],
    raw: list[_Raw],
) -> KindEntry:
    """Do the work; on a thread."""
    kind = gathered.row.kind
    asked = {(one.worker, one.handler): _listener(one) for one in listeners}
    for worker, file in files.items():
        for declared in declared_of_file(*file) if file is not None else ():
            if declared.kind == kind:
                asked[worker, declared.handler] = ListenerFacts(worker, declared.handler, declared)
    events = [Recorded(*one) for one in _parsed(raw)]
    return fill(gathered, [*asked.values()], events)


async def _turning(steps: Iterator[None]) -> None:
    """Take steps, and let the loop turn between some of them."""
    for number, _ in enumerate(steps, 1):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


def _note_facts(kinds: dict[str, _Kind], facts: Facts) -> Iterator[None]:
    """Note who publishes and who hears what, as the flow meter knows it."""
    for source, published in facts.sources.items():
        for kind, count in published.items():
            kinds.setdefault(kind, _Kind()).publisher(source).lately += count
            yield
    for worker in facts.workers:
        for kind, count in worker.published.items():
            kinds.setdefault(kind, _Kind()).publisher(worker.name).lately += count
            yield
        for kind in worker.writes:
            if "*" not in kind:
                kinds.setdefault(kind, _Kind()).publisher(worker.name).is_written = True
        for kind in worker.hears:
            kinds.setdefault(kind, _Kind()).listeners.setdefault(worker.name, [])
            yield


def _handlers(worker: ManagedWorker) -> Iterable[_Named]:
    """Return the event handlers of a worker: its functions, or what its process has reported."""
    name = worker.qualified_name
    registry = worker.worker if isinstance(worker, InProcessWorker) else None
    if registry is not None:
        for key, function, _ in handlers_of(registry):
            if key.decorator == "on_event":
                yield _Named(name, key.trigger, key.name, function)
        return
    reported = {(one.kind, one.handler): one for one in worker.declared}
    for key in [*worker.stats]:
        if key.decorator == "on_event":
            yield _Named(name, key.trigger, key.name, declared=reported.get((key.trigger, key.name)))


def _listener(one: _Named) -> ListenerFacts:
    """Return what a handler declares; asks the type, whose code is the user's."""
    declared = one.declared
    if one.function is not None and (found := declared_by(one.function)) is not None:
        declared = describe_declared(one.kind, one.handler, found)
    return ListenerFacts(one.worker, one.handler, declared)


def _rows(kinds: dict[str, _Kind]) -> list[KindRow]:
    return [_row(kind, found) for kind, found in kinds.items()]


def _row(kind: str, found: _Kind) -> KindRow:
    of_runtime = KINDS.get(kind)
    types = dict[str, None]()
    for handlers in found.listeners.values():
        for one in handlers:
            declared = one.declared.type if one.declared is not None else ""
            if one.function is not None and (asked := declared_by(one.function)) is not None:
                declared = asked.name
            if declared:
                types[declared] = None
    return KindRow(
        kind=kind,
        is_runtimes=of_runtime is not None,
        when="" if of_runtime is None else of_runtime.when,
        publishers=sorted(found.publishers),
        listeners=sorted(found.listeners),
        types=[*types],
        kept=found.kept,
        first_seen=_moment(found.first),
        last_seen=_moment(found.last),
    )


def _moment(event: EventEnvelope | None) -> Moment | None:
    return None if event is None else Moment(event.seq, event.event_id, event.timestamp)


def _raw(event: EventEnvelope) -> _Raw:
    return event.seq, event.event_id, event.timestamp, payload_json(event)


def _parsed(
    raw: Iterable[_Raw],
) -> Iterable[tuple[int, str, datetime, dict[str, Any]]]:
    for seq, event_id, at, payload in raw:
        try:
            parsed = msgspec.json.decode(payload)
        except (msgspec.DecodeError, RecursionError):  # of a file that is damaged, or nested without end
            continue
        if isinstance(parsed, dict):
            yield seq, event_id, at, parsed
