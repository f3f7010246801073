"""All that the API and the page serve, by path and method: `app.py` imports it for its first request.

A start needs none of it, and its modules take a sixth of the processor time of one.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dnworker.server import (
    catalog,
    catalogue,
    cursors,
    dead_letters,
    effects,
    events,
    files,
    history,
    interactive,
    kept_state,
    metrics,
    nodes,
    notebook_door,
    once,
    page,
    runtime,
    runtime_log,
    sessions,
    workers,
)
from dnworker.server.api import ApiCall, Endpoint, endpoint
from dnworker.server.openapi import document
from dnworker.server.responses import error


@endpoint("GET", "/openapi.json", right=None)
def openapi(call: ApiCall) -> object:
    """Describe this API."""
    return document(ENDPOINTS)


_RESOURCES = (
    runtime,
    events,
    once,
    kept_state,
    cursors,
    nodes,
    dead_letters,
    history,
    effects,
    workers,
    sessions,
    files,
    runtime_log,
    catalog,
    catalogue,
    metrics,
    notebook_door,
)
ENDPOINTS: list[Endpoint] = [one for resource in _RESOURCES for one in resource.endpoints]


def make_routes() -> tuple[dict[tuple[str, str], Endpoint], Starlette]:
    """Return the endpoints of a fixed path, by method and path, and an application that serves everything."""
    served = [*ENDPOINTS, openapi]
    return {(one.method, one.path): one for one in served if one.is_fixed}, Starlette(
        routes=[*(one.route() for one in served), *events.routes(), *interactive.routes, *page.routes],
        exception_handlers={HTTPException: _http_error},
    )


async def _http_error(_: Request, exc: Exception) -> Response:
    return error(exc.status_code, exc.detail) if isinstance(exc, HTTPException) else error(500, str(exc))
