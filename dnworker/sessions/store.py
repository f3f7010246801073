"""Sessions in memory: create once per id, list, delete, create again (contract 6.6)."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.errors import Conflict, NotFound
from dnworker.core.models import SessionWire
from dnworker.events.bus import EventBus
from dnworker.sessions.policies import INTERACTIVE, Policy, resolve_policy
from dnworker.sessions.prompts import PendingPrompt

if TYPE_CHECKING:
    from dnworker.sessions.turn import Turn

PREVIEW_LENGTH = 200
PROMPTS_KEPT = 100


class Message(msgspec.Struct, kw_only=True):
    """One message of a session (contract 6.6)."""

    role: str
    content: str
    metadata: dict[str, Any] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_args: dict[str, Any] | str | None = None
    created_at: str | None = None


@dataclass(eq=False, kw_only=True)
class Session:
    """One session: what was said, who answers, and the turns under way."""

    session_id: str
    created_at: str
    updated_at: str
    capability: str | None = None
    agent: str | None = None
    model: str | None = None
    project: str | None = None
    group_id: str | None = None
    title: str | None = None
    origin: str = "user"
    labels: dict[str, list[str]] = field(default_factory=dict)
    policy: Policy = INTERACTIVE
    messages: list[Message] = field(default_factory=list)
    completed_turns: int = 0
    tokens: int = 0
    tool_calls: int = 0
    cost: float | None = 0.0
    last_input_tokens: int | None = None
    active: Turn | None = None
    waiting: deque[Turn] = field(default_factory=deque)
    prompts: dict[str, PendingPrompt] = field(default_factory=dict)
    allowed_tools: set[str] = field(default_factory=set)
    is_ending: bool = False
    answered: deque[str] = field(default_factory=lambda: deque(maxlen=PROMPTS_KEPT))

    @property
    def phase(self) -> str:
        """`idle`, `running`, `awaiting_input` or `awaiting_permission`."""
        if self.active is None:
            return "idle"
        if not self.prompts:
            return "running"
        asked = next(reversed(self.prompts.values()))
        return "awaiting_permission" if asked.is_permission else "awaiting_input"

    def info(self) -> SessionWire:
        """Return it as it goes over the wire."""
        first = next((m.content for m in self.messages if m.role == "user"), None)
        return SessionWire(
            session_id=self.session_id,
            group_id=self.group_id,
            project=self.project,
            created_at=self.created_at,
            updated_at=self.updated_at,
            message_count=self.completed_turns,
            capability=self.capability,
            agent=self.agent,
            model=self.model,
            title=self.title,
            preview=None if first is None else first[:PREVIEW_LENGTH],
            policy_name=self.policy.name,
            policy_is_autonomous=self.policy.autonomous,
            policy_display_label=self.policy.label,
            origin=self.origin,
            labels=self.labels,
            total_tokens=self.tokens,
            total_tool_call_count=self.tool_calls,
            total_cost_usd=self.cost,
            last_generation_input_tokens=self.last_input_tokens,
        )


Bind = Callable[[str | None, str | None], tuple[str | None, str | None]]
"""Finds the capability and the agent of a session from those asked for; raises Conflict."""


class SessionStore:
    """Knows the sessions of one runtime and announces those that come and go."""

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
        """Return the session of this id, made and announced if there is none.

        Raises:
            Conflict: the id is empty, the live session is bound to another agent, or the capability, the
                agent or the policy asked for does not exist.
        """
        if session_id == "":
            raise Conflict("session_id is empty; leave it out to get a fresh id")
        if session_id is not None and (live := self._sessions.get(session_id)) is not None:
            if not _is_default(agent) and live.agent is not None and agent != live.agent:
                raise Conflict(f"session {session_id!r} is bound to agent {live.agent!r}, not {agent!r}")
            live.model = model or live.model
            return live
        home, answers = self._bind(
            None if _is_default(capability) else capability, None if _is_default(agent) else agent
        )
        try:
            chosen = resolve_policy(policy)
        except ValueError as exc:
            raise Conflict(str(exc)) from exc
        now = iso(self._clock.now())
        session = Session(
            session_id=session_id or str(uuid.uuid4()),
            created_at=now,
            updated_at=now,
            capability=home,
            agent=answers,
            model=model or None,
            project=project,
            group_id=group_id,
            labels={name: list(values) for name, values in (labels or {}).items()},
            origin=origin or "user",
            policy=chosen,
            messages=list(messages or ()),
        )
        self._keep(session)
        # Both the envelope and the payload name the session (contract 11.2).
        named = {"session_id": session.session_id}
        self._bus.publish("session.created", named, session_id=session.session_id)
        return session

    def ensure(self, session_id: str) -> Session:
        """Return the session of this id, made without announcement if there is none."""
        if session_id not in self._sessions:
            now = iso(self._clock.now())
            capability, agent = self._bind(None, None)
            self._keep(
                Session(
                    session_id=session_id, created_at=now, updated_at=now, capability=capability, agent=agent
                )
            )
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

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def list(self) -> list[Session]:
        """Return all live sessions, the newest change first."""
        return sorted(self._sessions.values(), key=lambda s: s.updated_at, reverse=True)

    def touch(self, session: Session) -> None:
        """Note that the session changed now."""
        session.updated_at = iso(self._clock.now())

    def delete(self, session_id: str) -> None:
        """Announce the end of a session and forget it.

        Raises:
            NotFound: there is none.
        """
        self.get(session_id)
        self._bus.publish("session.deleted", {"session_id": session_id}, session_id=session_id)
        del self._sessions[session_id]
        self._bus.delete_session(session_id)

    def _keep(self, session: Session) -> None:
        self._sessions[session.session_id] = session
        self._bus.open_session(session.session_id)


def iso(moment: datetime) -> str:
    """Return the moment as it goes over the wire, with microseconds and `Z`."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_default(name: str | None) -> bool:
    """Tell whether a name counts as not given (contract 6.6)."""
    return name is None or name.lower() in ("", "default")
