"""The server over streamable HTTP: loopback alone, a token of its own, hosts and origins that are checked."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from hmac import compare_digest
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker.server.quiet_uvicorn import QuietUvicorn

HOST = "127.0.0.1"
MOST_SESSIONS = 100
LARGEST_REQUEST = 1_000_000
IDLE_SECONDS = 1_800.0
MOST_CONNECTIONS = 200


class WithToken:
    """An ASGI application that lets through who has the token; anybody else gets 401."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(given) != 1 or not compare_digest(given[0], self._expected):
                await _refuse(send)
                return
        await self._app(scope, receive, send)


async def _refuse(send: Any) -> None:
    body = json.dumps({"error": "a token is needed: Authorization: Bearer TOKEN, of the file that was named"})
    headers = [
        (b"content-type", b"application/json"),
        (b"www-authenticate", b"Bearer"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


async def serve(
    server: MCPServer,
    *,
    port: int,
    listens: Callable[[str, Path], None],
    until: asyncio.Event | None = None,
) -> None:
    """Serve until a signal comes, or until `until` is set.

    Args:
        server: with the tools.
        port: of 127.0.0.1; 0 for a free one.
        listens: called with the URL and the file of the token, once it listens.
        until: set when it is to end.

    Raises:
        UsageError: the port cannot be had.
    """
    bound = _bound(port)
    port = bound.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="dnworker-mcp-"))  # which only its user can enter
    try:
        token, file = secrets.token_urlsafe(32), directory / "token"
        write_atomically(file, f"{token}\n", mode=0o600)
        running = QuietUvicorn(_config(server, port, token))
        ending = asyncio.create_task(_end(running, until))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, partial(setattr, running, "should_exit", True))
        try:
            bound.listen(128)
            listens(f"http://{HOST}:{port}/mcp", file)
            await running.serve([bound])
        finally:
            ending.cancel()
    finally:
        bound.close()
        shutil.rmtree(directory, ignore_errors=True)


def _config(server: MCPServer, port: int, token: str) -> uvicorn.Config:
    """Return how the server is served: only by names of this machine, and with bounds."""
    names = [f"{host}:{port}" for host in (HOST, "localhost")]
    app = server.streamable_http_app(
        max_request_body_size=LARGEST_REQUEST,
        max_sessions=MOST_SESSIONS,
        session_idle_timeout=IDLE_SECONDS,
        transport_security=TransportSecuritySettings(
            allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
        ),
    )
    return uvicorn.Config(
        WithToken(app, token),
        log_level="warning",
        access_log=False,
        lifespan="on",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )


async def _end(running: uvicorn.Server, until: asyncio.Event | None) -> None:
    if until is not None:
        await until.wait()
        running.should_exit = True


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError as exc:
        bound.close()
        raise UsageError(
            f"port {port} of {HOST} cannot be used: {exc.strerror}; leave --port out for a free one",
            code="DN908",
        ) from exc
    return bound
