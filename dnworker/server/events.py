"""Publishing over HTTP, and the one-way event stream (contract 6.4, 7.1)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnworker.bus import SUBSCRIBER_LIMIT, Subscription
from dnworker.errors import NotFound, SubscriberTooSlow
from dnworker.events import SUBSCRIBER_DROPPED, EventEnvelope, encode
from dnworker.server.api import Call, Fields, endpoint
from dnworker.tokens import TICKET_SECONDS
from dnworker.topologies import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

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


@endpoint("POST", "/api/events", body=NewEvent, answer=Published, errors=(400,))
def publish(call: Call) -> object:
    """Publish an event to the runtime's scope."""
    envelope = call.runtime.publish(call.body.kind, call.body.payload)
    return Published(envelope.event_id, envelope.seq)


@endpoint(
    "POST", "/api/sessions/{session_id}/events", body=NewEvent, answer=Published, errors=(400, 404, 410)
)
def publish_to_session(call: Call) -> object:
    """Publish an event to one session."""
    session_id = call.path["session_id"]
    envelope = call.runtime.publish(call.body.kind, call.body.payload, session_id=session_id)
    return Published(envelope.event_id, envelope.seq)


async def stream(socket: WebSocket) -> None:
    """Send live events as bare envelopes until one side goes.

    A subscriber that falls behind is told, with an envelope of kind `transport.subscriber_dropped`, and
    closed with 1013. A worker process gets first, once, what was published since it was spawned.
    """
    runtime: Runtime = socket.scope["runtime"]
    kinds = [kind for kind in socket.query_params.getlist("kinds") if kind]
    # Before the handshake completes, so that nothing published after it is missed.
    subscription, cut = _subscribe(runtime, socket.scope.get("worker"), kinds)
    try:
        await socket.accept()
        if cut:
            await _send(socket, EventEnvelope(seq=0, kind=EVENTS_CUT, payload={"lost": cut}))
        sending = asyncio.create_task(_send_all(socket, subscription), name="event stream")
        leaving = asyncio.create_task(_until_gone(socket), name="event stream reader")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
    finally:
        subscription.close()


def _subscribe(runtime: Runtime, worker: str | None, kinds: list[str]) -> tuple[Subscription, int]:
    if worker is not None:
        try:
            managed = runtime.worker(worker)
        except NotFound:
            managed = None
        held = managed.claim_held(kinds, SUBSCRIBER_LIMIT) if isinstance(managed, SubprocessWorker) else None
        if held is not None:
            return held
    return runtime.bus.subscribe(kinds or None, limit=SUBSCRIBER_LIMIT), 0


async def _send_all(socket: WebSocket, subscription: Subscription) -> None:
    try:
        async for envelope in subscription:
            await _send(socket, envelope)
    except SubscriberTooSlow as exc:
        payload = {"lost": exc.lost, "limit": exc.limit, "detail": str(exc)}
        await _send(socket, EventEnvelope(seq=0, kind=SUBSCRIBER_DROPPED, payload=payload))
        await socket.close(TOO_SLOW_CLOSE, "subscriber too slow")
    except WebSocketDisconnect:
        return


async def _send(socket: WebSocket, envelope: EventEnvelope) -> None:
    await socket.send_text(encode(envelope).decode())


async def _until_gone(socket: WebSocket) -> None:
    """Read and ignore what the client says, until it leaves."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


class NewTicket(msgspec.Struct):
    """A right to open one socket until `expires_at`."""

    ticket: str
    expires_at: str


@endpoint("POST", "/api/ws/ticket", answer=NewTicket)
def ticket(call: Call) -> object:
    """Issue a ticket for clients that cannot send headers with a socket, as browsers cannot."""
    issued = call.runtime.tokens.issue_ticket(call.scope["token"])
    expires = datetime.now(UTC) + timedelta(seconds=TICKET_SECONDS)
    return NewTicket(issued, f"{expires:%Y-%m-%dT%H:%M:%SZ}")


endpoints = [publish, publish_to_session, ticket]
routes = [WebSocketRoute("/api/ws/events", stream)]
