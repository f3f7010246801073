"""What worker processes ask of the runtime while the clients of workers lead to another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Receive, Scope

from dnworker.core.errors import ApiError, Invalid, Unavailable
from dnworker.server.responses import read_body

if TYPE_CHECKING:
    import httpx

    from dnworker.client.connection import Connection, TurnEvents

OWN = (
    "/api/state",
    "/api/ready",
    "/api/health",
    "/api/ws/",
    "/api/cursors",
    "/api/notebook/",
    "/openapi.json",
)
"""Begins the paths of what this runtime itself does for its processes."""

COMMANDS = frozenset({"subscribe", "turn.start", "turn.cancel", "prompt.respond"})
"""The commands of the interactive socket that are carried out elsewhere."""


def route_of(scope: Scope) -> Connection | None:
    """Return where the client of a worker process leads; None where that is this runtime."""
    worker, route = scope.get("worker"), scope["engine"].switch.route
    if worker is None or route is None or scope["path"].startswith(OWN):
        return None
    found: Connection = route(worker)
    return found


async def answer(route: Connection, scope: Scope, receive: Receive) -> Any:
    """Return what a request is answered elsewhere.

    Raises:
        ApiError: it is refused there, or nobody answers.
    """
    raw = await read_body(receive)
    try:
        body = msgspec.json.decode(raw) if raw else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(f"the body is no JSON: {exc}", code="DN912") from exc
    path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    if query := scope["query_string"]:
        path += "?" + query.decode("latin-1")
    import httpx  # it takes long, and few runtimes are attached

    try:
        return await route.request(scope["method"], path, body=body)
    except httpx.HTTPStatusError as exc:
        raise _refused(exc) from exc
    except httpx.TransportError as exc:
        raise Unavailable(f"the runtime that this one is attached to does not answer: {exc}") from exc


def _refused(exc: httpx.HTTPStatusError) -> ApiError:
    try:
        detail = msgspec.json.decode(exc.response.content)["detail"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        detail = str(exc)
    error = ApiError(detail)
    error.status = exc.response.status_code
    return error


async def command(
    route: Connection, op: str, session_id: str, payload: dict[str, Any]
) -> tuple[dict[str, Any], TurnEvents | None]:
    """Carry a command out elsewhere; returns what its ack has, and the events of a turn that was started."""
    if op == "turn.start":
        turn = await route.start_turn(session_id, payload)
        return {"turn_id": turn.turn_id}, turn
    if op == "turn.cancel":
        return {"status": await route.cancel_turn(session_id, payload)}, None
    if op == "prompt.respond":
        await route.respond(session_id, payload)
        return {"request_id": payload.get("request_id"), "status": "resolved"}, None
    return {}, None  # a subscription: the events of turns come with these, all others by the stream
