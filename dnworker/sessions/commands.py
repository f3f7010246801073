"""`SessionCommands`: what clients want of sessions and turns, done by whichever node runs the session.

The server, the panel and clients in this process call it; `execute` does what another node requests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec

from dnworker.core.errors import Invalid, NotFound
from dnworker.core.invocation import note_request
from dnworker.sessions.prompts import Response
from dnworker.sessions.shared import SharedSessions
from dnworker.sessions.snapshots import snapshot
from dnworker.sessions.turn import TurnRequest, new_turn_id

if TYPE_CHECKING:
    from dnworker.core.lease_time import LeaseClock
    from dnworker.events.bus import EventBus
    from dnworker.sessions.agents import Agents
    from dnworker.sessions.queue import TurnQueue
    from dnworker.sessions.session import Session
    from dnworker.sessions.store import SessionStore
    from dnworker.sessions.turns import Turns

CATCH_UP_SECONDS = 5.0
"""Seconds that a snapshot of another node waits for the events before it to come here."""

_OF_SESSIONS = re.compile(r"/api/sessions(?:/((?!\.)[^/?#]+)(?:/(?!\.)[^/?#]+)?)?(?:\?[^#]*)?")
"""The paths of the API that nodes call for each other."""

_TURN_ID = re.compile(r"turn_\w{1,64}", re.ASCII)

CallApi = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls the API of this runtime: method, path, query and body; returns status and body."""


class SessionCommands:
    """Opens sessions, starts, cancels and answers turns.

    Args:
        bus, store, turns, agents: the parts of this runtime.
        clock: times the leases of sessions.
        holder: the id of this runtime, as their holder.
        call_api: does what is no command of a turn.
    """

    def __init__(
        self,
        bus: EventBus,
        store: SessionStore,
        turns: Turns,
        agents: Agents,
        *,
        clock: LeaseClock,
        holder: str,
        call_api: CallApi,
    ) -> None:
        self._bus = bus
        self._store = store
        self._turns = turns
        self._call_api = call_api
        self.shared = SharedSessions(
            bus, store, turns, agents, clock=clock, holder=holder, execute=self.execute
        )
        """Finds the node of a session."""

    async def open(self, session_id: str) -> Session:
        """Return the session of this id; where there is none, make it and publish `session.created`.

        Raises:
            Conflict, Invalid: as of `SessionStore.create`.
        """
        if not self.shared.is_on:
            return self._store.create(session_id)
        try:
            return await self.shared.find(session_id)
        except NotFound:
            await self.shared.call(session_id, "open", {}, lambda: self._open(session_id))
            return await self.shared.find(session_id)

    async def watch(self, session_id: str) -> Session:
        """Return the session of this id as `open` does, as soon as it is kept."""
        session = await self.open(session_id)
        note_request(f"subscribe_session {session_id}")
        if session.is_here:
            await self._store.kept(session)
        return session

    async def ensure(self, session_id: str | None) -> None:
        """Make a session if there is none on any node, and publish nothing.

        Raises:
            Invalid: as of `SessionStore.ensure`.
        """
        if not self.shared.is_on or session_id is None:
            return
        try:
            await self.shared.find(session_id)
        except NotFound:
            await self.shared.call(session_id, "ensure", {}, lambda: self._ensure(session_id))
            await self.shared.find(session_id)

    async def start(self, session_id: str, request: TurnRequest) -> str:
        """Accept a turn and return its id; the session is made if need be.

        Raises:
            Invalid, TooLarge, Conflict, NotStored: as of `Turns.start`.
        """
        request.check()
        # Its id is made here: a request that is sent again starts no second turn.
        turn_id = new_turn_id()
        fields = asdict(request) | {"turn_id": turn_id}
        return str(
            await self.shared.call(
                session_id, "turn.start", fields, lambda: self._start(session_id, request, turn_id)
            )
        )

    async def cancel(self, session_id: str, turn_id: str | None = None, *, drop_queued: bool = False) -> str:
        """Cancel a turn; raises as `Turns.cancel`."""
        await self.shared.find(session_id)
        note_request(f"cancel_session {session_id}")
        fields = {"turn_id": turn_id, "drop_queued": drop_queued}
        return str(
            await self.shared.call(
                session_id, "turn.cancel", fields, lambda: self._cancel(session_id, turn_id, drop_queued)
            )
        )

    async def respond(self, session_id: str, response: Response) -> None:
        """Answer a question or a permission; raises as `Turns.respond`."""
        await self.shared.find(session_id)
        note_request(f"respond {session_id}")
        fields = msgspec.to_builtins(response)
        await self.shared.call(
            session_id, "prompt.respond", fields, lambda: self._respond(session_id, response)
        )

    async def snapshot(self, session_id: str) -> dict[str, Any]:
        """Return what a session is doing; the events before that have come here when it returns.

        Raises:
            NotFound: there is no such session.
        """
        found = await self.shared.ask(session_id, "snapshot") if self.shared.is_on else None
        if not isinstance(found, dict):
            session = await self.shared.find(session_id)
            return snapshot(session, self._turns.queue(session), self._bus.bounds(session_id)[0])
        newest = int(found.get("latest_seq") or 0)
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while self._bus.latest_seq < newest and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        return found | {"latest_seq": max(newest, self._bus.bounds(session_id)[0])}

    async def execute(self, op: str, session_id: str, fields: dict[str, Any]) -> Any:
        """Do what another node requests of a session that runs here.

        Raises:
            ApiError: it is refused.
        """
        match op:
            case "open":
                return await self._open(session_id)
            case "ensure":
                return await self._ensure(session_id)
            case "turn.start":
                turn_id = fields.pop("turn_id", None)
                if not isinstance(turn_id, str) or not _TURN_ID.fullmatch(turn_id):
                    raise Invalid(f"{turn_id!r:.60} is no id of a turn", code="DN604")
                return await self._start(session_id, TurnRequest(**fields), turn_id)
            case "turn.cancel":
                return await self._cancel(session_id, **fields)
            case "prompt.respond":
                return await self._respond(session_id, msgspec.convert(fields, Response))
            case "snapshot":
                session = self._store.get(session_id)
                return snapshot(session, self._turns.queue(session), self._bus.bounds(session_id)[0])
            case "api":
                if not _is_of(session_id, fields):
                    raise Invalid(f"no node does {fields.get('path')!r:.100} for another", code="DN813")
                return await self._call_api(fields)
        raise Invalid(f"this node does not know {op!r}: it has another version", code="DN813")

    # -- in this runtime -------------------------------------------------------------------------------

    async def _open(self, session_id: str) -> None:
        await self._store.kept(self._store.create(session_id))

    async def _ensure(self, session_id: str) -> None:
        await self._store.kept(self._store.ensure(session_id))

    async def _start(self, session_id: str, request: TurnRequest, turn_id: str) -> str:
        session = self._store.create(session_id)
        queue = self._turns.queue(session)
        if self.shared.is_on and self._is_started(session, queue, turn_id):
            await queue.accepted(turn_id)
            return turn_id
        turn = self._turns.start(session, request, turn_id)
        await turn.accepted()
        return turn.id

    def _is_started(self, session: Session, queue: TurnQueue, turn_id: str) -> bool:
        """Return whether a turn was started, here or where the session ran before, as far as is known."""
        if turn_id in queue.started or turn_id in session.turns:
            return True
        return any(one.turn_id == turn_id for one in self._bus.kept(session.session_id, 0))

    async def _cancel(self, session_id: str, turn_id: str | None, drop_queued: bool) -> str:
        status = await self._turns.cancel(session_id, turn_id, drop_queued=drop_queued)
        await self._store.kept_by_id(session_id)
        return status

    async def _respond(self, session_id: str, response: Response) -> None:
        self._turns.respond(session_id, response)
        await self._store.kept_by_id(session_id)


def _is_of(session_id: str, fields: dict[str, Any]) -> bool:
    """Return whether a call of the API is about this session, which its path names, or else its body."""
    found = _OF_SESSIONS.fullmatch(str(fields.get("path")))
    if found is None:
        return False
    if (named := found.group(1)) is not None:
        return unquote_to_bytes(named.encode("latin-1", "replace")) == session_id.encode()
    try:
        body = msgspec.json.decode(str(fields.get("body")), type=_Named)
    except msgspec.MsgspecError:
        return False
    return body.session_id == session_id


class _Named(msgspec.Struct):
    session_id: str
