"""`SessionKeeper`: writes sessions and their turns to the broker as they change, where it survives a kill."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Invalid, NotStored
from dnworker.sessions.kept import (
    DELETED,
    DELETED_FOR,
    SESSIONS,
    TURNS,
    MessageList,
    record_of,
    turn_to_keep,
)
from dnworker.sessions.session import Session

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker
    from dnworker.events.bus import EventBus
    from dnworker.sessions.turn import Turn

log = logging.getLogger("dnworker.sessions")

RETRY_SECONDS = 1.0
"""Seconds after which what could not be written is tried again."""


class SessionKeeper:
    """Writes each session that changed, one write after the other; what changes meanwhile is one write.

    With a broker that does not survive a kill it does nothing.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self.is_on = False
        """Whether what is noted is written; set at the start of the runtime."""
        self._desks: dict[str, _Desk] = {}
        self._last_turn = 0
        self._is_full = False

    def open(self) -> None:
        """Begin, if the broker survives a kill."""
        self.is_on = self._bus.broker.capabilities.survives_kill
        self._desks.clear()

    async def close(self) -> None:
        """Write what is noted, once more if need be, and write nothing more."""
        self.is_on = False
        await asyncio.gather(*(desk.close() for desk in [*self._desks.values()]))

    def adopt(self, session: Session, messages: MessageList) -> None:
        """Take a session that was read, with its messages as they are written."""
        self._desks[session.session_id] = self._desk(session, messages)

    def note(self, session: Session) -> None:
        """Note that a session has changed; one that was deleted stays so."""
        if self.is_on and not session.is_deleted:
            self._desk_of(session).note()

    def note_deleted(self, session: Session) -> None:
        """Note that a session was deleted."""
        if self.is_on:
            self._desk_of(session).note()

    def note_turn_ended(self, session: Session, turn_id: str, last: EventEnvelope | None) -> None:
        """Note that a turn has ended, with its last event."""
        if self.is_on and not session.is_deleted:
            desk = self._desk_of(session)
            desk.ended.append((turn_id, last))
            desk.note()

    async def kept(self, session: Session) -> None:
        """Return as soon as the session as it is now is kept.

        Raises:
            NotStored: it cannot be, such as for a full disk; it is tried again.
        """
        if self.is_on and (desk := self._desks.get(session.session_id)) is not None:
            await desk.written()

    async def kept_or_said(self, session: Session, what: str) -> None:
        """Return as soon as the session as it is now is kept, or it was said that it cannot be."""
        try:
            await self.kept(session)
        except NotStored as exc:
            log.warning("%s of session %s are in memory alone: %s", what, session.session_id, exc)

    async def keep_turn(self, session: Session, turn: Turn) -> None:
        """Return as soon as a turn is kept.

        Raises:
            NotStored: it cannot be, such as for a full disk.
            Invalid: what it says is no text that can be written.
        """
        self._last_turn += 1
        kept = turn_to_keep(session.session_id, turn, self._last_turn, self._bus.latest_seq)
        try:
            value = msgspec.json.encode(kept)
        except UnicodeEncodeError as exc:
            raise Invalid(f"the message is no text that can be kept: {exc}") from exc
        await self._bus.broker.put(TURNS + turn.id, value)

    def number_from(self, number: int) -> None:
        """Number turns on from here."""
        self._last_turn = max(self._last_turn, number)

    def _desk_of(self, session: Session) -> _Desk:
        desk = self._desks.get(session.session_id)
        if desk is None or desk.session is not session:
            before = desk
            desk = self._desks[session.session_id] = self._desk(session, MessageList(), before)
        return desk

    def _desk(self, session: Session, messages: MessageList, before: _Desk | None = None) -> _Desk:
        return _Desk(self._bus, session, messages, before, self._finish, self._note_room)

    def _finish(self, desk: _Desk) -> None:
        """Forget a session that is gone."""
        if desk.session.is_deleted and self._desks.get(desk.session.session_id) is desk:
            del self._desks[desk.session.session_id]

    def _note_room(self, problem: str | None) -> None:
        """Say it once when sessions cannot be written, and once when they can again."""
        if problem is not None and not self._is_full:
            log.warning("sessions cannot be kept: %s; it is tried again every second", problem)
        elif problem is None and self._is_full:
            log.warning("sessions are kept again")
        self._is_full = problem is not None


class _Desk:
    """What is written of one session, and who waits for it."""

    def __init__(
        self,
        bus: EventBus,
        session: Session,
        messages: MessageList,
        before: _Desk | None,
        finish: Callable[[_Desk], None],
        note_room: Callable[[str | None], None],
    ) -> None:
        # What it is about.
        self.session = session
        self.ended: list[tuple[str, EventEnvelope | None]] = []
        """Turns that have ended, with their last events."""
        self._bus = bus
        self._before = before  # the session of this id that was deleted
        self._finish = finish
        self._note_room = note_room
        # What is written, and what is not.
        self._messages = messages
        self._changes = 0
        self._written = 0
        self._task: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def _broker(self) -> Broker:
        return self._bus.broker

    def note(self) -> None:
        """Note that there is something to write."""
        self._changes += 1
        self._begin()

    async def written(self) -> None:
        """Return when all that was noted by now is written.

        Raises:
            NotStored: it cannot be.
        """
        if self._written < self._changes:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((self._changes, future))
            self._begin()
            await future

    async def close(self) -> None:
        """Write what is noted, once more if need be."""
        self._begin()
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._retry is not None:
            self._retry.cancel()
            log.warning("the last changes of session %s are not kept", self.session.session_id)

    def _begin(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._task is None and self._written < self._changes:
            name = f"keep session {self.session.session_id}"
            self._task = asyncio.create_task(self._write_all(), name=name)

    async def _write_all(self) -> None:
        try:
            if self._before is not None:
                await self._before.written()
                self._before = None
            while self._written < self._changes:
                reached = self._changes
                await (self._delete() if self.session.is_deleted else self._write())
                self._written = reached
                self._answer(None)
        except OSError as exc:  # NotStored and BrokerError are
            self._note_room(str(exc))
            self._answer(exc)
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._begin)
        except Exception as exc:  # who waits must hear of it
            log.exception("session %s cannot be kept", self.session.session_id)
            self._answer(exc)
        else:
            self._note_room(None)
        finally:
            self._task = None
        if self._written == self._changes:
            self._finish(self)

    def _answer(self, problem: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for wanted, future in waiting:
            if future.done():
                continue
            if problem is not None:
                future.set_exception(problem if isinstance(problem, NotStored) else NotStored(str(problem)))
            elif wanted <= self._written:
                future.set_result(None)
            else:
                self._waiting.append((wanted, future))

    async def _write(self) -> None:
        """Write the messages that are new, then the record that counts them, then drop what is not needed."""
        await self._last_events()
        session, broker, before = self.session, self._broker, self._messages
        messages, pages = before.next(session)
        record = msgspec.json.encode(record_of(session, messages))
        for page in pages:
            await broker.put(messages.key(page.start), msgspec.json.encode(page.messages))
        await broker.put(SESSIONS + session.session_id, record)
        self._messages = messages
        kept = {messages.key(start) for start in messages.starts}
        await self._drop([key for key in map(before.key, before.starts) if key not in kept])
        await self._drop_ended()

    async def _last_events(self) -> None:
        """Wait until turns that have ended have their last event for good, or can never have it."""
        for _, last in [*self.ended]:
            if last is not None:
                await _end_of(self._bus.accepted(last))

    async def _delete(self) -> None:
        session_id = self.session.session_id
        # With its beginning: one of the same id that is made later has a later one, and lives.
        mark = msgspec.json.encode(self.session.since_seq)
        await self._broker.put(DELETED + session_id, mark, seconds=DELETED_FOR)
        await self._last_events()
        await self._drop_ended()
        messages = self._messages
        await self._drop([SESSIONS + session_id, *map(messages.key, messages.starts), *messages.left])
        self._messages = MessageList()

    async def _drop_ended(self) -> None:
        """Drop turns that have ended."""
        while self.ended:
            await self._broker.delete(TURNS + self.ended[0][0])
            del self.ended[0]

    async def _drop(self, keys: list[str]) -> None:
        for key in keys:
            await self._broker.delete(key)


async def _end_of(accepting: Awaitable[object]) -> None:
    """Wait until an event is kept; one that is refused is said by the bus."""
    try:
        await accepting
    except NotStored as exc:
        log.debug("the last event of a turn is not kept: %s", exc)
