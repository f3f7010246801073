"""The endpoints that publish an event and that stream events one way (contract 6.4, 7.1)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from dnworker.client.event_stream import (
    ACK,
    AFTER_SEQ,
    DELIVERY,
    EXPLICIT,
    FOR,
    HANDLERS,
    STREAM,
    TRACES,
    VIA,
)
from dnworker.core.envelope import SUBSCRIBER_DROPPED, EventEnvelope, check_publishable, encode
from dnworker.core.errors import NotFound
from dnworker.engine.tokens import TICKET_SECONDS
from dnworker.events.bus import SUBSCRIBER_LIMIT
from dnworker.events.causes import Causes, published_by
from dnworker.events.fed_stream import FedStream
from dnworker.events.streams import StreamReader, WorkerStream
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.cutting import within
from dnworker.server.hanging_up import while_there
from dnworker.server.live_feed import LiveFeed, SentByAsgi, Turn, frame_of, marked_frame
from dnworker.server.rights import Right
from dnworker.server.websocket_protocol import wire_of
from dnworker.server.worker_stream import ACCEPT_HEADERS, serve_worker, until_gone
from dnworker.workers.nesting import Traces
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

TOO_SLOW_CLOSE = 1013  # RFC 6455 registry: try again later

LONGEST_NAME = 128
"""Characters of the name that a client gives its stream."""


class NewEvent(Fields):
    """One event to publish; with `dedupe`, a key, unless the caller has published one of it within a day."""

    kind: str
    payload: dict[str, Any] = {}
    dedupe: str | None = None


class Published(msgspec.Struct, omit_defaults=True):
    """How the event is known from now on; `duplicate` answers `dedupe`."""

    event_id: str
    seq: int
    duplicate: bool | None = None


@endpoint("POST", "/api/events", right=Right.PUBLISH, body=NewEvent, answer=Published, errors=(400, 503, 507))
async def publish(call: ApiCall) -> object:
    """Publish an event to the runtime's scope; waits while the queue of a worker that listens is full."""
    return await _publish(call, None)


@endpoint(
    "POST",
    "/api/sessions/{session_id}/events",
    right=Right.PUBLISH,
    body=NewEvent,
    answer=Published,
    errors=(400, 404, 410, 503, 507),
)
async def publish_to_session(call: ApiCall) -> object:
    """Publish an event to one session; waits while the queue of a worker that listens is full."""
    return await _publish(call, call.path["session_id"])


async def _publish(call: ApiCall, session_id: str | None) -> Published:
    body, engine, bus = call.body, call.engine, call.engine.bus
    check_publishable(body.kind)
    if session_id is not None:
        await engine.commands.shared.look(session_id)
    if bus.pressure:
        await while_there(call.receive, bus.pressure.room(body.kind, session_id))
    worker = call.scope.get("worker")
    engine.payload_checks.check(worker or "", body.kind, body.payload)
    # By default a worker that reports no runs, or `HTTP`: where a handler publishes, it is known.
    with published_by(worker or "HTTP"):
        if body.dedupe is not None:
            publish = partial(_publish_now, call, session_id)
            first = await engine.deduped.publish(worker or "", body.dedupe, publish)
            return Published(first.event_id, first.seq, first.is_duplicate)
        envelope = _publish_now(call, session_id)
    if bus.is_pending(envelope):
        envelope = await bus.accepted(envelope)
    return Published(envelope.event_id, envelope.seq)


def _publish_now(call: ApiCall, session_id: str | None, **named: Any) -> EventEnvelope:
    """Publish, after all that had to be waited for; not where nobody would handle or keep it any more."""
    if call.scope.get("worker") is None:
        call.engine.drain.check_open()
    body = call.body
    return call.engine.publish(body.kind, body.payload, session_id=session_id, size=call.size, **named)


class EventStream:
    """Sends live events as bare envelopes until one side goes: an ASGI application.

    The stream of a worker process loses nothing (`worker_stream.py`). Any other subscriber that falls behind
    is told, with an envelope of kind `transport.subscriber_dropped`, and closed with 1013; one that does not
    even read that is cut off.
    """

    def __init__(self) -> None:
        self._turn = Turn()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one subscriber."""
        socket = WebSocket(scope, receive, send)
        kinds = [kind for kind in socket.query_params.getlist("kinds") if kind]
        # Before the handshake completes, so that nothing published after it is missed.
        reader = await _worker_stream(scope["engine"], scope.get("worker"), kinds, socket.query_params)
        if reader is not None:
            marks = _Marks(scope["engine"].services.traces, reader.stream, socket.query_params)
            await serve_worker(socket, receive, send, reader, marks.frame)
            return
        engine: Engine = scope["engine"]
        wanted = frozenset(kinds) if kinds else None
        frame = frame_of
        if socket.query_params.get(VIA) == "1":
            frame = partial(_via_frame, engine.history.causes)
        feed = LiveFeed(self._turn, wanted, SUBSCRIBER_LIMIT, engine.limits.subscriber, frame)
        engine.bus.remember(feed)
        try:
            await _serve_feed(socket, receive, send, feed)
        finally:
            engine.bus.forget(feed)
            feed.close()


async def _worker_stream(
    engine: Engine, worker: str | None, kinds: list[str], params: QueryParams
) -> StreamReader | None:
    """Return a reader of a worker process's stream; None if that is not who asks."""
    if worker is None:
        return None
    try:
        managed = engine.worker(worker)
    except NotFound:
        return None
    if not isinstance(managed, SubprocessWorker):
        return None
    after_seq = params.get(AFTER_SEQ, "")
    return await managed.open_stream(
        kinds,
        name=params.get(STREAM, "")[:LONGEST_NAME] or None,
        after_seq=int(after_seq) if after_seq.isdecimal() and len(after_seq) < 20 else None,
        feeds_handlers=params.get(FOR) == HANDLERS,
        is_explicit=params.get(ACK) == EXPLICIT,
    )


async def _serve_feed(socket: WebSocket, receive: Receive, send: Send, feed: LiveFeed) -> None:
    await socket.accept(headers=ACCEPT_HEADERS)
    feed.open(wire_of(socket.scope) or SentByAsgi(send))
    leaving: asyncio.Future[Any] = asyncio.create_task(until_gone(receive), name="event stream reader")
    jobs, first = [leaving], [leaving, feed.overflown]
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not leaving.done():
            jobs.append(asyncio.create_task(_tell_dropped(send, feed), name="event stream overflow"))
            await within(socket.scope, asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED))
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def _via_frame(causes: Causes, envelope: EventEnvelope) -> bytes:
    """Return the frame of an event, with the runtimes that it came by."""
    via = causes.via(envelope.event_id)
    return marked_frame(envelope, {"via": [*via]}) if via else frame_of(envelope)


async def _tell_dropped(send: Send, feed: LiveFeed) -> None:
    """Tell a subscriber that it fell behind, once it has taken what waited, and close its socket."""
    await feed.drained
    failure = feed.failure
    payload = {"lost": failure.lost, "limit": failure.limit, "detail": str(failure)}
    with suppress(OSError):  # it has gone
        notice = EventEnvelope(seq=0, kind=SUBSCRIBER_DROPPED, payload=payload)
        await send({"type": "websocket.send", "text": encode(notice).decode()})
        await send({"type": "websocket.close", "code": TOO_SLOW_CLOSE, "reason": "subscriber too slow"})


class _Marks:
    """What one client of ours is told of events beside what they are: what a `FedEvent` has.

    Args:
        traces: what it may be told of traces.
        stream: of its worker.
        params: what it asks for.
    """

    def __init__(self, traces: Traces, stream: WorkerStream, params: QueryParams) -> None:
        self._traces = traces if params.get(TRACES) == "1" else Traces()
        self._stream = stream if params.get(DELIVERY) == "1" and isinstance(stream, FedStream) else None

    def of(self, envelope: EventEnvelope) -> dict[str, object]:
        """Return what is said of an event: of one that comes again, how often, and whose work is done."""
        marks: dict[str, object] = {}
        if self._stream is not None and (number := self._stream.number(envelope)) > 1:
            marks = {"delivery": number, "handled_by": [*self._stream.handled_by(envelope)]}
        if self._traces.of_event is not None and envelope.seq:
            marks["traceparent"] = self._traces.of_event(envelope)
        return marks

    def frame(self, envelope: EventEnvelope) -> bytes:
        """Return the frame of an event, with what is said of it to this client alone."""
        if not (told := self.of(envelope)):
            return frame_of(envelope)
        return marked_frame(envelope, told)


class NewTicket(msgspec.Struct):
    """A right to open one socket until `expires_at`."""

    ticket: str
    expires_at: str


@endpoint("POST", "/api/ws/ticket", right=Right.SUBSCRIBE, answer=NewTicket)
def ticket(call: ApiCall) -> object:
    """Issue a ticket for clients that cannot send headers with a socket, as browsers cannot."""
    tokens = call.engine.tokens
    issued = tokens.issue_ticket(call.scope.get("token") or tokens.main)
    expires = datetime.now(UTC) + timedelta(seconds=TICKET_SECONDS)
    return NewTicket(issued, f"{expires:%Y-%m-%dT%H:%M:%SZ}")


endpoints = [publish, publish_to_session, ticket]


def routes() -> list[WebSocketRoute]:
    """Return the routes of one application: its sockets send in turns of one loop."""
    return [WebSocketRoute("/api/ws/events", EventStream())]
