"""What was missed without a connection: read from recorded events, or from the buffers of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from dnworker.attach.handshake import read_json
from dnworker.client.http import HttpConnection
from dnworker.core.envelope import EventEnvelope, decode
from dnworker.core.errors import RuntimeUnavailable
from dnworker.core.hops import checked_via
from dnworker.core.ids import new_id

PAGE = 1_000
"""Events of one page."""

KINDS_ASKED, LONGEST_KIND = 50, 256
"""Kinds that a request names, and their characters."""

SESSION_SECONDS = 5.0
"""Seconds until the buffer of a session must have come."""

SESSIONS_ASKED = 200
"""Sessions whose buffers are read; those that were heard of last."""


class Dropped(Exception):
    """Events that are kept no more; `before` is the first that is, where that is known."""

    def __init__(self, after: int, before: int | None, detail: str) -> None:
        super().__init__(detail)
        self.after, self.before, self.detail = after, before, detail


@dataclass
class Recorded:
    """One page of recorded events."""

    envelopes: list[EventEnvelope]
    latest_seq: int
    next: str | None
    """The cursor of the next page; None where that is all."""
    has_gap: bool = False
    without_payload: set[int] = field(default_factory=set)
    """The `seq` of events whose payloads are kept no more."""
    via: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """By which runtimes copies among them have come there, by their `seq`."""


async def read_recorded(
    connection: HttpConnection, after: int, kinds: Collection[str] | None, limit: int = PAGE
) -> AsyncIterator[Recorded]:
    """Yield the pages of what a runtime of ours has recorded after an event.

    Raises:
        httpx.HTTPError, msgspec.MsgspecError: it cannot be read now.
    """
    query: dict[str, Any] = {"after": after, "limit": limit, "noise": "true"}
    if kinds is not None and can_be_asked(kinds):
        query["kind"] = sorted(kinds)
    while True:
        page = _page(await read_json(connection, "/api/history/envelopes", query))
        yield page
        if page.next is None:
            return
        query["cursor"] = page.next


def _page(answer: Any) -> Recorded:
    found, without, via = [], set[int](), dict[int, tuple[str, ...]]()
    for one in answer["envelopes"]:
        envelope = decode(msgspec.json.encode(one))
        found.append(envelope)
        if one.get("payload_dropped"):
            without.add(envelope.seq)
        if places := checked_via(one.get("via")):
            via[envelope.seq] = places
    latest, more = int(answer["latest_seq"]), answer.get("next")
    return Recorded(found, latest, more, bool(answer.get("gap")), without, via)


def can_be_asked(kinds: Collection[str]) -> bool:
    """Return whether a request may name these kinds; where not, all are asked for, and picked here."""
    is_plain = all(len(kind) <= LONGEST_KIND and not kind.endswith("*") for kind in kinds)
    return 0 < len(kinds) <= KINDS_ASKED and is_plain


async def is_continued(connection: HttpConnection, seq: int, event_id: str | None) -> bool:
    """Return whether a runtime has an event that was taken from it before, under the same number.

    Raises:
        httpx.HTTPError, msgspec.MsgspecError: it cannot be read now.
    """
    async for page in read_recorded(connection, max(0, seq - 1), None, limit=1):
        if page.latest_seq < seq:
            return False
        first = next(iter(page.envelopes), None)
        return first is None or first.seq != seq or event_id is None or first.event_id == event_id
    return True


@dataclass
class _Buffer:
    """What the buffer of one session had after an event."""

    session_id: str
    after: int
    events: list[EventEnvelope] = field(default_factory=list)
    latest: int | None = None
    is_cut: bool = False
    is_known: bool = True

    @property
    def is_whole(self) -> bool:
        newest = self.events[-1].seq if self.events else self.after
        if not self.is_known:
            return True
        return self.latest is not None and (self.is_cut or newest >= self.latest)


async def read_sessions(
    connection: HttpConnection, session_ids: Collection[str], after: int
) -> tuple[list[EventEnvelope], list[str]]:
    """Return what the reference's buffers of sessions have after an event, in order, and what they lack.

    Only sessions that are there are asked for: to subscribe to another one would make it.

    Raises:
        httpx.HTTPError, OSError, TimeoutError: it cannot be read now.
    """
    answer = await read_json(connection, "/api/sessions")
    there = {one.get("session_id") for one in answer if isinstance(one, dict)}
    wanted = [one for one in session_ids if one in there][-SESSIONS_ASKED:]
    buffers = {one: _Buffer(one, after) for one in wanted}
    if buffers:
        async with asyncio.timeout(SESSION_SECONDS), connection.open_socket("/api/ws") as socket:
            await _read(socket, buffers)
    found = sorted((e for one in buffers.values() for e in one.events), key=lambda e: e.seq)
    lacking = [f"session {one.session_id} keeps too few" for one in buffers.values() if one.is_cut]
    return found, lacking


async def _read(socket: Any, buffers: dict[str, _Buffer]) -> None:
    await socket.send(_command("hello", None, {}))
    for one in buffers.values():
        await socket.send(_command("subscribe", one.session_id, {"after_seq": one.after}))
    async for text in socket:
        frame = msgspec.json.decode(text)
        if "seq" in frame:
            envelope = decode(text)
            buffer = buffers.get(envelope.session_id or "")
            if buffer is not None and envelope.seq > buffer.after:
                buffer.events.append(msgspec.structs.replace(envelope, connection_id=None, replay=False))
        elif (buffer := buffers.get(frame.get("session_id") or "")) is not None:
            payload = frame.get("payload") or {}
            if frame["kind"] == "session.snapshot":
                buffer.latest = payload.get("latest_seq", 0)
            elif frame["kind"] == "transport.resync_required":
                buffer.is_cut = True
            elif frame["kind"] == "command.error":
                buffer.is_known = False
        if all(one.is_whole for one in buffers.values()):
            return


def _command(op: str, session_id: str | None, payload: dict[str, Any]) -> str:
    fields = {"schema_version": 2, "command_id": new_id(), "op": op, "session_id": session_id}
    return msgspec.json.encode({**fields, "payload": payload}).decode()


CAUGHT = (
    httpx.HTTPError,
    msgspec.MsgspecError,
    RuntimeUnavailable,
    OSError,
    TimeoutError,
    KeyError,
    TypeError,
    ValueError,
)
"""What reading raises where a runtime does not answer, or not as it should."""
