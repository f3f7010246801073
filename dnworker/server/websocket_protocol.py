"""`WebSocketProtocol`: the bounded one, and what ASGI has no message for; `embedded.py` and streams use it.

A WebSocket application gets a `Wire` by `wire_of`: it can ask whether what it sent has arrived, and cut off a
client that reads nothing. ASGI clients in memory have none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from starlette.types import Scope
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from dnworker.server.bounded_websocket import BoundedWebSocket

EXTENSION = "dnworker.wire"
_OURS = b"dnworker "

CLOSE_SECONDS = 5.0
"""Seconds in which the client must take what is left and the close, once the application is done with it."""

WENT = (1000, 1001, 1005)
"""Codes by which a client says that it leaves (RFC 6455 7.4.1); 1005 stands for a close without a code."""


class Wire(Protocol):
    """One WebSocket connection, below ASGI."""

    on_arrived: Callable[[int], None] | None
    """Called with the newest mark that has arrived, and with it all that was sent before."""

    on_writable: Callable[[], None] | None
    """Called when the client takes again what it is sent."""

    @property
    def has_left(self) -> bool:
        """Whether the client has closed the connection; False if it broke."""

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still reach the client."""

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what it is sent; else it would wait in memory."""

    async def until_writable(self) -> None:
        """Wait until then, or until the connection is lost."""

    def write(self, frames: Sequence[bytes], mark: int | None = None) -> None:
        """Send whole frames, without the way through ASGI; nothing, once the connection is closed.

        With `mark` the client is asked to say when it has what was sent so far: by a ping that holds the
        number, which its library answers.
        """

    async def answers(self, seconds: float) -> bool:
        """Return whether the client answers a ping in that time."""

    def abort(self) -> None:
        """End the connection at once; what is not sent yet is not sent."""


def wire_of(scope: Scope) -> Wire | None:
    """Return what is below an ASGI connection; None for clients in memory."""
    wire: Wire | None = scope.get("extensions", {}).get(EXTENSION, {}).get("wire")
    return wire


class WebSocketProtocol(BoundedWebSocket):
    """Gives applications a `Wire`, and ends connections whose client takes neither data nor the close.

    The pings of marks are apart from uvicorn's keepalive, by their payload.
    """

    on_arrived: Callable[[int], None] | None = None
    on_writable: Callable[[], None] | None = None
    _probe: asyncio.Event | None = None
    _ending: asyncio.TimerHandle | None = None

    @property
    def has_left(self) -> bool:
        """Whether the client has closed the connection; False if it broke."""
        close = self.conn.close_rcvd
        return close is not None and close.code in WENT

    @property
    def is_open(self) -> bool:
        """Whether what is sent may still reach the client."""
        return not (self.disconnected or self.close_sent or self.transport.is_closing())

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what it is sent."""
        return self.writable.is_set()

    async def until_writable(self) -> None:
        """Wait until then, or until the connection is lost."""
        await self.writable.wait()

    def write(self, frames: Sequence[bytes], mark: int | None = None) -> None:
        """Send whole frames, of which `websockets` keeps no account, and a ping (RFC 6455 5.5.2) at once."""
        if not self.is_open:
            return
        pings: list[bytes] = []
        if mark is not None:
            with suppress(InvalidState):  # the client is closing
                self.conn.send_ping(_OURS + b"%d" % mark)
                pings = self.conn.data_to_send()
        self.transport.write(b"".join([*frames, *pings]))

    def resume_writing(self) -> None:
        """Let who writes by itself go on, too."""
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    async def answers(self, seconds: float) -> bool:
        """Send a ping, and wait for any answer."""
        self._probe = self._probe or asyncio.Event()
        self._probe.clear()
        self.write([], mark=0)
        try:
            async with asyncio.timeout(seconds):
                await self._probe.wait()
        except TimeoutError:
            return False
        return self.is_open

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        """Add ourselves to the scope before the application runs."""
        super().handle_connect(event)
        if not self.close_sent:  # else it was no handshake
            self.scope["extensions"][EXTENSION] = {"wire": self}

    def handle_pong(self, event: Frame) -> None:
        """Take the answer to a mark (RFC 6455 5.5.3), or leave it to the keepalive."""
        payload = bytes(event.data)
        number = payload.removeprefix(_OURS)
        if self._probe is not None:
            self._probe.set()
        if number == payload or not number.isdigit():
            super().handle_pong(event)
        elif self.on_arrived is not None:
            self.on_arrived(int(number))

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Give the client some seconds to take the rest, once the application has ended."""
        super().on_task_complete(task)
        self._end_soon()

    def keepalive_timeout(self) -> None:
        """Close as uvicorn does, and do not wait for ever until the close is sent."""
        super().keepalive_timeout()
        self._end_soon()

    def shutdown(self) -> None:
        """Close as uvicorn does, and do not wait for ever until the close is sent."""
        super().shutdown()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        super().connection_lost(exc)

    def _end_soon(self) -> None:
        if self._ending is None and not self.disconnected:
            self._ending = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
