"""The server over streamable HTTP: a token of its own, hosts and origins that are checked, and bounds.

Who shows no token cannot keep out who has one: connections are counted as those of the runtime are.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from dnworker.core.errors import AddressInUse, UsageError
from dnworker.core.files import write_atomically
from dnworker.core.limits import Limits
from dnworker.engine.tokens import exposure, read_token
from dnworker.mcp_server.directories import OwnDirectory
from dnworker.server.auth import trust
from dnworker.server.bindings import Binding, bind
from dnworker.server.bounded_http import BoundedHttp
from dnworker.server.connections import Connections
from dnworker.server.listener import BoundedUvicorn
from dnworker.server.served_hosts import ServedHosts

HOST = "127.0.0.1"
MOST_SESSIONS = 100
LARGEST_REQUEST = 1_000_000
IDLE_SECONDS = 1_800.0
LIMITS = Limits(connections=200, unauthenticated=32)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens.

    Attributes:
        host: an address of this machine.
        port: of TCP; 0 for a free one.
        names: hosts that requests may name, beside the address and those of loopback.
        token_file: has the token, or gets one that is made here; None for a file in a directory of its own.
    """

    host: str = HOST
    port: int = 0
    names: Sequence[str] = ()
    token_file: Path | None = None


class Guarded:
    """An ASGI application that lets through who has the token and names a host that is served.

    Args:
        app: what is guarded.
        token: the one.
        hosts: which names and origins are served.
    """

    def __init__(self, app: Any, token: str, hosts: ServedHosts) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts = hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; anybody else gets 401, and a page of another origin 403."""
        if scope["type"] == "http":
            host, origin = _header(scope, b"host"), _header(scope, b"origin")
            refusal = self._hosts.refusal(host or "", origin, scope["scheme"], None)
            if refusal is not None:
                await _refuse(send, 403, refusal)
                return
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(given) != 1 or not compare_digest(given[0], self._expected):
                text = "a token is needed: Authorization: Bearer TOKEN, of the file that was named"
                await _refuse(send, 401, text)
                return
            trust(scope)
        await self._app(scope, receive, send)


def _header(scope: Any, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


async def _refuse(send: Any, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve(
    server: MCPServer,
    *,
    place: Place,
    listens: Callable[[str, Path], None],
    until: asyncio.Event | None = None,
) -> None:
    """Serve until a signal comes, or until `until` is set.

    Args:
        server: with the tools.
        place: where.
        listens: called with the URL and the file of the token, once it listens.
        until: set when it is to end.

    Raises:
        UsageError: the port cannot be had, or the file of the token is none.
    """
    binding, directory = _bound(place), None
    try:
        file = place.token_file
        if file is None:
            directory = OwnDirectory()
            file = directory.path / "token"
        token = token_in(file)
        connections = Connections(LIMITS)
        running = BoundedUvicorn(_config(server, place, token), connections, [binding], None)
        ending = asyncio.create_task(_end(running, until))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(setattr, running, "should_exit", True))
        try:
            listens(f"{binding.address}/mcp", file)
            await running.serve([binding.socket])
        finally:
            ending.cancel()
    finally:
        binding.socket.close()
        if directory is not None:
            directory.remove()


def token_in(file: Path) -> str:
    """Return the token of a file, which is made, for its owner alone, where it is not there.

    Raises:
        UsageError: it cannot be read or written, holds no token, or is open to others.
    """
    if (exposed := exposure(file)) is not None:
        raise UsageError(exposed, code="DN907")
    if file.exists():
        return read_token(file)[0]
    token = secrets.token_urlsafe(32)
    try:
        write_atomically(file, f"{token}\n", mode=0o600)
    except OSError as exc:
        raise UsageError(f"token file {file} cannot be written: {exc.strerror or exc}", code="DN907") from exc
    return token


def _config(server: MCPServer, place: Place, token: str) -> uvicorn.Config:
    """Return how the server is served: only by names that are its own, and with bounds."""
    app = server.streamable_http_app(
        max_request_body_size=LARGEST_REQUEST,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=IDLE_SECONDS,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # ours has
    )
    return uvicorn.Config(
        Guarded(app, token, ServedHosts([place.host], place.names)),
        http=BoundedHttp,
        ws="none",
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )


async def _end(running: uvicorn.Server, until: asyncio.Event | None) -> None:
    if until is not None:
        await until.wait()
        running.should_exit = True


def _bound(place: Place) -> Binding:
    try:
        listener = bind(place.host, place.port)
    except AddressInUse as exc:
        raise UsageError(
            f"port {place.port} of {place.host} cannot be used: {exc}; without a number a free one is taken",
            code="DN908",
        ) from exc
    return Binding(listener, place.host, port=int(listener.getsockname()[1]))
