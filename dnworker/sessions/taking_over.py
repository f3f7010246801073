"""`TakingOver`: reads a session that another node had, and goes on with its turns; used by `shared.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import Unavailable
from dnworker.sessions import restoring
from dnworker.sessions.kept import DELETED, SESSIONS, TURNS, KeptSession, KeptTurn

if TYPE_CHECKING:
    from dnworker.events.brokers.base import Broker
    from dnworker.events.bus import EventBus
    from dnworker.sessions.store import SessionStore
    from dnworker.sessions.turns import Turns


class _Waiting(msgspec.Struct):
    """What is to be known of every turn, without its message."""

    session_id: str
    number: int
    agent: str


class TakingOver:
    """Brings one session after the other into the store, by a lease that is held."""

    def __init__(self, bus: EventBus, store: SessionStore, turns: Turns) -> None:
        self._bus = bus
        self._store = store
        self._turns = turns

    @property
    def _broker(self) -> Broker:
        return self._bus.broker

    async def read(self, session_id: str) -> list[KeptTurn]:
        """Give the store a session, and write it, so that who had it before cannot; returns its turns.

        What is left of one that was deleted, or never made, is removed.

        Raises:
            NotStored, Unavailable: the broker is away; the session cannot be read.
        """
        entry = await self._broker.get(SESSIONS + session_id)
        mark = await self._broker.get(DELETED + session_id)
        since = None if mark is None else restoring.decoded(mark, int)
        record = None if entry is None else restoring.decoded(entry, KeptSession)
        if entry is not None and record is None:
            raise Unavailable(f"session {session_id!r} cannot be read: {entry.key} is no session")
        if record is not None and (since is None or record.since_seq > since) and entry is not None:
            session = await restoring.load(self._bus, self._store, entry, record)
            self._store.note(session)
            await self._store.kept(session)
            return await restoring.turns_of(self._broker, self._store, session_id, record.turns)
        await self._clear(session_id, since, record)
        return []

    async def _clear(self, session_id: str, since: int | None, record: KeptSession | None) -> None:
        """Remove what is left of a session."""
        listed = [] if record is None else record.turns
        for turn in await restoring.turns_of(self._broker, self._store, session_id, listed):
            await self._broker.delete(TURNS + turn.turn_id)
        if record is not None:
            await self._broker.delete(SESSIONS + session_id)
        self._store.let_go(session_id)
        if since is not None:
            self._store.begin_after(session_id, since)
            self._bus.delete_session(session_id)

    async def take_up(self, session_id: str, turns: list[KeptTurn]) -> None:
        """End the turn that ran; those that waited wait until `Turns.release`."""
        if turns:
            await self._turns.take_up(self._store.get(session_id), turns)

    async def waiting(self) -> dict[str, str]:
        """Return all sessions with turns that have not ended, with the agent of the first."""
        found: dict[str, _Waiting] = {}
        for entry in await self._broker.entries(TURNS):
            turn = restoring.decoded(entry, _Waiting)
            if turn is not None:
                first = found.setdefault(turn.session_id, turn)
                if turn.number < first.number:
                    found[turn.session_id] = turn
        return {session_id: turn.agent for session_id, turn in found.items()}
