"""Builds the ASGI application: one module per resource, and one gatekeeper before all of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

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
from dnworker.server.api import ApiCall, Endpoint, endpoint, keep_escaped_slashes
from dnworker.server.auth import Gatekeeper
from dnworker.server.forwarded import ForwardedHeaders, TrustedProxies
from dnworker.server.openapi import document
from dnworker.server.responses import error
from dnworker.server.served_hosts import ServedHosts

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.server")


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


def make_app(
    engine: Engine, panel: page.Panel, hosts: ServedHosts | None, proxies: TrustedProxies | None = None
) -> ASGIApp:
    """Return the ASGI application of a runtime; without hosts it is for callers in this process.

    Args:
        engine: what requests are about.
        panel: what the page shows.
        hosts: which `Host` and `Origin` headers the gatekeeper lets in.
        proxies: whose `X-Forwarded-*` headers count.
    """
    served = [*ENDPOINTS, openapi]
    routed = Starlette(
        routes=[*(one.route() for one in served), *events.routes(), *interactive.routes, *page.routes],
        exception_handlers={HTTPException: _http_error},
    )
    front = _Front(engine, panel, {(one.method, one.path): one for one in served if one.is_fixed}, routed)
    if hosts is None:
        return front
    guarded = Gatekeeper(front, tokens=engine.tokens, hosts=hosts)
    return guarded if proxies is None else ForwardedHeaders(guarded, proxies)


class _Front:
    """Finds what serves a request: endpoints of a fixed path at once, everything else by Starlette's routes.

    The routes see a path whose segments were decoded one by one, so that an id may hold an escaped slash.
    """

    def __init__(
        self,
        engine: Engine,
        panel: page.Panel,
        fixed: dict[tuple[str, str], Endpoint],
        routed: ASGIApp,
    ) -> None:
        self._engine = engine
        self._fixed = fixed
        self._routed = routed
        self._pages = page.PageSessions(engine, panel)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; an error of ours is logged, and is a 500."""
        scope["engine"], scope["pages"] = self._engine, self._pages
        found: ASGIApp = self._routed
        if scope["type"] == "http":
            found = self._fixed.get((scope["method"], scope["path"]), found)
            raw = scope.get("raw_path") or b""
            if b"%2" in raw:
                scope = {**scope, "path": keep_escaped_slashes(raw.partition(b"?")[0])}
        try:
            await found(scope, receive, send)
        except ClientDisconnect:
            log.debug("a client went away in the middle of its request to %s", scope["path"])


async def _http_error(_: Request, exc: Exception) -> Response:
    return error(exc.status_code, exc.detail) if isinstance(exc, HTTPException) else error(500, str(exc))
