"""`EmbeddedServer`: the API of a runtime on its own loop; `Runtime` owns one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import uvicorn

from dnworker.server.app import make_app
from dnworker.server.bindings import Binding, close_bindings, open_bindings
from dnworker.server.bounded_http import BoundedHttp
from dnworker.server.connections import Connections
from dnworker.server.forwarded import TrustedProxies
from dnworker.server.listener import BoundedUvicorn
from dnworker.server.listening import Listening
from dnworker.server.served_hosts import ServedHosts
from dnworker.server.websocket_protocol import WebSocketProtocol
from dnworker.workers.tasks import keep

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.server.page import Panel
    from dnworker.server.tls import Tls

IDLE_SECONDS = 15
"""Seconds after which a connection without a request is closed.

More than those after which clients use it no more, 5 with httpx: what is sent while it is closed fails.
"""


class EmbeddedServer:
    """The API of one runtime.

    Args:
        engine: what requests are about.
        panel: what the page shows.
        listening: where to listen, and whom to believe.
    """

    def __init__(self, engine: Engine, panel: Panel, listening: Listening) -> None:
        self._engine = engine
        self._panel = panel
        self._listening = listening
        self._tls: Tls | None = None
        self._bindings: list[Binding] = []
        self._server: BoundedUvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()
        self.connections = Connections(engine.limits)

    @property
    def url(self) -> str:
        """The address that workers on this machine use: plain HTTP, whatever others use; empty before."""
        plain = (one.address for one in self._bindings if one.path is None and not one.is_tls)
        return next(plain, "")

    @property
    def addresses(self) -> list[str]:
        """All addresses, such as `unix:/run/dnworker.sock`; first those that were asked for, then `url`."""
        return [one.address for one in self._bindings]

    @property
    def port(self) -> int:
        """The first port it listens on; as it was asked for while it does not listen."""
        ports = (one.port for one in self._bindings if one.port is not None)
        return next(ports, self._listening.port)

    @property
    def uptime(self) -> float:
        """Seconds since it was made."""
        return round(time.monotonic() - self._started_at, 3)

    async def start(self) -> None:
        """Listen; returns when connections are accepted.

        Raises:
            AddressInUse: an OSError: the address cannot be had; says what to do.
            UsageError: a file of TLS, or the path of a socket, is not what it should be.
        """
        listening = self._listening
        self._tls = None
        if listening.tls is not None:
            from dnworker.server.tls import Tls  # only who listens beyond this machine has a certificate

            self._tls = Tls(listening.tls)
        self._bindings = open_bindings(listening)
        self._server = BoundedUvicorn(self._config(), self.connections, self._bindings, self._tls)
        self._serving = keep(
            self._server.serve([one.socket for one in self._bindings]), name="dnworker server"
        )
        accepting = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._serving, accepting}, return_when=asyncio.FIRST_COMPLETED)
        if not self._server.listening.is_set():
            accepting.cancel()
            self._serving.result()  # raises what kept it from starting
            raise OSError("the server ended before it accepted connections")

    def _config(self) -> uvicorn.Config:
        listening = self._listening
        hosts = ServedHosts([one.host for one in self._bindings], listening.allowed_hosts)
        proxies = TrustedProxies(listening.trusted_proxies) if listening.trusted_proxies else None
        return uvicorn.Config(
            make_app(self._engine, self._panel, hosts, proxies),
            ws=WebSocketProtocol,
            proxy_headers=False,
            http=BoundedHttp,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_per_message_deflate=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=1,  # one half-sent request must not hold up a stop (contract 13.18)
        )

    def reload_tls(self) -> bool:
        """Read the certificate and the key again, for the connections that come from now on.

        Those that are open go on. Wrong files change nothing, which the log says in one line.

        Returns:
            Whether the files count now; True without TLS.
        """
        return self._tls is None or self._tls.reload()

    async def stop(self) -> None:
        """Close the sockets of clients (1012), then end."""
        for one in self._bindings:
            one.remove()  # while it listens: the number of its file cannot be another's yet
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving})
        close_bindings(self._bindings)
