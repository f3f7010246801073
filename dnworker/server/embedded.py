"""`EmbeddedServer`: the API of a runtime on its own loop, over a socket bound here; `Runtime` owns one."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import TYPE_CHECKING

import uvicorn

from dnworker.core.errors import AddressInUse
from dnworker.server.app import make_app
from dnworker.server.bounded_http import BoundedHttp
from dnworker.server.connections import Connections
from dnworker.server.listener import BoundedUvicorn
from dnworker.server.websocket_protocol import WebSocketProtocol
from dnworker.workers.tasks import keep

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.server.page import Panel

BACKLOG = 128


class EmbeddedServer:
    """The API of one runtime.

    Args:
        engine: what requests are about.
        panel: what the page shows.
        host: where to listen.
        port: where to listen; 0 picks a free one.
    """

    def __init__(self, engine: Engine, panel: Panel, host: str, port: int) -> None:
        self._engine = engine
        self._panel = panel
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._server: BoundedUvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()
        self.connections = Connections(engine.limits)

    @property
    def url(self) -> str:
        """The address that workers on this machine use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port it listens on; as it was asked for while it does not listen."""
        return self._port if self._socket is None else int(self._socket.getsockname()[1])

    @property
    def uptime(self) -> float:
        """Seconds since it was made."""
        return round(time.monotonic() - self._started_at, 3)

    async def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises:
            AddressInUse: an OSError: the address cannot be had; says what to do.
        """
        self._socket = bind(self._host, self._port)
        config = uvicorn.Config(
            make_app(self._engine, self._panel, self._host),
            ws=WebSocketProtocol,
            proxy_headers=False,
            http=BoundedHttp,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,  # one half-sent request must not hold up a stop (contract 13.18)
        )
        self._server = BoundedUvicorn(config, self.connections)
        self._serving = keep(self._server.serve([self._socket]), name="dnworker server")
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not self._server.listening.is_set():
            listening.cancel()
            self._serving.result()  # raises what kept it from starting
            raise OSError("the server ended before it accepted connections")

    async def stop(self) -> None:
        """Close the sockets of clients (1012), then end."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving})
        if self._socket is not None:
            self._socket.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        AddressInUse: an OSError: the address cannot be had; the message names it and the way out.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio turns Nagle's algorithm off for those only, and with it answers wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OverflowError as exc:
        listener.close()
        raise AddressInUse(f"port {port} does not exist; ports are 0 to 65535") from exc
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUse(f"port {port} on {host} is in use; port 0 picks a free one") from exc
        raise AddressInUse(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
    listener.setblocking(False)
    return listener
