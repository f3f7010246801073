"""`BoundedWebSocket`: uvicorn's WebSocket protocol with limits on what a client sends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from dnworker.server.connections import Connection

log = logging.getLogger("dnworker.server")

FRAGMENTS = 1_000
"""Frames that one message may come in; their bytes are bounded by the library, at 16 MiB a message."""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """One socket, from its handshake on."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connection: Connection = app_state["connection"]
        self._connection.check = self._check
        self._fragment_at = 0.0
        self._late_pong: bytes | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._connection.closed()

    def resume_writing(self) -> None:
        """Answer the newest ping that came while the client did not read (RFC 6455, 5.5.3)."""
        super().resume_writing()
        pong, self._late_pong = self._late_pong, None
        if pong is not None and not self.transport.is_closing():
            self.transport.write(pong)

    def handle_ping(self) -> None:
        """Answer a ping; a client that does not read gets an answer to its newest one only."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)
        else:
            self._late_pong = pong

    def handle_text(self, event: Frame) -> None:
        """Begin a message."""
        self._fragment_at = self._connection.now()
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Begin a message."""
        self._fragment_at = self._connection.now()
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Go on with a message; one in too many frames ends the socket."""
        if self.close_sent:
            return
        self._fragment_at = self._connection.now()
        if len(self.frames) >= FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"a message is at most {FRAGMENTS:,} frames")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Hand a message over; text that is no UTF-8 ends the socket."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "text is UTF-8")
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """End the connection after what is no frame, or no handshake."""
        if self.conn.close_sent is None:
            log.debug("refused a WebSocket handshake: %s", self.conn.parser_exc)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
            return
        super().handle_parser_exception()

    def _check(self, now: float) -> None:
        """End a socket whose message does not go on."""
        seconds = self._connection.limits.body_seconds
        if self.frames and not self.close_sent and now - self._fragment_at > seconds:
            self._fail(CloseCode.POLICY_VIOLATION, f"a message paused for more than {seconds:g} s")

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            super().handle_parser_exception()
