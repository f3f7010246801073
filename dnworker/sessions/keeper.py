"""`SessionKeeper`: writes sessions and their turns to the broker as they change, where it survives a kill."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.cut_payloads import truncate
from dnworker.core.envelope import EventEnvelope, own
from dnworker.core.errors import Gone, Invalid, NotStored
from dnworker.core.listeners import Listeners
from dnworker.sessions import parts
from dnworker.sessions.kept import (
    DELETED,
    DELETED_FOR,
    MESSAGES,
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

MOST_TRIES = 60
"""How often the messages of an answer are tried, where runtimes share the broker."""


class SessionKeeper:
    """Writes each session that changed, one write after the other; what changes meanwhile is one write.

    With a broker that does not survive a kill it does nothing.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self.is_on = False
        """Whether what is noted is written; set at the start of the runtime."""
        self.is_shared = False
        """Whether other runtimes may write the same sessions: a record goes over the one that is known."""
        self.overtaken: Listeners[[Session]] = Listeners()
        """Called with a session that another runtime has written meanwhile: it is that one's now."""
        self._desks: dict[str, _Desk] = {}
        self._last_turn = 0
        self._is_full = False

    def open(self) -> None:
        """Begin, if the broker survives a kill."""
        can = self._bus.broker.capabilities
        self.is_shared = can.is_shared
        self.is_on = can.survives_kill or can.is_shared
        self._desks.clear()

    async def close(self) -> None:
        """Write what is noted, once more if need be, and write nothing more."""
        self.is_on = False
        await asyncio.gather(*(desk.close() for desk in [*self._desks.values()]))

    def adopt(self, session: Session, messages: MessageList, revision: int = 0) -> None:
        """Take a session that was read, with its messages as they are written, and its record's revision."""
        desk = self._desks[session.session_id] = self._desk(session, messages)
        desk.revision = revision

    def let_go(self, session_id: str) -> None:
        """Write nothing more of a session, also of one that is being deleted: another runtime may have it."""
        if (desk := self._desks.pop(session_id, None)) is not None:
            desk.session.is_here = False
            desk.let_go()

    def is_settled(self, session_id: str) -> bool:
        """Return whether nothing of a session waits to be written."""
        return (desk := self._desks.get(session_id)) is None or desk.is_settled

    def note(self, session: Session) -> None:
        """Note that a session has changed; one that was deleted stays so."""
        if self.is_on and session.is_here and not session.is_deleted:
            self._desk_of(session).note()

    def note_deleted(self, session: Session) -> None:
        """Note that a session was deleted."""
        if self.is_on:
            self._desk_of(session).note()

    def note_turn_ended(self, session: Session, turn_id: str, last: EventEnvelope | None) -> None:
        """Note that a turn has ended, with its last event."""
        if self.is_on and session.is_here and not session.is_deleted:
            desk = self._desk_of(session)
            desk.ended.append((turn_id, last))
            desk.note()

    async def kept(self, session: Session) -> None:
        """Return as soon as the session as it is now is kept.

        Raises:
            NotStored: it cannot be, such as for a full disk; it is tried again.
        """
        if self.is_on and not session.is_here:
            raise _moved(session)
        if self.is_on and (desk := self._desks.get(session.session_id)) is not None:
            await desk.written()

    async def kept_or_said(self, session: Session, what: str) -> None:
        """Return as soon as the session as it is now is kept, or it was said that it cannot be.

        Where runtimes share the broker it is tried for a minute, unless another has the session by then.
        """
        for tries_left in reversed(range(MOST_TRIES)):
            try:
                await self.kept(session)
            except NotStored as exc:
                if tries_left and self.is_shared and session.is_here and self.is_on:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                log.warning("%s of session %s are in memory alone: %s", what, session.session_id, exc)
            return

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
            raise Invalid(f"the message is no text that can be kept: {exc}", code="DN607") from exc
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
        return _Desk(self, self._bus, session, messages, before)

    def finish(self, desk: _Desk) -> None:
        """Forget a session that is gone."""
        if desk.session.is_deleted and self._desks.get(desk.session.session_id) is desk:
            del self._desks[desk.session.session_id]

    def note_room(self, problem: str | None) -> None:
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
        keeper: SessionKeeper,
        bus: EventBus,
        session: Session,
        messages: MessageList,
        before: _Desk | None,
    ) -> None:
        # What it is about.
        self.session = session
        self.ended: list[tuple[str, EventEnvelope | None]] = []
        """Turns that have ended, with their last events."""
        self._bus = bus
        self._before = before  # the session of this id that was deleted
        self._keeper = keeper
        self.revision = 0
        """That of the record as it was written last, or read."""
        self._sent: bytes | None = None  # a record that may be written: the broker did not answer
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
        if not self.session.is_here:
            raise _moved(self.session)
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

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be written."""
        return self._task is None and self._written == self._changes

    def let_go(self) -> None:
        """Write nothing more; who waits hears that it is not kept."""
        self._written = self._changes
        self._begin()
        if self._task is not None:
            self._task.cancel()
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(_moved(self.session))

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
            if not self.session.is_here:
                return
            self._keeper.note_room(str(exc))
            self._answer(exc)
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._begin)
        except Exception as exc:  # who waits must hear of it
            log.exception("session %s cannot be kept", self.session.session_id)
            self._answer(exc)
        else:
            self._keeper.note_room(None)
        finally:
            self._task = None
        if self._written == self._changes:
            self._keeper.finish(self)

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
        record = self._record(messages)
        for page in pages:
            key, value = messages.key(page.start), msgspec.json.encode(page.messages)
            await (parts.put(broker, key, value) if self._keeper.is_shared else broker.put(key, value))
        await self._put(SESSIONS + session.session_id, record)
        self._messages = messages
        kept = {messages.key(start) for start in messages.starts}
        await self._drop([key for key in map(before.key, before.starts) if key not in kept])
        await self._drop_ended()

    def _record(self, messages: MessageList) -> bytes:
        """Return the record; a shared one has no more than a broker takes."""
        kept = record_of(self.session, messages)
        record = msgspec.json.encode(kept)
        if self._keeper.is_shared and len(record) > parts.LARGEST:
            if kept.outcome is not None:  # as in its event, which could not be larger either
                kept.outcome = truncate(kept.outcome, "the record of its session would be too large")
            kept.prompts = []
            record = msgspec.json.encode(kept)
        return record

    async def _put(self, key: str, record: bytes) -> None:
        """Write the record; where runtimes share the broker, over the one that is known, or not at all."""
        if not self._keeper.is_shared:
            await self._broker.put(key, record)
            return
        before, self._sent = self._sent, record
        entry = await self._broker.put(key, record, revision=self.revision)
        if entry is None:
            found = await self._broker.get(key)
            if found is None or found.value not in (before, record):
                self._keeper.overtaken.notify(self.session)
                raise _moved(self.session)
            entry = await self._broker.put(key, record, revision=found.revision)  # ours, unanswered
        if entry is None:
            raise NotStored(f"session {self.session.session_id!r} changed while it was written", code="DN816")
        self.revision, self._sent = entry.revision, None

    async def _last_events(self) -> None:
        """Wait until turns that have ended have their last event for good, or can never have it."""
        for number, (turn_id, last) in enumerate([*self.ended]):
            if last is None:
                continue
            seq = last.seq
            try:
                seq = (await self._bus.accepted(last)).seq
            except NotStored as exc:  # one that is refused is said by the bus
                log.debug("the last event of a turn is not kept: %s", exc)
            if self._keeper.is_shared and not seq:  # the broker was away: the same event is published again
                self.ended[number] = turn_id, self._publish_again(last)
                raise NotStored(f"the end of {turn_id} is not published yet")

    def _publish_again(self, last: EventEnvelope) -> EventEnvelope | None:
        try:
            return self._bus.publish(
                last.kind,
                own(last).payload,
                session_id=last.session_id,
                turn_id=last.turn_id,
                terminal=True,
                event_id=last.event_id,
                may_exist=True,
            )
        except Gone:
            return None

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
            if self._keeper.is_shared and key.startswith(MESSAGES):
                await parts.delete(self._broker, key)
            else:
                await self._broker.delete(key)


def _moved(session: Session) -> NotStored:
    return NotStored(f"session {session.session_id!r} has moved to another node; try again", code="DN816")
