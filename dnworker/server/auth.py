"""`Gatekeeper`: checks Host, Origin and token of every request before anything else does (contract 13.20)."""

from __future__ import annotations

import asyncio
import logging

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from dnworker.engine.tokens import Tokens
from dnworker.server.connections import connection_of
from dnworker.server.forwarded import FORWARDED_HOST
from dnworker.server.responses import error
from dnworker.server.rights import SOCKETS, Right, lacks
from dnworker.server.served_hosts import ServedHosts

log = logging.getLogger("dnworker.server")

PUBLIC_PATHS = frozenset({"/api/health", "/api/ready"})
PRIVATE_PATHS = frozenset({"/metrics"})
"""What needs a token outside of `/api/`; the panel's pages have sessions of their own."""

UNAUTHORIZED_CLOSE = 4401
RETIRED_CLOSE = 4402
RETIRE_SECONDS = 2.0
"""How long a socket may take to end, and its client to take the reason, once its token is retired."""

PATH_SHOWN = 200
"""Characters of a path that the log has of a request that is refused."""

REFRESH_SECONDS = 1.0
"""How long a socket may live on after its token file was replaced."""


class Gatekeeper:
    """ASGI middleware that lets only known callers through, who ask for a host that is served."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens, hosts: ServedHosts) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 403 or 401, or pass on with `scope["worker"]` set to whose token it was."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host, origin, authorization, traceparent = _caller(scope)
        refusal = self._hosts.refusal(host, origin, scope["scheme"], scope.get(FORWARDED_HOST))
        if refusal is not None:
            await self._refuse(403, refusal, scope, receive, send)
            return
        path = scope["path"]
        if path in PUBLIC_PATHS or not (path.startswith("/api/") or path in PRIVATE_PATHS):
            await self._app(scope, receive, send)
            return
        token = self._ticket(scope) or _bearer(authorization)
        if token is None:
            text = "a bearer token is needed: Authorization: Bearer <token>"
            await self._refuse(401, text, scope, receive, send)
            return
        if not self._tokens.accepts(token):
            await self._refuse(401, "the bearer token is not the right one", scope, receive, send)
            return
        trust(scope)
        scope["token"], scope["worker"] = token, self._tokens.worker_of(token)
        if traceparent:
            scope["traceparent"] = traceparent
        if scope["type"] == "websocket":
            if (refusal := lacks(scope, SOCKETS.get(path, Right.OPERATE), self._tokens)) is not None:
                await self._refuse(403, refusal, scope, receive, send)
                return
            await self._until_retired(token, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _ticket(self, scope: Scope) -> str | None:
        """Return the token that the ticket in a socket's query stands for."""
        if scope["type"] != "websocket":
            return None
        given = QueryParams(scope["query_string"]).get("ticket")
        return None if given is None else self._tokens.redeem(given)

    async def _until_retired(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a socket; when its token is retired it is closed with 4402."""
        retired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        release = self._tokens.on_retired(
            lambda old: retired.set_result(None) if old == token and not retired.done() else None
        )
        serving = asyncio.ensure_future(self._app(scope, receive, send))
        try:
            every = REFRESH_SECONDS if self._tokens.file is not None else None
            while not (serving.done() or retired.done()):
                await asyncio.wait({serving, retired}, timeout=every, return_when=asyncio.FIRST_COMPLETED)
                self._tokens.refresh()
            if serving.done():
                serving.result()
                return
            await self._retire(serving, scope, send)
        finally:
            release()
            serving.cancel()
            await asyncio.wait({serving})

    async def _retire(self, serving: asyncio.Future[None], scope: Scope, send: Send) -> None:
        """Serve a socket no longer, and close it; a client that reads nothing cannot put that off."""
        serving.cancel()
        await asyncio.wait({serving}, timeout=RETIRE_SECONDS)
        try:
            async with asyncio.timeout(RETIRE_SECONDS):
                reason = "the token is no longer good"
                await send({"type": "websocket.close", "code": RETIRED_CLOSE, "reason": reason})
        except TimeoutError:
            if (connection := connection_of(scope)) is not None:
                connection.abort()

    async def _refuse(self, status: int, text: str, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("client")
        where = caller[0] if caller else "a unix socket"
        log.info("refused %s of %s: %d, %s", _shown(scope["path"]), where, status, text)
        if scope["type"] == "websocket":  # a network client sees this as HTTP 403 (contract 7)
            await send({"type": "websocket.close", "code": UNAUTHORIZED_CLOSE, "reason": text})
        else:
            await error(status, text)(scope, receive, send)


def trust(scope: Scope) -> None:
    """Note on the connection of a request that it has shown a token; without a server there is none."""
    if (connection := connection_of(scope)) is not None:
        connection.show_token()


def _shown(path: str) -> str:
    """Return a path as a log may have it: of one line, and short."""
    return ascii(path[:PATH_SHOWN])


def _caller(scope: Scope) -> tuple[str, str | None, str, str]:
    """Return the headers Host, Origin, Authorization and traceparent."""
    host, origin, authorization, traceparent = "", None, "", ""
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
    return host, origin, authorization, traceparent


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token if scheme == "Bearer" and token else None
