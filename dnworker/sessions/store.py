"""`SessionStore`: the live sessions of a runtime by id, in memory; used by turns and API (contract 6.6)."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotFound
from dnworker.core.models import iso
from dnworker.events.bus import EventBus
from dnworker.sessions.policies import Policy, resolve_policy
from dnworker.sessions.session import Message, Session

Bind = Callable[[str | None, str | None], tuple[str | None, str | None]]
"""Finds the capability and the agent of a new session from those requested; raises Conflict."""


class SessionStore:
    """Makes, finds, lists and deletes the sessions of one runtime, and publishes that they come and go."""

    def __init__(
        self, bus: EventBus, clock: Clock, bind: Bind = lambda capability, agent: (capability, agent)
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._bind = bind
        self._sessions: dict[str, Session] = {}

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
        """
        if session_id == "":
            raise Conflict("session_id is empty; leave it out to get a fresh id")
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
        """Return the session of this id; where there is none, make it and publish nothing."""
        if session_id not in self._sessions:
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
            raise NotFound(f"no live session {session_id!r}; create it first") from None

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
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

    def touch(self, session: Session) -> None:
        """Note that the session changed now."""
        session.updated_at = iso(self._clock.now())

    def delete(self, session_id: str) -> None:
        """Publish `session.deleted` and forget the session.

        Raises:
            NotFound: there is none.
        """
        self.get(session_id)
        self._bus.publish("session.deleted", {"session_id": session_id}, session_id=session_id)
        del self._sessions[session_id]
        self._bus.delete_session(session_id)

    def _join(self, session_id: str, agent: str | None, model: str | None) -> Session:
        """Return the live session, bound to `agent`, and let it use `model` from now on."""
        live = self._sessions[session_id]
        agent = _given(agent)
        if agent is not None and live.agent is not None and agent != live.agent:
            raise Conflict(f"session {session_id!r} is bound to agent {live.agent!r}, not {agent!r}")
        live.model = model or live.model
        return live

    def _add(self, session_id: str, **facts: Any) -> Session:
        now = iso(self._clock.now())
        session = Session(session_id=session_id, created_at=now, updated_at=now, **facts)
        self._sessions[session_id] = session
        self._bus.open_session(session_id)
        return session


def _policy(named: object) -> Policy:
    try:
        return resolve_policy(named)
    except ValueError as exc:
        raise Conflict(str(exc)) from exc


def _given(name: str | None) -> str | None:
    """Return a name, or None where it counts as not given (contract 6.6)."""
    return None if name is None or name.lower() in ("", "default") else name
