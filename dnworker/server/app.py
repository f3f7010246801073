"""Builds the ASGI application: one gatekeeper, then what serves each request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from dnworker.server import runtime
from dnworker.server.api import Endpoint, keep_escaped_slashes
from dnworker.server.auth import Gatekeeper
from dnworker.server.forwarded import ForwardedHeaders, TrustedProxies
from dnworker.server.served_hosts import ServedHosts

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.server.page import PageSessions, Panel

log = logging.getLogger("dnworker.server")


def make_app(
    engine: Engine, panel: Panel, hosts: ServedHosts | None, proxies: TrustedProxies | None = None
) -> ASGIApp:
    """Return the ASGI application of a runtime; without hosts it is for callers in this process.

    Args:
        engine: what requests are about.
        panel: what the page shows.
        hosts: which `Host` and `Origin` headers the gatekeeper lets in.
        proxies: whose `X-Forwarded-*` headers count.
    """
    front = _Front(engine, panel)
    if hosts is None:
        return front
    guarded = Gatekeeper(front, tokens=engine.tokens, hosts=hosts)
    return guarded if proxies is None else ForwardedHeaders(guarded, proxies)


class _Front:
    """Finds what serves a request: endpoints of a fixed path at once, everything else by Starlette's routes.

    The routes see a path whose segments were decoded one by one, so that an id may hold an escaped slash.
    """

    def __init__(self, engine: Engine, panel: Panel) -> None:
        self._engine = engine
        self._panel = panel
        # probes are served from the start, everything else from the first request for it on
        self._fixed = {(one.method, one.path): one for one in runtime.endpoints if one.is_fixed}
        self._routed: ASGIApp | None = None
        self._pages: PageSessions | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; an error of ours is logged, and is a 500."""
        found = self._find(scope)
        scope["engine"], scope["pages"] = self._engine, self._pages
        if scope["type"] == "http":
            raw = scope.get("raw_path") or b""
            if b"%2" in raw:
                scope = {**scope, "path": keep_escaped_slashes(raw.partition(b"?")[0])}
        try:
            await found(scope, receive, send)
        except ClientDisconnect:
            log.debug("a client went away in the middle of its request to %s", scope["path"])

    def _find(self, scope: Scope) -> ASGIApp:
        key = (scope["method"], scope["path"]) if scope["type"] == "http" else ("", "")
        found: Endpoint | None = self._fixed.get(key)
        if found is not None:
            return found
        if self._routed is None:
            from dnworker.server.page import PageSessions
            from dnworker.server.routes import make_routes  # many modules, which a start does without

            self._pages = PageSessions(self._engine, self._panel)
            self._fixed, self._routed = make_routes()
        return self._fixed.get(key) or self._routed
