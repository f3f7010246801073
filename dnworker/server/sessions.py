"""Sessions in this process, and the session groups that only a platform has (contract 6.6)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dnworker.errors import Invalid, NotFound
from dnworker.server.responses import JSONResponse, field, read_object

_ALIASES = {"sessionId": "session_id", "groupId": "group_id"}
_TEXT_FIELDS = ("session_id", "group_id", "capability", "agent", "model", "project", "origin")


async def listing(request: Request) -> Response:
    """Return the live sessions."""
    return JSONResponse(request.app.state.runtime.sessions.list())


async def create(request: Request) -> Response:
    """Create a session, or return the live one of that id."""
    body = {_ALIASES.get(name, name): value for name, value in (await read_object(request)).items()}
    fields = {name: field(body, name, str) for name in _TEXT_FIELDS}
    labels = field(body, "labels", dict, default={})
    if not all(isinstance(v, list) and all(isinstance(x, str) for x in v) for v in labels.values()):
        raise Invalid("labels is an object of lists of text, as in {'worker': ['bridge']}")
    return JSONResponse(request.app.state.runtime.sessions.create(**fields, labels=labels))


async def get(request: Request) -> Response:
    """Return one session."""
    return JSONResponse(request.app.state.runtime.sessions.get(request.path_params["session_id"]))


async def delete(request: Request) -> Response:
    """End one session."""
    session_id = request.path_params["session_id"]
    request.app.state.runtime.sessions.delete(session_id)
    return JSONResponse({"status": "deleted", "session_id": session_id})


async def groups(_: Request) -> Response:
    """Answer as a runtime without a platform does."""
    raise NotFound("session groups need a platform, and this runtime has none")


routes = [
    Route("/api/sessions", listing),
    Route("/api/sessions", create, methods=["POST"]),
    Route("/api/sessions/{session_id}", get),
    Route("/api/sessions/{session_id}", delete, methods=["DELETE"]),
    Route("/api/session-groups", groups, methods=["POST"]),
    Route("/api/session-groups/{group_id}", groups, methods=["PATCH"]),
]
