"""The endpoints that publish an event and that stream events one way (contract 6.4, 7.1)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from dnworker.client.http import FOR, HANDLERS
from dnworker.core.envelope import SUBSCRIBER_DROPPED, EventEnvelope, encode
from dnworker.core.errors import NotFound, SubscriberTooSlow
from dnworker.engine.tokens import TICKET_SECONDS
from dnworker.events.bus import SUBSCRIBER_LIMIT, Subscription
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right
from dnworker.workers.remote import HandlerStream
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

TOO_SLOW_CLOSE = 1013  # RFC 6455 registry: try again later
EVENTS_CUT = "transport.events_cut"


class NewEvent(Fields):
    """One event to publish."""

    kind: str
    payload: dict[str, Any] = {}


class Published(msgspec.Struct):
    """How the event is known from now on."""

    event_id: str
    seq: int


@endpoint("POST", "/api/events", right=Right.PUBLISH, body=NewEvent, answer=Published, errors=(400,))
def publish(call: ApiCall) -> object:
    """Publish an event to the runtime's scope."""
    envelope = call.engine.publish(call.body.kind, call.body.payload, size=call.size)
    return Published(envelope.event_id, envelope.seq)


@endpoint(
    "POST",
    "/api/sessions/{session_id}/events",
    right=Right.PUBLISH,
    body=NewEvent,
    answer=Published,
    errors=(400, 404, 410),
)
def publish_to_session(call: ApiCall) -> object:
    """Publish an event to one session."""
    session_id = call.path["session_id"]
    body = call.body
    envelope = call.engine.publish(body.kind, body.payload, session_id=session_id, size=call.size)
    return Published(envelope.event_id, envelope.seq)


class EventStream:
    """Sends live events as bare envelopes until one side goes: an ASGI application.

    A subscriber that falls behind is told, with an envelope of kind `transport.subscriber_dropped`, and
    closed with 1013. A worker process gets first, once, what was published since it was spawned.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one subscriber."""
        socket = WebSocket(scope, receive, send)
        kinds = [kind for kind in socket.query_params.getlist("kinds") if kind]
        # Before the handshake completes, so that nothing published after it is missed.
        feeds_handlers = socket.query_params.get(FOR) == HANDLERS
        subscription, cut = _subscribe(scope["engine"], scope.get("worker"), kinds, feeds_handlers)
        try:
            await socket.accept()
            if cut:
                await _send(send, EventEnvelope(seq=0, kind=EVENTS_CUT, payload={"lost": cut}))
            sending = asyncio.create_task(_send_all(send, subscription), name="event stream")
            leaving = asyncio.create_task(_until_gone(receive), name="event stream reader")
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
        finally:
            subscription.close()
            if isinstance(subscription.watcher, HandlerStream):
                subscription.watcher.close()


def _subscribe(
    engine: Engine, worker: str | None, kinds: list[str], feeds_handlers: bool
) -> tuple[Subscription, int]:
    if worker is not None:
        try:
            managed = engine.worker(worker)
        except NotFound:
            managed = None
        if isinstance(managed, SubprocessWorker):
            return managed.open_stream(kinds, SUBSCRIBER_LIMIT, feeds_handlers=feeds_handlers)
    return engine.bus.subscribe(kinds or None, limit=SUBSCRIBER_LIMIT), 0


async def _send_all(send: Send, subscription: Subscription) -> None:
    try:
        async for envelope in subscription:
            await _send(send, envelope)
            while (more := subscription.take()) is not None:
                await _send(send, more)
    except SubscriberTooSlow as exc:
        payload = {"lost": exc.lost, "limit": exc.limit, "detail": str(exc)}
        await _send(send, EventEnvelope(seq=0, kind=SUBSCRIBER_DROPPED, payload=payload))
        await send({"type": "websocket.close", "code": TOO_SLOW_CLOSE, "reason": "subscriber too slow"})
    except OSError:
        return  # it has gone


_newest: tuple[EventEnvelope | None, str] = (None, "")


def _text(envelope: EventEnvelope) -> str:
    """Return the envelope's frame; subscribers of one event come one after the other, and share it."""
    global _newest
    if _newest[0] is not envelope:
        _newest = (envelope, encode(envelope).decode())
    return _newest[1]


async def _send(send: Send, envelope: EventEnvelope) -> None:
    await send({"type": "websocket.send", "text": _text(envelope)})


async def _until_gone(receive: Receive) -> None:
    """Read and ignore what the client says, until it leaves."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


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
routes = [WebSocketRoute("/api/ws/events", EventStream())]
