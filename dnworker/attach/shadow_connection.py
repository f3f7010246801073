"""`ShadowConnection`: writes down what a worker would do to another runtime; reads are made there."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from dnworker.client.connection import Connection, checked, encode_fields
from dnworker.core.envelope import EventEnvelope, check_publishable, snapshot
from dnworker.core.ids import new_id
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.models import SessionInfo, iso
from dnworker.core.samples import sample
from dnworker.workers.effects import effect_line, published_line

BYTES_KEPT = 64_000_000
"""Bytes of effects that wait to be compared; those of the oldest invocations go first."""

EFFECTS_KEPT = 1_000
"""Effects that are kept of one invocation; further ones are counted."""

DROPPED_KNOWN = 20_000
"""Invocations of which is known that not all was kept."""

EFFECT_BYTES = 500
"""Bytes of an effect beside its payload and its line."""

SESSIONS_KEPT = 1_000
"""Sessions that shadows have made, which are read as if they were there."""

_SESSION = re.compile(r"/api/sessions/([^/]+)")
_EVENTS = re.compile(r"/api/(?:sessions/([^/]+)/)?events")


@dataclass(frozen=True)
class Effect:
    """One thing that a handler would have done."""

    line: str
    kind: str | None = None
    """Of an event that it would have published; None for anything else."""
    payload: dict[str, Any] | None = None
    session_id: str | None = None
    is_deduped: bool = False
    """Whether it has a key by which it is published once."""

    @property
    def size(self) -> int:
        """About the bytes that it takes; a payload as objects takes a few times its line."""
        return EFFECT_BYTES + len(self.line) * (1 if self.payload is None else 6)


class Effects:
    """What invocations would have done, by their ids, until it is taken to be compared.

    Args:
        tell: called with the worker, the line and the invocation of each.
    """

    def __init__(self, tell: Callable[[str, str, Invocation | None], object]) -> None:
        self._of: OrderedDict[str, tuple[list[Effect], list[int]]] = OrderedDict()
        self._bytes = 0
        self._tell = tell
        self._dropped: OrderedDict[str, None] = OrderedDict()
        self.count = 0
        """How many there were in all."""
        self.late: Callable[[str, Invocation, Effect], bool] = lambda *_: False
        """Called with what an invocation does after its end; returns whether that is dealt with."""

    def note(self, worker: str, effect: Effect) -> None:
        """Write one down, with the invocation that runs here; what no event has caused is not compared."""
        self.count += 1
        invocation = current_invocation.get()
        self._tell(worker, effect.line, invocation)
        if invocation is None or invocation.event is None:
            return
        if invocation.duration is not None and self.late(worker, invocation, effect):
            return  # a task that it started has done it; nobody takes the others any more
        kept, sizes = self._of.setdefault(invocation.id, ([], []))
        if len(kept) >= EFFECTS_KEPT:
            self._drop(invocation.id)
            return
        kept.append(effect)
        sizes.append(size := effect.size)
        self._bytes += size
        while self._bytes > BYTES_KEPT:
            self._drop(next(iter(self._of)))

    def take(self, invocation_id: str) -> list[Effect] | None:
        """Return what an invocation would have done, and forget it; None where not all of it was kept."""
        kept, sizes = self._of.pop(invocation_id, ([], []))
        self._bytes -= sum(sizes)
        if invocation_id in self._dropped:
            del self._dropped[invocation_id]
            return None
        return kept

    def _drop(self, invocation_id: str) -> None:
        _, sizes = self._of.pop(invocation_id)
        self._bytes -= sum(sizes)
        self._dropped[invocation_id] = None
        if len(self._dropped) > DROPPED_KNOWN:
            self._dropped.popitem(last=False)


class ShadowSessions:
    """Sessions that shadows would have made; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, SessionInfo] = OrderedDict()

    def make(self, fields: Mapping[str, Any]) -> SessionInfo:
        """Return a session as the runtime would answer it."""
        known = {name for name in SessionInfo.__struct_fields__ if fields.get(name) is not None}
        given = {name: fields[name] for name in known - {"created_at"}}
        given["session_id"] = str(fields.get("session_id") or f"shadow-{new_id()}")
        info = msgspec.convert({**given, "created_at": iso(datetime.now(UTC))}, SessionInfo)
        self._made[info.session_id] = info
        if len(self._made) > SESSIONS_KEPT:
            self._made.popitem(last=False)
        return info

    def get(self, session_id: str) -> SessionInfo | None:
        """Return one that was made here."""
        return self._made.get(session_id)


class ShadowConnection:
    """The connection of one worker while its runtime is attached in shadow.

    Args:
        worker: the qualified name of the worker.
        remote: the other runtime; only its GETs are used.
        effects: where calls that change something are written down.
        sessions: those that shadows would have made.
        noted: called with each effect.
    """

    has_groups = False

    def __init__(
        self,
        worker: str,
        remote: Connection,
        effects: Effects,
        sessions: ShadowSessions,
        noted: Callable[[Effect], object] = lambda _: None,
    ) -> None:
        self._worker = worker
        self._remote = remote
        self._effects = effects
        self._sessions = sessions
        self._noted = noted

    async def start(self) -> None:
        """Do nothing: the attachment has looked whether the runtime is there."""

    async def close(self) -> None:
        """Do nothing: the connection that is read by is the attachment's."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """Make a GET there; write anything else down, and return what lets a handler go on."""
        named = _SESSION.fullmatch(path.partition("?")[0])
        made = None if named is None else self._sessions.get(unquote(named[1]))
        if method == "GET":
            if made is not None:
                return msgspec.to_builtins(made)
            return await self._remote.request(method, path, query=query, timeout=timeout)
        content = None if body is None else msgspec.json.decode(encode_fields(body))
        fields = content if isinstance(content, dict) else {}
        if (method, path) == ("POST", "/api/sessions"):
            self._note("create_session", **fields)
            return msgspec.to_builtins(self._sessions.make(fields))
        if method == "POST" and (published := _EVENTS.fullmatch(path)) is not None:
            return await self._publish_request(fields, published[1])
        if (method, path) == ("POST", "/api/once"):
            return {"first": await self.begin_once(str(fields.get("key")), "")}
        if method == "POST" and path.startswith("/api/once/"):
            return {}
        given = {**dict(checked(query) or {}), **fields}
        self._note(f"requests {method} {path}", **given)
        if (method, path) == ("POST", "/api/reload"):
            return await self._remote.request("GET", "/api/runtime")
        return {"status": "ok", **fields}

    async def _publish_request(self, fields: dict[str, Any], session: str | None) -> dict[str, Any]:
        """Write down what a process publishes, or who does so without the method for it."""
        kind, dedupe = fields.get("kind"), fields.get("dedupe")
        check_publishable(kind if isinstance(kind, str) else "")
        payload, _ = snapshot(fields.get("payload"))
        session_id = None if session is None else unquote(session)
        return await self.publish(str(kind), payload, session_id, dedupe if isinstance(dedupe, str) else None)

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """Write an event down; its client has checked it."""
        line = published_line(kind, payload, session_id, dedupe)
        self._write(Effect(line, kind, payload, session_id, dedupe is not None))
        answer: dict[str, Any] = {"event_id": new_id(), "seq": 0}
        return answer | ({"duplicate": False} if dedupe is not None else {})

    async def begin_once(self, key: str, claim: str) -> bool:
        """Let every body run: what the deployed worker has done is not asked, and nothing is kept there."""
        self._note("once", key)
        return True

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Do nothing."""

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Raise: clients listen at their own runtime, where the events of the other one come."""
        raise NotImplementedError("events of an attached runtime come by the bus")

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> _ShadowTurn:
        """Write a turn down, and end it at once with a sample answer."""
        message = checked({"message": fields.get("message")})
        self._note("run_turn", session_id=session_id, **dict(message or {}), **_without_message(fields))
        return _ShadowTurn(session_id)

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Write it down."""
        self._note("cancel_session", session_id, **fields)
        return "idle"

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Write it down."""
        self._note("respond", session_id, **fields)

    async def watch(self, session_id: str) -> None:
        """Write it down: there, it would make a session that is not there."""
        self._note("subscribe_session", session_id)

    async def unwatch(self, session_id: str) -> None:
        """Do nothing: `watch` subscribes to nothing."""

    def _note(self, what: str, *args: Any, **fields: Any) -> None:
        self._write(Effect(effect_line(what, *args, **fields)))

    def _write(self, effect: Effect) -> None:
        self._effects.note(self._worker, effect)
        self._noted(effect)


class _ShadowTurn:
    """A turn that no agent answers: it has its end only."""

    def __init__(self, session_id: str) -> None:
        self.turn_id = f"turn_{new_id()}"
        self._session_id = session_id

    async def __aiter__(self) -> AsyncIterator[EventEnvelope]:
        payload = sample("turn.completed", self._session_id) | {"turn_id": self.turn_id}
        yield EventEnvelope(
            seq=0,
            kind="turn.completed",
            payload=payload,
            session_id=self._session_id,
            turn_id=self.turn_id,
            terminal=True,
        )

    def close(self) -> None:
        """Do nothing."""


def _without_message(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "message" and value}
