"""`TurnEvents`: publishes what happens in turns; used by `turns.py`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from dnworker.core.cut_payloads import truncate
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Gone, NotStored, TooLarge
from dnworker.sessions.deltas import Deltas
from dnworker.sessions.restoring import interrupted

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.events.bus import EventBus
    from dnworker.sessions.keeper import SessionKeeper
    from dnworker.sessions.session import Session
    from dnworker.sessions.turn import Turn

log = logging.getLogger("dnworker.turns")


class BegunElsewhere(Exception):
    """A turn has begun, or ended, in the runtime that had its session before."""


class TurnEvents:
    """Publishes the events of turns, each once where runtimes may take sessions over from each other.

    A turn has one first and one last event then, whoever publishes it: these have ids of their own, and of
    two events of one id the broker takes the first.
    """

    def __init__(self, bus: EventBus, is_known: Callable[[str], bool], clock: Clock) -> None:
        self._bus = bus
        self.is_shared = False
        """Whether other runtimes may take sessions over."""
        self.deltas = Deltas(bus, is_known, clock)
        """Pieces of answers, where runtimes share the broker."""

    def accept(self, session: Session, turn: Turn) -> EventEnvelope:
        """Publish that a turn is accepted."""
        payload = {
            "agent": turn.request.agent,
            "model": turn.request.model,
            "reset": turn.request.reset,
            "message_length": len(turn.request.message),
            "queue_depth": turn.depth,
        }
        return self._bus.publish("turn.accepted", payload, session_id=session.session_id, turn_id=turn.id)

    async def keep(self, session: Session, turn: Turn, keeper: SessionKeeper) -> EventEnvelope:
        """Keep a turn, then publish that it is accepted, and return once that is kept.

        Raises:
            NotStored: it cannot be kept, or another runtime took its session over meanwhile.
            Invalid: what it says is no text that can be kept.
        """
        await keeper.keep_turn(session, turn)
        await keeper.kept(session)
        accepted = self.accept(session, turn)
        await self._bus.accepted(accepted)
        if not session.is_here:  # the runtime that has it may not have seen the turn
            self.publish(session, turn, "turn.failed", interrupted(turn.id), terminal=True)
            raise NotStored(
                f"session {session.session_id!r} has moved to another node; start the turn again",
                code="DN816",
            )
        return accepted

    async def begin(self, session: Session, turn: Turn, *, is_kept: bool) -> EventEnvelope | None:
        """Publish that the agent begins; where it is kept, return once it is: no turn begins twice.

        Raises:
            NotStored: it cannot be kept.
            BegunElsewhere: it has begun already, or has its end.
        """
        if self._has_ended(session, turn):
            raise BegunElsewhere
        started = self.publish(session, turn, "turn.started", {"agent": turn.agent, "model": turn.model})
        if is_kept and started is not None and not (await self._bus.acceptance(started)).is_new:
            raise BegunElsewhere
        if self._has_ended(session, turn):  # an end that came before has been delivered by now
            raise BegunElsewhere
        return started

    def _has_ended(self, session: Session, turn: Turn) -> bool:
        """Return whether another runtime has published the end of a turn that has not begun."""
        if not self.is_shared:
            return False
        if self.deltas.has_ended(turn.id):
            return True
        events = self._bus.kept(session.session_id, 0)
        return any(one.terminal and one.turn_id == turn.id for one in events)

    def publish(
        self, session: Session, turn: Turn, kind: str, payload: dict[str, Any], *, terminal: bool = False
    ) -> EventEnvelope | None:
        """Publish an event of a turn that has not finished; None where it is dropped."""
        if turn.finished:
            return None  # cancelled, and the agent ignored that
        publish = partial(
            self._bus.publish, kind, session_id=session.session_id, turn_id=turn.id, terminal=terminal
        )
        if self.is_shared and (terminal or kind == "turn.started"):
            publish = partial(publish, event_id=_once_id(turn.id, terminal=terminal), may_exist=True)
        try:
            if self.is_shared and self.deltas.send(turn, session.session_id, kind, payload):
                return None
            event = publish(payload)
        except TooLarge as exc:
            event = publish(truncate(payload, str(exc)))  # never too large: it keeps a tenth of the bound
        except Gone:
            log.info("%s of the deleted session %s is dropped", kind, session.session_id)
            return None
        turn.last_event_id = event.event_id
        return event


def _once_id(turn_id: str, *, terminal: bool) -> str:
    """Return the id of the first or the last event of a turn."""
    what = f"{turn_id} {'end' if terminal else 'start'}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(what, digest_size=16).hexdigest()
