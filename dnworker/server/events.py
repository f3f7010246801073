"""Publishing over HTTP, and the one-way event stream (contract 6.4, 7.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnworker.bus import SUBSCRIBER_LIMIT, Subscription
from dnworker.errors import NotFound, SubscriberTooSlow
from dnworker.events import SUBSCRIBER_DROPPED, EventEnvelope, encode
from dnworker.server.responses import JSONResponse, field, read_object
from dnworker.topologies import SubprocessWorker

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

TOO_SLOW_CLOSE = 1013  # RFC 6455 registry: try again later
EVENTS_CUT = "transport.events_cut"


async def publish(request: Request) -> Response:
    """Publish to the runtime's scope, or to the session in the path."""
    runtime: Runtime = request.app.state.runtime
    body = await read_object(request)
    envelope = runtime.publish(
        field(body, "kind", str, required=True),
        field(body, "payload", dict, default={}),
        session_id=request.path_params.get("session_id"),
    )
    return JSONResponse({"event_id": envelope.event_id, "seq": envelope.seq})


async def stream(socket: WebSocket) -> None:
    """Send live events as bare envelopes until one side goes.

    A subscriber that falls behind is told, with an envelope of kind `transport.subscriber_dropped`, and
    closed with 1013. A worker process gets first, once, what was published since it was spawned.
    """
    runtime: Runtime = socket.app.state.runtime
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


routes = [
    Route("/api/events", publish, methods=["POST"]),
    Route("/api/sessions/{session_id}/events", publish, methods=["POST"]),
    WebSocketRoute("/api/ws/events", stream),
]
