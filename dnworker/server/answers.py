"""`Exit`: the transport as an HTTP answer uses it; `send_whole` sends one that is there as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from starlette.types import Send

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

CONTINUE = b"HTTP/1.1 100"
"""Begins what comes before the head of an answer (RFC 9110, 15.2.1)."""

_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}


class Leaving(Protocol):
    """The protocol of a connection, of which `BoundedHttp` is one."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def leave(self) -> None:
        """End the connection, once the client can have read what was sent to it."""


class Exit:
    """The transport as an answer uses it: its end is a `leave` of the connection.

    Head and body go out together, where the body comes in the same turn of the loop: a system call less.
    """

    __slots__ = ("_has_begun", "_head", "_protocol", "is_closing")

    def __init__(self, protocol: Leaving) -> None:
        self._protocol = protocol
        self._head: bytes | None = None
        self._has_begun = False
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        """Send a part of the answer; its head with what follows, or soon."""
        head, self._head = self._head, None
        if head is not None:
            # Joined here: `writelines` of Python 3.12 and 3.13 never pauses who writes, and registers the
            # descriptor of a connection that is lost.
            self._protocol.transport.write(head + data)
        elif self._has_begun or data.startswith(CONTINUE):
            self._protocol.transport.write(data)
        else:
            self._has_begun, self._head = True, data
            self._protocol.loop.call_soon(self.flush)

    def write_whole(self, answer: bytes) -> None:
        """Send head and body of an answer of which nothing was sent before."""
        self._has_begun = True
        self._protocol.transport.write(answer)

    def flush(self) -> None:
        """Send the head, if it waits for the body."""
        head, self._head = self._head, None
        if head is not None and not self.is_closing():
            self._protocol.transport.write(head)

    def close(self) -> None:
        """End the connection; of the answer that was begun here, the head goes out before that."""
        self.flush()
        self._protocol.leave()


def send_whole(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Send an answer at once, as uvicorn's `send` would in two steps; False where that has to do it.

    Args:
        send: of ASGI: that of a request to our server may go this way, and no other does.
        status, body: of the answer.
        headers: of the answer, with its length; they are not checked.
    """
    cycle: RequestResponseCycle | None = getattr(send, "__self__", None)
    way_out: object = getattr(cycle, "transport", None)
    if cycle is None or not isinstance(way_out, Exit):
        return False
    if cycle.response_started or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
        return False
    if (status_line := _STATUS_LINES.get(status)) is None:
        return False
    if cycle.disconnected:
        return True  # nobody is there
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    parts = [status_line]
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
    way_out.write_whole(b"".join(parts))
    cycle.message_event.set()
    if not cycle.keep_alive:
        way_out.close()
    cycle.on_response()
    return True
