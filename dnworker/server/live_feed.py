"""`LiveFeed`: live events for one socket, as WebSocket frames; `events.py` has one for each subscriber.

All events of one turn of the loop go out in one write, without a task of their own; an event is encoded once
for all sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Protocol

import msgspec
from starlette.types import Send

from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.errors import SubscriberTooSlow
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.server")

BYTES_A_WRITE = 65_536
"""Bytes that are written at once, if there is more than one frame: asyncio pauses a socket at as many."""


class Outgoing(Protocol):
    """Where frames go: a `Wire`."""

    on_writable: Callable[[], None] | None

    @property
    def is_writable(self) -> bool:
        """Whether the client takes what it is sent."""

    def write(self, frames: Sequence[bytes]) -> None:
        """Send frames."""


class SentByAsgi:
    """Sends frames by ASGI's `send`, one after the other: for sockets without a `Wire`."""

    def __init__(self, send: Send) -> None:
        self.on_writable: Callable[[], None] | None = None
        self._send = send
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_writable(self) -> bool:
        """Whether nothing is on its way."""
        return self._sending is None

    def write(self, frames: Sequence[bytes]) -> None:
        """Begin to send frames."""
        self._sending = keep(self._write(frames), name="event stream")

    async def _write(self, frames: Sequence[bytes]) -> None:
        try:
            for frame in frames:
                await self._send({"type": "websocket.send", "text": text_of(frame)})
        except OSError:
            return  # it has gone
        self._sending = None
        if self.on_writable is not None:
            self.on_writable()


class Turn:
    """Sends what feeds hold, once the loop turns: one callback for all of them, in no handler's context."""

    def __init__(self) -> None:
        self._due: list[LiveFeed] = []
        self._context = Context()

    def add(self, feed: LiveFeed) -> None:
        """Have a feed send in the next turn."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._send, context=self._context)
        self._due.append(feed)

    def _send(self) -> None:
        due, self._due = self._due, []
        for feed in due:
            try:
                feed.send()
            except Exception:  # the others are to get theirs
                log.exception("events could not be sent to a client")


class LiveFeed:
    """The events that one subscriber has not been sent yet: a `Subscriber` of the bus.

    While the client takes nothing they wait, within limits. From the first on that finds no room nothing is
    taken any more; what waits is still sent.

    Args:
        turn: sends; all feeds of one loop share it.
        kinds: what it wants; None for all.
        limit, max_bytes: events, and bytes of frames, that may wait.
        frame: makes the frame of an event.
    """

    def __init__(
        self,
        turn: Turn,
        kinds: frozenset[str] | None,
        limit: int,
        max_bytes: int,
        frame: Callable[[EventEnvelope], bytes] | None = None,
    ) -> None:
        # What it wants.
        self.kinds = kinds
        self.session_id: str | None = None
        self.owner: str | None = None
        self.goes_by_seq = False
        # What waits, and what was lost.
        self._turn = turn
        self._frame = frame or frame_of
        self._frames: list[bytes] = []
        self._bytes = 0
        self._limit = limit
        self._max_bytes = max_bytes
        self._lost = 0
        # Where it goes.
        self._to: Outgoing | None = None
        self.overflown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when the first event is lost."""
        self.drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Is done when events are lost, and all that waited is sent."""

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Take one event, to be sent in the next turn of the loop; False where there is no room."""
        frames = self._frames
        if self._lost or len(frames) >= self._limit or self._bytes >= self._max_bytes:
            self._lose()
            return False
        if not frames:  # else it is to be sent already, or the client takes nothing
            self._turn.add(self)
        frame = self._frame(envelope)
        frames.append(frame)
        self._bytes += len(frame)
        return True

    def open(self, to: Outgoing) -> None:
        """Send from now on, first what was put by now."""
        self._to = to
        to.on_writable = self.send
        self.send()

    def send(self) -> None:
        """Send what waits, as far as the client takes it."""
        to = self._to
        while self._frames and to is not None and to.is_writable:
            to.write(self._take())
        if self._lost and not self._frames and not self.drained.done():
            self.drained.set_result(None)

    @property
    def failure(self) -> SubscriberTooSlow:
        """Why events are lost."""
        return SubscriberTooSlow(self._lost, self._limit, self._max_bytes)

    def close(self) -> None:
        """Send nothing more."""
        if self._to is not None:
            self._to.on_writable = None
        self._to = None
        self._frames.clear()

    def _take(self) -> list[bytes]:
        """Return the frames of the next write."""
        frames = self._frames
        if self._bytes <= BYTES_A_WRITE:
            self._frames, self._bytes = [], 0
            return frames
        count, size = 1, len(frames[0])
        while count < len(frames) and (more := size + len(frames[count])) <= BYTES_A_WRITE:
            count, size = count + 1, more
        self._frames, self._bytes = frames[count:], self._bytes - size
        return frames[:count]

    def _lose(self) -> None:
        self._lost += 1
        if not self.overflown.done():
            self.overflown.set_result(None)


_newest: tuple[EventEnvelope | None, bytes] = (None, b"")


def frame_of(envelope: EventEnvelope) -> bytes:
    """Return the envelope's frame; subscribers of one event come one after the other, and share it."""
    global _newest
    newest = _newest
    if newest[0] is not envelope:
        _newest = newest = (envelope, text_frame(encode(envelope)))
    return newest[1]


def marked_frame(envelope: EventEnvelope, told: Mapping[str, object]) -> bytes:
    """Return the frame of an event, with what is said of it to one client alone."""
    return text_frame(b"%b,%b" % (encode(envelope)[:-1], msgspec.json.encode(told)[1:]))


def text_frame(text: bytes) -> bytes:
    """Return a server's frame of a text in UTF-8 (RFC 6455 5.2)."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


def text_of(frame: bytes) -> str:
    """Return the text of such a frame."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :].decode()
