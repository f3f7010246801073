"""Reads the sessions and turns that outlived the end of a runtime; used by `turns.py` at its start."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import NotFound, Unavailable
from dnworker.core.ids import new_id
from dnworker.sessions import parts
from dnworker.sessions.kept import (
    DELETED,
    MESSAGES,
    SESSIONS,
    TURNS,
    KeptSession,
    KeptTurn,
    MessageList,
    joined,
    start_of,
)
from dnworker.sessions.session import Message, Session

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker, Entry
    from dnworker.events.bus import EventBus
    from dnworker.sessions.store import SessionStore

log = logging.getLogger("dnworker.sessions")

T = TypeVar("T")

AT_ONCE = 200
"""Values that are read at the same time."""

READ_AGAIN, READ_AGAIN_SECONDS = 20, 0.05
"""How often messages are read that change meanwhile, and the seconds between."""

PAGE = 1_000
"""Events that are read at once."""


async def read(bus: EventBus, store: SessionStore) -> dict[Session, list[KeptTurn]]:
    """Give the store the sessions that are kept; return the turns of each that had not ended, in their order.

    What belongs to no session, such as of one that was being deleted, is removed; not while a session cannot
    be read, for it may be that one's.
    """
    broker = bus.broker
    keys = await broker.keys(SESSIONS)
    records = [one for _, one in await _values(broker, keys, KeptSession)]
    deleted = await _deleted(broker, records)
    for session_id in deleted:
        bus.delete_session(session_id)
    pages = await _pages(broker)
    adopted: dict[str, Session] = {}
    for record in records:
        starts = pages.pop(record.messages_list, [])
        if record.session_id not in deleted and record.session_id not in store:
            session = await _session(store, broker, record, starts)
            adopted[record.session_id] = session
    for session in store.list():  # they were in memory alone
        store.note(session)
    store.adopt(adopted.values())
    if len(records) == len(keys):
        left = {key for record in records for key in record.messages_left}
        orphans = {MessageList(list_id).key(start) for list_id, starts in pages.items() for start in starts}
        await _drop(broker, sorted(orphans - left))
    return await _turns(store, broker, adopted)


async def load(bus: EventBus, store: SessionStore, entry: Entry, record: KeptSession) -> Session:
    """Give the store a session that another runtime had, with its messages, and have it written from here."""
    session = await _session(store, bus.broker, record, record.messages_starts, entry.revision)
    store.let_go(record.session_id)
    store.adopt([session])
    return session


async def messages_of(broker: Broker, session_id: str) -> list[Message]:
    """Return the messages of a session that another node has, as they are written.

    Raises:
        NotFound: there is no such session.
        Unavailable: they change too quickly to be read, or cannot be.
    """
    for _ in range(READ_AGAIN):
        entry = await broker.get(SESSIONS + session_id)
        if entry is None:
            raise NotFound(f"no live session {session_id!r}; create it first", code="DN601")
        record = msgspec.json.decode(entry.value, type=KeptSession)
        messages = record.listed()
        keys = [messages.key(start) for start in record.messages_starts]
        found = await _values(broker, keys, list[Message])
        first = record.messages_dropped - (start_of(found[0][0]) if found else 0)
        read = joined(found)[max(0, first) :]
        count = record.messages_end - record.messages_dropped
        if len(read) >= count:  # the newest page may have more by now
            return read[:count]
        await asyncio.sleep(READ_AGAIN_SECONDS)
    raise Unavailable(f"the messages of session {session_id!r} cannot be read now; try again")


async def turns_of(
    broker: Broker, store: SessionStore, session_id: str, listed: Sequence[str]
) -> list[KeptTurn]:
    """Return the turns of a session that have not ended, in their order.

    Args:
        broker: keeps them.
        store: numbers its turns on from there.
        session_id: whose.
        listed: those that its record names, which are read whatever the list of keys lags.
    """
    found: dict[str, KeptTurn] = {}
    for entry in await broker.entries(TURNS):
        if (turn := decoded(entry, KeptTurn)) is not None and turn.session_id == session_id:
            found[turn.turn_id] = turn
    missing = [TURNS + turn_id for turn_id in listed if turn_id not in found]
    found |= {turn.turn_id: turn for _, turn in await _values(broker, missing, KeptTurn)}
    turns = sorted(found.values(), key=lambda turn: turn.number)
    for turn in turns:
        store.keeper.number_from(turn.number)
    return turns


def decoded(entry: Entry, type_: type[T]) -> T | None:
    """Return a value; None where it cannot be read, which is said."""
    try:
        return msgspec.json.decode(entry.value, type=type_)
    except msgspec.MsgspecError as exc:
        log.warning("%s cannot be read, and is left as it is: %s", entry.key, exc)
        return None


async def _deleted(broker: Broker, records: Iterable[KeptSession]) -> set[str]:
    """Return the ids of deleted sessions, without those of which a later one was made."""
    live = {record.session_id: record.since_seq for record in records}
    deleted = {key.removeprefix(DELETED) for key in await broker.keys(DELETED)}
    both = deleted & live.keys()
    for key, since in await _values(broker, [DELETED + session_id for session_id in sorted(both)], int):
        session_id = key.removeprefix(DELETED)
        if live[session_id] > since:
            deleted.discard(session_id)
            await broker.delete(key)
        else:
            await broker.delete(SESSIONS + session_id)
    return deleted


async def _pages(broker: Broker) -> dict[str, list[int]]:
    """Return the numbers with which the pages of messages begin, by list."""
    found: dict[str, list[int]] = {}
    for key in await broker.keys(MESSAGES):
        list_id = key.removeprefix(MESSAGES).partition("/")[0]
        found.setdefault(list_id, []).append(start_of(key))
    return found


async def _session(
    store: SessionStore, broker: Broker, record: KeptSession, starts: list[int], revision: int = 0
) -> Session:
    """Return a session with its messages; a page that its record does not count was never told to anybody."""
    messages = record.listed()
    await _drop(broker, [messages.key(start) for start in starts if start >= record.messages_end])
    starts = [start for start in starts if start < record.messages_end]
    found = await _values(broker, map(messages.key, starts), list[Message])
    first = record.messages_dropped - (start_of(found[0][0]) if found else 0)
    read = joined(found)[max(0, first) :][: record.messages_end - record.messages_dropped]
    left = [*record.messages_left]
    session = record.session(read)
    if len(read) != record.messages_end - record.messages_dropped:
        log.warning(
            "session %s has %d messages of %d: some could not be read",
            record.session_id,
            len(read),
            record.messages_end - record.messages_dropped,
        )
        left += {*map(messages.key, starts)}.difference(key for key, _ in found)
        messages = MessageList()  # it is written anew
        starts = []
    last = read[-1] if read else None
    end = record.messages_end if messages.id == record.messages_list else 0
    writers, writer = messages.writers, new_id() if store.keeper.is_shared else ""
    kept = MessageList(messages.id, starts, end, last, left, writers=writers, writer=writer)
    store.keeper.adopt(session, kept, revision)
    return session


async def _turns(
    store: SessionStore, broker: Broker, sessions: dict[str, Session]
) -> dict[Session, list[KeptTurn]]:
    found = [turn for _, turn in await _values(broker, await broker.keys(TURNS), KeptTurn)]
    known = {key.removeprefix(SESSIONS) for key in await broker.keys(SESSIONS)}
    waiting: dict[Session, list[KeptTurn]] = {}
    for turn in sorted(found, key=lambda turn: turn.number):
        store.keeper.number_from(turn.number)
        session = sessions.get(turn.session_id)
        if session is not None:
            waiting.setdefault(session, []).append(turn)
        elif turn.session_id not in store and turn.session_id not in known:
            await broker.delete(TURNS + turn.turn_id)
    return waiting


async def _values(broker: Broker, keys: Iterable[str], type_: type[T]) -> list[tuple[str, T]]:
    """Return values by their keys, in the order of the keys; one that cannot be read is left, and said."""
    keys, found = [*keys], []
    for at in range(0, len(keys), AT_ONCE):
        entries = await asyncio.gather(*(broker.get(key) for key in keys[at : at + AT_ONCE]))
        for entry in entries:
            if entry is None:
                continue
            try:
                value = await parts.whole(broker, entry.value)
                found.append((entry.key, msgspec.json.decode(value, type=type_)))
            except msgspec.MsgspecError as exc:
                log.warning("%s of %s cannot be read, and is left as it is: %s", entry.key, broker.name, exc)
    return found


async def _drop(broker: Broker, keys: Iterable[str]) -> None:
    for key in [*keys]:
        await broker.delete(key)


class Trail:
    """What its session and its events say of a turn that had not ended when the runtime did."""

    def __init__(self, turn_id: str, session: Session) -> None:
        self.accepted: EventEnvelope | None = None
        self._turn_id = turn_id
        self._was_accepted = turn_id in session.turns
        self._outcome = session.outcome if (session.outcome or {}).get("turn_id") == turn_id else None
        self._has_started = session.running == turn_id
        self._has_ended = False
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._times: list[datetime] = []

    def note(self, event: EventEnvelope) -> None:
        """Take the next event of the turn."""
        if event.kind == "turn.accepted":
            self.accepted, self._was_accepted = event, True
        elif event.kind == "turn.started":
            self._has_started = True
        elif event.kind == "turn.event":
            self._note_raw(event.payload.get("raw_event") or {})
        self._has_ended = self._has_ended or event.terminal
        if self._has_started:
            self._times = [*self._times[:1], event.timestamp]

    def _note_raw(self, raw: dict[str, Any]) -> None:
        match raw:
            case {"type": "generationstart"}:
                self._texts.append("")
            case {"type": "generationcontent", "data": {"content": str(text), "step": int(step)}} if (
                0 < step <= len(self._texts)
            ):
                self._texts[step - 1] += text
            case {"type": "generationcontent", "data": {"content": str(text)}} if self._texts:
                self._texts[-1] += text
            case {"type": "toolstart", "data": {"tool_call": {"name": name, "arguments": str(arguments)}}}:
                self._calls.append({"name": name, "arguments": _parsed(arguments)})

    @property
    def is_known(self) -> bool:
        """Whether anything says that it was accepted; else it was not, or its events are gone."""
        return bool(self._was_accepted or self._has_started or self._has_ended or self._outcome)

    @property
    def is_waiting(self) -> bool:
        """Whether it was accepted, and its agent had not begun."""
        return self._was_accepted and not (self._has_started or self._has_ended or self._outcome)

    @property
    def end(self) -> tuple[str, dict[str, Any]] | None:
        """Kind and payload of its last event, where that is missing."""
        if self._has_ended or not (self._has_started or self._outcome):
            return None
        if self._outcome is not None:
            return "turn.completed", self._outcome
        spent = self._times[-1] - self._times[0] if self._times else None
        return "turn.failed", interrupted(self._turn_id) | {
            "partial_response": next((text for text in reversed(self._texts) if text), None),
            "tool_calls_attempted": self._calls,
            "duration_ms": 0 if spent is None else round(spent.total_seconds() * 1000),
        }


def interrupted(turn_id: str) -> dict[str, Any]:
    """Return what `turn.failed` says of a turn whose runtime has ended, or has lost its session."""
    message = "the runtime ended while this turn ran; it can be started again"
    return {
        "turn_id": turn_id,
        "error": {"type": "TurnInterrupted", "message": message},
        "partial_response": None,
        "tool_calls_attempted": [],
        "duration_ms": 0,
        "retryable": True,
    }


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:  # too long for an event, and cut
        return arguments


async def trails(bus: EventBus, session: Session, turns: Sequence[KeptTurn]) -> dict[str, Trail]:
    """Return what is known of these turns of a session."""
    found, seen = {turn.turn_id: Trail(turn.turn_id, session) for turn in turns}, set[str]()
    async for event in _events(bus.broker, session.session_id, min(turn.after_seq for turn in turns)):
        if (trail := found.get(event.turn_id or "")) is not None:
            trail.note(event)
            seen.add(event.event_id)
    if bus.broker.messages is not None:  # pieces that no broker has kept, and this runtime has heard
        for event in bus.kept(session.session_id, 0):
            if event.event_id not in seen and (trail := found.get(event.turn_id or "")) is not None:
                trail.note(event)
    return found


async def _events(broker: Broker, session_id: str, after_seq: int) -> AsyncIterator[EventEnvelope]:
    while page := await broker.replay(session_id, after_seq, limit=PAGE):
        for event in page:
            yield event
        after_seq = page[-1].seq
