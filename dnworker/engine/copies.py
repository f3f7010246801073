"""`keep_copies`: events of another runtime in this one's journal and history; no handler gets them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from dnworker.core.envelope import EventEnvelope, has_payload
from dnworker.core.errors import JournalError, UsageError
from dnworker.events.causes import PULLED
from dnworker.events.journal_copies import Copy, copy_into, known_in, runtimes_of

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

IN_MEMORY = 2_000
"""Events that memory gets at once where the journal has all: what happened here stays in memory, too."""


class Kept(NamedTuple):
    """The copies that were made, with their new numbers, and how many events were there already."""

    events: list[EventEnvelope]
    known: int
    lost: int
    """Events of which memory could not keep the payload, where there is no journal."""


async def keep_copies(engine: Engine, copies: Sequence[Copy], *, runtime_id: str, place: str) -> Kept:
    """Keep events of another runtime as if they had happened here, under numbers of this one.

    Ids and times stay. What is there already, by id, is left out. All are kept or none.

    Args:
        engine: whose history and journal get them.
        copies: the events, the oldest first.
        runtime_id: of the runtime that they were published to.
        place: where that is, for people.

    Raises:
        Conflict: this runtime is durable, and has only what was published to it.
        UsageError: the journal cannot be written; nothing was kept.
    """
    journal = engine.journal
    path = None if journal is None or journal.failure is not None else journal.path
    distinct = {one.event.event_id: one for one in copies}
    try:
        if path is not None and journal is not None:
            await asyncio.to_thread(journal.flush)
        there = set() if path is None else await asyncio.to_thread(known_in, path, [*distinct])
        new = [one for id_, one in distinct.items() if id_ not in there and engine.history.peek(id_) is None]
        first = engine.bus.take_numbers(len(new))
        numbered = [
            Copy(msgspec.structs.replace(one.event, seq=first + place_, connection_id=None), one.is_caused)
            for place_, one in enumerate(new)
        ]
        if path is not None and numbered:
            numbered = await asyncio.to_thread(copy_into, path, runtime_id, numbered)
    except JournalError as exc:
        raise UsageError(str(exc), code=exc.code) from exc
    shown = numbered if path is None else numbered[-IN_MEMORY:]
    Context().run(_note, engine, shown, place)
    lost = 0 if path is not None else sum(not _is_whole(engine, one.event) for one in shown)
    return Kept([one.event for one in numbered], len(copies) - len(numbered), lost)


async def places_of(engine: Engine, events: Sequence[EventEnvelope]) -> dict[str, str]:
    """Return where copied events come from, by id: the address, or the runtime's id of those of the journal.

    Raises:
        UsageError: the journal cannot be read.
    """
    journal, found = engine.journal, dict[str, str]()
    if journal is not None and journal.failure is None and not engine.bus.broker.capabilities.survives_kill:
        try:
            ids = [event.event_id for event in events]
            found = await asyncio.to_thread(runtimes_of, journal.path, ids)
        except JournalError as exc:
            raise UsageError(str(exc), code=exc.code) from exc
    for event in events:
        source = engine.history.causes.source(event.event_id)
        if source is not None and source.is_other_runtime:
            found[event.event_id] = source.name.removeprefix(PULLED)
    return found


def _note(engine: Engine, copies: Sequence[Copy], place: str) -> None:
    """Note copies in the history, and tell those who show it; in a context in which no handler runs."""
    for one in copies:
        engine.history.note_event(one.event)
        engine.history.causes.note_copy(one.event.event_id, place, is_caused=one.is_caused)
        engine.bus.copied.notify(one.event)


def _is_whole(engine: Engine, event: EventEnvelope) -> bool:
    kept = engine.history.peek(event.event_id)
    return kept is not None and has_payload(kept)
