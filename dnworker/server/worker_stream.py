"""Sends the events of a worker process over one socket; `events.py` hands over to it.

What was sent is kept until the client's WebSocket library answers a ping that came after it: libraries do so
by themselves, whatever language the worker is written in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from starlette.types import Message, Receive
from starlette.websockets import WebSocket

from dnworker.client.event_stream import NO_GROUPS
from dnworker.core.envelope import EventEnvelope
from dnworker.events.fed_stream import FedStream
from dnworker.events.streams import StreamReader
from dnworker.server.websocket_protocol import WENT, Wire, wire_of
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.server")

EVENTS_A_MARK = 64
BYTES_A_MARK = 256_000
"""Events and characters that are sent before the client is asked whether they have arrived."""

LONGEST_ACKNOWLEDGEMENT = 256
"""Characters of a frame by which a client acknowledges an event."""

LONGEST_DELAY = 86_400.0
"""Seconds after which an event that a client gave back comes again at the latest."""

ACCEPT_HEADERS = [(NO_GROUPS.encode(), b"1")]

ANSWER_SECONDS = 1.0
"""Seconds in which a client is to answer when another one asks for the same events."""

REVOKED_SECONDS = 2.0
"""Seconds in which the socket of a process that has ended is closed by who revokes its token."""

SendEnvelope = Callable[[EventEnvelope], Awaitable[int]]
"""Sends one event and returns its length in characters."""


async def serve_worker(socket: WebSocket, receive: Receive, reader: StreamReader, send: SendEnvelope) -> None:
    """Send what `reader` gives until one side goes; the stream waits for the client then."""
    wire = wire_of(socket.scope)
    if wire is not None:
        wire.on_arrived = reader.acknowledge
        reader.on_end = wire.abort
        reader.is_alive = partial(wire.answers, ANSWER_SECONDS)
    clean = False
    try:
        await socket.accept(headers=ACCEPT_HEADERS)
        if reader.resumed is not None:
            await send(reader.resumed.envelope)
        sending = keep(_send_all(reader, wire, send), name="worker stream")
        leaving = keep(until_gone(receive, _acknowledging(reader)), name="worker stream reader")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if reader.is_over:  # the token is revoked next: `auth.py` closes the socket with 4402
                await asyncio.wait({leaving}, timeout=REVOKED_SECONDS)
            if leaving.done():
                clean = wire.has_left if wire is not None else leaving.result().get("code", 1005) in WENT
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        if not clean and wire is not None:
            clean = wire.has_left
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result
    finally:
        reader.leave(clean=clean)


async def until_gone(receive: Receive, hear: Callable[[str], object] = lambda text: None) -> Message:
    """Let `hear` have what the client says, until it leaves; returns the message that says that."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if (text := message.get("text")) is not None:
            hear(text)
    return message


class _Acknowledgement(msgspec.Struct):
    """What a client says of one event: that it is handled, or that it is to come again after so long."""

    ack: int | None = None
    nak: int | None = None
    delay: float = 0.0


_acknowledgements = msgspec.json.Decoder(_Acknowledgement)


def _acknowledging(reader: StreamReader) -> Callable[[str], object]:
    """Return what takes the acknowledgements of a client that sends them; all else is ignored."""
    stream = reader.stream
    if not isinstance(stream, FedStream) or not stream.is_explicit:
        return lambda text: None

    def hear(text: str) -> None:
        if len(text) > LONGEST_ACKNOWLEDGEMENT or not reader.is_reading:
            return
        try:
            said = _acknowledgements.decode(text)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            log.debug("%s: %.100r acknowledges nothing", stream.owner, text)
            return
        if said.ack is not None:
            stream.ack(said.ack)
        elif said.nak is not None:
            stream.nak(said.nak, min(max(0.0, said.delay), LONGEST_DELAY))

    return hear


async def _send_all(reader: StreamReader, wire: Wire | None, send: SendEnvelope) -> None:
    """Send events as they come, and ask now and then whether they have arrived."""
    while (envelope := await reader.next()) is not None:
        newest, events, characters = 0, 0, 0
        while envelope is not None:
            characters += await send(envelope)
            events += 1
            newest = max(newest, envelope.seq)
            if events == EVENTS_A_MARK or characters >= BYTES_A_MARK:
                _mark(reader, wire, newest)
                events, characters = 0, 0
                await asyncio.sleep(0)  # `send` does not turn the loop by itself
            if wire is not None and not wire.is_open:
                return
            envelope = reader.take()
        if events:
            _mark(reader, wire, newest)


def _mark(reader: StreamReader, wire: Wire | None, newest: int) -> None:
    if wire is None:  # a client in memory has what was sent
        reader.acknowledge(newest)
    else:
        wire.mark(newest)
