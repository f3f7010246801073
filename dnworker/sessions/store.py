"""`SessionStore`: the live sessions of a runtime by id; used by turns and API (contract 6.6)."""

from __future__ import annotations

import heapq
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotFound
from dnworker.core.limits import Limits
from dnworker.core.models import iso
from dnworker.events.bus import EventBus
from dnworker.sessions.checks import check_labels, check_names
from dnworker.sessions.keeper import SessionKeeper
from dnworker.sessions.policies import Policy, resolve_policy
from dnworker.sessions.session import Message, Session

log = logging.getLogger("dnworker.sessions")

DELETED_KNOWN = 10_000
"""Deleted sessions whose beginning is remembered: one of the same id that is made anew begins later."""

Bind = Callable[[str | None, str | None], tuple[str | None, str | None]]
"""Finds the capability and the agent of a new session from those requested; raises Conflict."""


class SessionStore:
    """Makes, finds, lists and deletes the sessions of one runtime, and publishes that they come and go."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        bind: Bind = lambda capability, agent: (capability, agent),
        *,
        limit: int = Limits().sessions,
    ) -> None:
        self._bus = bus
        self.keeper = SessionKeeper(bus)
        """Keeps the sessions over a kill, where the broker can."""
        self._clock = clock
        self._bind = bind
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # that changed longest ago first
        self._kept = 0  # bytes of sessions with their messages
        self._waiting = 0  # bytes of turns that wait or run
        self._begin_after: OrderedDict[str, int] = OrderedDict()
        self.dropped = 0
        """Messages that had to go because the limit was used up."""

    @property
    def used(self) -> int:
        """Bytes that all sessions take, with their messages and the turns that have not ended."""
        return self._kept + self._waiting

    def create(
        self,
        session_id: str | None = None,
        *,
        capability: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        project: str | None = None,
        group_id: str | None = None,
        labels: Mapping[str, list[str]] | None = None,
        origin: str | None = None,
        policy: object = None,
        messages: list[Message] | None = None,
    ) -> Session:
        """Return the session of this id; where there is none, make it and publish `session.created`.

        Raises:
            Conflict: the id is empty, the live session is bound to another agent, or the requested
                capability, agent or policy does not exist.
            Invalid: an id, a name or the labels are too long, or no text.
        """
        if session_id == "":
            raise Conflict("session_id is empty; leave it out to get a fresh id", code="DN607")
        check_names(session_id=session_id, capability=capability, agent=agent, model=model)
        check_names(project=project, group_id=group_id, origin=origin)
        check_labels(labels or {})
        if session_id is not None and session_id in self._sessions:
            return self._join(session_id, agent, model)
        home, answers = self._bind(_given(capability), _given(agent))
        session = self._add(
            session_id or str(uuid.uuid4()),
            capability=home,
            agent=answers,
            model=model or None,
            project=project,
            group_id=group_id,
            labels={name: list(values) for name, values in (labels or {}).items()},
            origin=origin or "user",
            policy=_policy(policy),
            messages=list(messages or ()),
        )
        # Both the envelope and the payload name the session (contract 11.2).
        named = {"session_id": session.session_id}
        self._bus.publish("session.created", named, session_id=session.session_id)
        return session

    def ensure(self, session_id: str) -> Session:
        """Return the session of this id; where there is none, make it and publish nothing.

        Raises:
            Invalid: the id is too long, or no text.
        """
        if session_id not in self._sessions:
            check_names(session_id=session_id)
            capability, agent = self._bind(None, None)
            self._add(session_id, capability=capability, agent=agent)
        return self._sessions[session_id]

    def get(self, session_id: str) -> Session:
        """Return a live session.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._sessions[session_id]
        except KeyError:
            raise NotFound(f"no live session {session_id!r}; create it first", code="DN601") from None

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def newest(self, count: int) -> list[Session]:
        """Return the live sessions that changed last, the newest change first."""
        return heapq.nlargest(count, self._sessions.values(), key=lambda s: s.updated_at)

    def list(self) -> list[Session]:
        """Return all live sessions, the newest change first."""
        return sorted(self._sessions.values(), key=lambda s: s.updated_at, reverse=True)

    def rebind(self, capability: str, renamed: str) -> None:
        """Let the sessions of a capability go on under its new name (contract 4.8)."""
        for session in self._sessions.values():
            if session.capability == capability:
                session.capability = renamed
                self.keeper.note(session)

    def note(self, session: Session) -> None:
        """Note that facts of a session changed, other than by what happened in it."""
        self.keeper.note(session)

    async def kept(self, session: Session) -> None:
        """Return when the session as it is now outlives what the broker does.

        Raises:
            NotStored: it cannot be kept now, such as for a full disk.
        """
        await self.keeper.kept(session)

    async def kept_by_id(self, session_id: str) -> None:
        """Return when the live session of this id outlives what the broker does; at once without one.

        Raises:
            NotStored: it cannot be kept now, such as for a full disk.
        """
        if session_id in self._sessions:
            await self.keeper.kept(self._sessions[session_id])

    def adopt(self, sessions: Iterable[Session]) -> None:
        """Take sessions that outlived a kill of the runtime."""
        for session in sorted(sessions, key=lambda session: session.updated_at):
            self._sessions[session.session_id] = session
            self._bus.open_session(session.session_id, self._bus.latest_seq)
            self._weigh(session)
        self._shrink()

    def begin_after(self, session_id: str, since_seq: int) -> None:
        """Let a session that is made anew begin later than the deleted one of its id."""
        self._begin_after[session_id] = since_seq
        while len(self._begin_after) > DELETED_KNOWN:
            self._begin_after.popitem(last=False)

    def prompts_elsewhere(self) -> int:
        """Return how many prompts are open in sessions that other nodes run."""
        return sum(len(session.prompts) for session in self._sessions.values() if not session.is_here)

    def note_elsewhere(self, facts: Session) -> None:
        """Take the facts of a session that another node has, in place of those that were known."""
        session_id = facts.session_id
        is_new = session_id not in self._sessions
        self.let_go(session_id)
        self._sessions[session_id] = facts
        if is_new:
            self._bus.open_session(session_id, self._bus.latest_seq)
        self._weigh(facts)

    def let_go(self, session_id: str) -> None:
        """Know nothing more of a session, which is not deleted by that; harmless when there is none."""
        if (session := self._sessions.pop(session_id, None)) is not None:
            self._kept -= session.kept_bytes

    def touch(self, session: Session) -> None:
        """Note that the session changed now; messages of others go if all take more than the limit."""
        session.updated_at = iso(self._clock.now())
        if self._sessions.get(session.session_id) is session:
            self._sessions.move_to_end(session.session_id)
            self._weigh(session)
            self._shrink()
            self.keeper.note(session)

    def check_room(self, size: int) -> None:
        """Check that a turn may wait.

        Raises:
            Conflict: what waits takes more than half of what all sessions may take.
        """
        if self._waiting and self._waiting + size > self._limit // 2:
            raise Conflict(
                f"turns of {self._waiting:,} bytes wait already; wait for one of them to end, or give the "
                "runtime more room: --limit sessions=1GB",
                code="DN610",
            )

    def note_waiting(self, size: int) -> None:
        """Count a turn that waits or runs; with a negative size, one that has ended."""
        self._waiting += size

    def _weigh(self, session: Session) -> None:
        size = session.bytes_used()
        self._kept += size - session.kept_bytes
        session.kept_bytes = size

    def _shrink(self) -> None:
        """Drop the oldest messages, of the sessions first that changed longest ago, until the rest fits."""
        for session in list(self._sessions.values()) if self.used > self._limit else ():
            gone = self._oldest_beyond(session)
            if gone:
                del session.messages[:gone]
                self._weigh(session)
                self.dropped += gone
                session.messages_dropped += gone
                self.keeper.note(session)
                self._warn_of_loss(session, gone)
            if self.used <= self._limit:
                return

    def _oldest_beyond(self, session: Session) -> int:
        """Return how many of a session's oldest messages must go for the rest to fit."""
        over = self.used - self._limit
        for number, message in enumerate(session.messages, start=1):
            over -= message.bytes_used()
            if over <= 0:
                return number
        return len(session.messages)

    def _warn_of_loss(self, session: Session, gone: int) -> None:
        message = (
            f"the {gone:,} oldest messages of session {session.session_id!r} are not kept any more: all "
            "sessions together take more than the limit; --limit sessions=1GB raises it"
        )
        log.warning("%s", message)
        payload = {"code": "messages_dropped", "message": message, "sync_status": None}
        self._bus.publish("session.warning", payload, session_id=session.session_id)

    def delete(self, session_id: str) -> Session:
        """Publish `session.deleted` and forget the session; returns it.

        Raises:
            NotFound: there is none.
        """
        self.get(session_id)
        self._bus.publish("session.deleted", {"session_id": session_id}, session_id=session_id)
        session = self._sessions.pop(session_id)
        if self.keeper.is_shared:
            self.begin_after(session_id, session.since_seq)
        self._kept -= session.kept_bytes
        session.is_deleted = True
        self._bus.delete_session(session_id)
        self.keeper.note_deleted(session)
        return session

    def forget_all(self) -> None:
        """Let go of all sessions and turns: they are kept elsewhere."""
        self._sessions.clear()
        self._kept = self._waiting = 0

    def _join(self, session_id: str, agent: str | None, model: str | None) -> Session:
        """Return the live session, bound to `agent`, and let it use `model` from now on."""
        live = self._sessions[session_id]
        agent = _given(agent)
        if agent is not None and live.agent is not None and agent != live.agent:
            raise Conflict(
                f"session {session_id!r} is bound to agent {live.agent!r}, not {agent!r}", code="DN606"
            )
        if model and model != live.model:
            live.model = model
            self.keeper.note(live)
        return live

    def _add(self, session_id: str, **facts: Any) -> Session:
        now = iso(self._clock.now())
        seq = max(self._bus.latest_seq, self._begin_after.pop(session_id, -1) + 1)
        session = Session(session_id=session_id, created_at=now, updated_at=now, since_seq=seq, **facts)
        self._sessions[session_id] = session
        self._bus.open_session(session_id)
        self._weigh(session)
        self._shrink()
        self.keeper.note(session)
        return session


def _policy(named: object) -> Policy:
    try:
        return resolve_policy(named)
    except ValueError as exc:
        raise Conflict(str(exc), code="DN613") from exc


def _given(name: str | None) -> str | None:
    """Return a name, or None where it counts as not given (contract 6.6)."""
    return None if name is None or name.lower() in ("", "default") else name
