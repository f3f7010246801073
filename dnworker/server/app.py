"""Puts the routes together: one module per resource, one gatekeeper before all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from dnworker.errors import ApiError
from dnworker.server import events, health, sessions, workers
from dnworker.server.auth import Gatekeeper
from dnworker.server.responses import api_error, error

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def make_app(runtime: Runtime, bind_host: str) -> Starlette:
    """Return the ASGI application of a runtime."""
    app = Starlette(
        routes=[*health.routes, *events.routes, *workers.routes, *sessions.routes],
        middleware=[Middleware(Gatekeeper, tokens=runtime.tokens, bind_host=bind_host)],
        exception_handlers={ApiError: api_error, HTTPException: _http_error},
    )
    app.state.runtime = runtime
    return app


async def _http_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return error(exc.status_code, exc.detail)
