"""`buffered_events`: what a runtime of the SDK keeps of its sessions' events, read by its interactive socket.

It keeps the newest 500 of each session, and gives those of no session to nobody who comes later.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from dnworker.client.http import HttpConnection
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import SCHEMA_VERSION, EventEnvelope, decode_stored
from dnworker.core.errors import Invalid, RuntimeUnavailable
from dnworker.core.ids import new_id

log = logging.getLogger("dnworker.client")

SESSIONS_MOST = 1_000
"""Sessions that are read at most, the newest."""

SESSION_SECONDS = 20.0
"""Seconds for the events of one session."""

EVENTS_MOST = 100_000
"""Events that are read at most."""

LIST_BYTES = 64_000_000
"""Bytes of the list of sessions at most."""

RESYNC, SNAPSHOT = "transport.resync_required", "session.snapshot"


async def buffered_events(connection: HttpConnection, session: str | None = None) -> list[EventEnvelope]:
    """Return the events that a runtime keeps of one session, or of those that it lists.

    Raises:
        RuntimeUnavailable: it cannot be reached, or went away.
        httpx.HTTPStatusError: it refuses to list its sessions.
    """
    answer = await connection.read("/api/sessions", {}, most=LIST_BYTES, seconds=SESSION_SECONDS)
    try:
        listed = msgspec.json.decode(answer, type=list[_Session])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise RuntimeUnavailable(f"{connection.server_url} answers no list of sessions: {exc}") from exc
    ids = [one.session_id for one in listed if session in (None, one.session_id)][:SESSIONS_MOST]
    if not ids:  # whoever subscribes to a session that is not there makes it
        return []
    from websockets.exceptions import WebSocketException

    try:
        async with connection.open_interactive() as socket:
            reader = _Reader(socket)
            await reader.send("hello", None, {})
            found: list[EventEnvelope] = []
            for one in ids:
                found += await asyncio.wait_for(reader.session(one), SESSION_SECONDS)
                if len(found) > EVENTS_MOST:
                    log.warning(
                        "%s has over %d events; the rest is not read", connection.server_url, EVENTS_MOST
                    )
                    break
            return found
    except (OSError, WebSocketException, TimeoutError) as exc:
        raise unreachable(connection.server_url, exc, "the events of sessions cannot be read") from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise RuntimeUnavailable(
            f"{connection.server_url} answers what no runtime does: {exc}", code="DN224"
        ) from exc


class _Session(msgspec.Struct):
    session_id: str


class _Reader:
    """Reads the buffer of one session after the other over one socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, op: str, session_id: str | None, payload: dict[str, Any]) -> None:
        """Send a command."""
        command = {"schema_version": SCHEMA_VERSION, "command_id": new_id(), "op": op}
        frame = msgspec.json.encode(command | {"session_id": session_id, "payload": payload})
        await self._socket.send(frame.decode())

    async def session(self, session_id: str) -> list[EventEnvelope]:
        """Return what is kept of a session.

        `after_seq: 0` is answered with the oldest `seq` that is kept where an event before it is not; the
        second request names that, and is answered with all.
        """
        after = 0
        for _ in range(5):  # while it is read, the oldest event may have to go
            found, oldest = await self._after(session_id, after)
            if oldest is None:
                return found
            after = max(0, oldest - 1)
        return []

    async def _after(self, session_id: str, after: int) -> tuple[list[EventEnvelope], int | None]:
        await self.send("subscribe", session_id, {"after_seq": after})
        found, latest, oldest = list[EventEnvelope](), None, None
        async for text in self._socket:
            frame = _read(text)
            if frame.get("kind") == "command.error" and frame.get("session_id") in (None, session_id):
                detail = (frame.get("payload") or {}).get("detail")
                raise RuntimeUnavailable(f"the events of session {session_id!r} are refused: {detail}")
            if frame.get("session_id") != session_id:
                continue
            if frame.get("kind") == RESYNC and "seq" not in frame:
                oldest = int(frame["payload"]["oldest_buffered_seq"])
            elif frame.get("kind") == SNAPSHOT and "seq" not in frame:
                latest = int(frame["payload"]["latest_seq"] or 0)
            elif "seq" in frame:
                found.append(decode_stored(text))
            if latest is not None and (
                oldest is not None or latest <= after or (found and found[-1].seq >= latest)
            ):
                break
        await self.send("unsubscribe", session_id, {})
        return found, oldest


def _read(text: str | bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"not a frame of a runtime: {exc}", code="DN224") from exc
