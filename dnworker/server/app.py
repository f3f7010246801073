"""Puts the routes together: one module per resource, one gatekeeper before all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dnworker.errors import ApiError
from dnworker.server import catalog, events, files, health, interactive, logs, sessions, workers
from dnworker.server.api import Call, Endpoint, endpoint, keep_escaped_slashes
from dnworker.server.auth import Gatekeeper
from dnworker.server.openapi import document
from dnworker.server.responses import api_error, error

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


@endpoint("GET", "/openapi.json")
def openapi(call: Call) -> object:
    """Describe this API."""
    return document(ENDPOINTS)


_RESOURCES = (health, events, workers, sessions, files, logs, catalog)
ENDPOINTS: list[Endpoint] = [one for resource in _RESOURCES for one in resource.endpoints]


class _Escapes:
    """ASGI middleware that lets an id in a path hold an escaped slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with a path whose segments were decoded one by one."""
        raw = scope.get("raw_path")
        if scope["type"] == "http" and isinstance(raw, bytes) and b"%2" in raw:
            scope = {**scope, "path": keep_escaped_slashes(raw.partition(b"?")[0])}
        await self._app(scope, receive, send)


def make_app(runtime: Runtime, bind_host: str | None) -> Starlette:
    """Return the ASGI application of a runtime; without a host to bind it is for callers in this process."""
    gate = [] if bind_host is None else [Middleware(Gatekeeper, tokens=runtime.tokens, bind_host=bind_host)]
    app = Starlette(
        routes=[
            *(one.route() for one in [*ENDPOINTS, openapi]),
            *events.routes,
            *interactive.routes,
        ],
        middleware=[*gate, Middleware(_Escapes)],
        exception_handlers={ApiError: api_error, HTTPException: _http_error},
    )
    app.state.runtime = runtime
    return app


async def _http_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return error(exc.status_code, exc.detail)
