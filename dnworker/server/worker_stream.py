"""Sends the events of a worker process over one socket; `events.py` hands over to it.

What was sent is kept until the client's WebSocket library answers a ping that came after it: libraries do so
by themselves, whatever language the worker is written in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
from starlette.types import Message, Receive, Send
from starlette.websockets import WebSocket

from dnworker.client.event_stream import NO_GROUPS
from dnworker.core.envelope import EventEnvelope
from dnworker.events.fed_stream import FedStream
from dnworker.events.streams import StreamReader
from dnworker.server.live_feed import text_of
from dnworker.server.websocket_protocol import WENT, Wire, wire_of
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.server")

EVENTS_A_MARK = 64
BYTES_A_MARK = 256_000
"""Events and bytes that go out in one write at most; the client is asked then whether they have arrived."""

LONGEST_ACKNOWLEDGEMENT = 256
"""Characters of a frame by which a client acknowledges an event."""

LONGEST_DELAY = 86_400.0
"""Seconds after which an event that a client gave back comes again at the latest."""

ACCEPT_HEADERS = [(NO_GROUPS.encode(), b"1")]

ANSWER_SECONDS = 1.0
"""Seconds in which a client is to answer when another one asks for the same events."""

REVOKED_SECONDS = 2.0
"""Seconds in which the socket of a process that has ended is closed by who revokes its token."""

MakeFrame = Callable[[EventEnvelope], bytes]
"""Returns the frame of one event."""

Deliver = Callable[[Sequence[bytes], int | None], Awaitable[None]]
"""Sends frames, and then asks whether what has this `seq` and all before has arrived; None asks nothing."""


async def serve_worker(
    socket: WebSocket, receive: Receive, send: Send, reader: StreamReader, make_frame: MakeFrame
) -> None:
    """Send what `reader` gives until one side goes; the stream waits for the client then."""
    wire = wire_of(socket.scope)
    if wire is not None:
        wire.on_arrived = reader.acknowledge
        reader.on_end = wire.abort
        reader.is_alive = partial(wire.answers, ANSWER_SECONDS)
    clean = False
    try:
        await socket.accept(headers=ACCEPT_HEADERS)
        deliver = partial(_by_asgi, send, reader) if wire is None else partial(_by_wire, wire)
        if reader.resumed is not None:
            await deliver([make_frame(reader.resumed.envelope)], None)
        sending = keep(_send_all(reader, make_frame, deliver), name="worker stream")
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


async def _send_all(reader: StreamReader, make_frame: MakeFrame, deliver: Deliver) -> None:
    """Send events as they come, those that wait together, and ask whether they have arrived."""
    while (envelope := await reader.next()) is not None:
        frames, newest, size = [make_frame(envelope)], envelope.seq, 0
        while len(frames) < EVENTS_A_MARK and (size := size + len(frames[-1])) < BYTES_A_MARK:
            if (envelope := reader.take()) is None:
                break
            frames.append(make_frame(envelope))
            newest = max(newest, envelope.seq)
        await deliver(frames, newest)
        await asyncio.sleep(0)  # a stream that has more turns the loop nowhere else


async def _by_wire(wire: Wire, frames: Sequence[bytes], mark: int | None) -> None:
    """Send in one write, once the client takes data.

    Raises:
        ConnectionError: the connection is closed.
    """
    await wire.until_writable()
    if not wire.is_open:
        raise ConnectionResetError("the client has gone")
    wire.write(frames, mark)


async def _by_asgi(send: Send, reader: StreamReader, frames: Sequence[bytes], mark: int | None) -> None:
    """Send one after the other, to a client in memory: it has what was sent."""
    for frame in frames:
        await send({"type": "websocket.send", "text": text_of(frame)})
    if mark is not None:
        reader.acknowledge(mark)
