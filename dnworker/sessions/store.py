"""Sessions in memory: create once per id, list, delete, create again (contract 6.6)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from dnworker.bus import EventBus
from dnworker.clock import Clock
from dnworker.errors import Conflict, NotFound
from dnworker.models import SessionInfo


class SessionStore:
    """Knows the sessions of one runtime and announces those that come and go."""

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._sessions: dict[str, SessionInfo] = {}

    def create(
        self,
        session_id: str | None = None,
        *,
        capability: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        project: str | None = None,
        group_id: str | None = None,
        labels: dict[str, list[str]] | None = None,
        origin: str | None = None,
    ) -> SessionInfo:
        """Return the session of this id, made and announced if there is none.

        Raises:
            Conflict: the id is empty, or the live session is bound to another agent.
        """
        if session_id == "":
            raise Conflict("session_id is empty; leave it out to get a fresh id")
        if session_id is not None and (live := self._sessions.get(session_id)) is not None:
            if agent is not None and live.agent is not None and agent != live.agent:
                raise Conflict(f"session {session_id!r} is bound to agent {live.agent!r}, not {agent!r}")
            live.model = model or live.model
            return live
        session = SessionInfo(
            session_id=session_id or str(uuid.uuid4()),
            created_at=_iso(self._clock.now()),
            updated_at=_iso(self._clock.now()),
            capability=capability,
            agent=agent,
            model=model,
            project=project,
            group_id=group_id,
            labels=labels or {},
            origin=origin or "user",
        )
        self.ensure(session.session_id, lambda: session)
        # Both the envelope and the payload name the session (contract 11 no. 2).
        named = {"session_id": session.session_id}
        self._bus.publish("session.created", named, session_id=session.session_id)
        return session

    def ensure(self, session_id: str, make: Callable[[], SessionInfo] | None = None) -> SessionInfo:
        """Return the session of this id, made without announcement if there is none."""
        if session_id not in self._sessions:
            now = _iso(self._clock.now())
            fresh = SessionInfo(session_id=session_id, created_at=now, updated_at=now)
            self._sessions[session_id] = make() if make else fresh
            self._bus.open_session(session_id)
        return self._sessions[session_id]

    def get(self, session_id: str) -> SessionInfo:
        """Return a live session.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._sessions[session_id]
        except KeyError:
            raise NotFound(f"no live session {session_id!r}; create it first") from None

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def list(self) -> list[SessionInfo]:
        """Return all live sessions, the newest change first."""
        return sorted(self._sessions.values(), key=lambda s: s.updated_at or "", reverse=True)

    def delete(self, session_id: str) -> None:
        """Announce the end of a session and forget it.

        Raises:
            NotFound: there is none.
        """
        self.get(session_id)
        self._bus.publish("session.deleted", {"session_id": session_id}, session_id=session_id)
        del self._sessions[session_id]
        self._bus.delete_session(session_id)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
