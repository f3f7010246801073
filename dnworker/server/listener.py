"""`Listener`: accepts the connections of one socket; `BoundedUvicorn` has it in the place of asyncio's own.

asyncio accepts as many connections as come, and without a free file descriptor logs a traceback and stops
listening for a second, again and again. This accepts a few at a time, so that those accepted before can be
read in between, and closes the oldest connection without a token when there is no descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from typing import Any

import uvicorn

from dnworker.server.connections import Connection, Connections
from dnworker.server.quiet_uvicorn import QuietUvicorn

log = logging.getLogger("dnworker.server")

AT_A_TIME = 16
"""Connections that are accepted before the loop turns."""

PAUSE_SECONDS = 1.0
"""Seconds for which nothing is accepted when there is no descriptor, and none can be freed."""

_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL_BODY = b'{"detail":"the limit of connections is reached; try again"}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_FULL_BODY), _FULL_BODY)
)


class Listener:
    """Accepts connections; has what uvicorn wants of a server of asyncio.

    Args:
        listener: listens already; it stays its owner's.
        connections: which there are, and may be.
        make_protocol: called with each new connection.
    """

    def __init__(self, listener: socket.socket, connections: Connections, make_protocol: Any) -> None:
        self._socket = listener
        self._connections = connections
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._spare: int | None = None
        self._is_open = False

    def start(self) -> None:
        """Begin to accept."""
        self._is_open = True
        self._spare = _spare()
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept nothing more; what is open stays open. May be called again."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket)
        if self._pause is not None:
            self._pause.cancel()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    async def wait_closed(self) -> None:
        """Return when those just accepted have a protocol."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._make_room(exc)
                return
            accepted.setblocking(False)
            connection = self._connections.admit()
            if connection is None:
                _refuse(accepted)
                continue
            task = self._loop.create_task(self._open(accepted, connection), name="dnworker connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: self._make_protocol(connection), accepted)
        except OSError as exc:  # it is gone already
            log.debug("a connection could not be opened: %s", exc)
            connection.closed()
            accepted.close()
        except BaseException:
            connection.closed()
            accepted.close()
            raise

    def _make_room(self, exc: OSError) -> None:
        """Free a descriptor for the next that wants in; if that cannot be, refuse it."""
        if exc.errno not in _NO_DESCRIPTOR:
            log.warning("a connection could not be accepted: %s", exc.strerror or exc)
            self._wait()
            return
        self._connections.say("closed or refused: this process has no free file descriptor (ulimit -n)")
        if self._connections.evict():
            return  # its descriptor is free when the loop has turned
        if self._spare is None or exc.errno not in (errno.EMFILE, errno.ENFILE):
            self._wait()
            return
        os.close(self._spare)
        with contextlib.suppress(OSError):
            _refuse(self._socket.accept()[0])
        self._spare = _spare()
        if self._spare is None:
            self._wait()

    def _wait(self) -> None:
        """Accept nothing for a while, so that the loop does not spin."""
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._is_open:
            self._spare = self._spare if self._spare is not None else _spare()
            self._loop.add_reader(self._socket, self._accept)


class BoundedUvicorn(QuietUvicorn):
    """uvicorn whose connections are counted, and bounded by limits."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets; `listening` is set then."""
        await self.lifespan.startup()
        self.servers = []
        for one in sockets or ():
            listener = Listener(one, self._connections, self._protocol)
            listener.start()
            self.servers.append(listener)  # type: ignore[arg-type]  # has what uvicorn calls of a Server
        self.started = True
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and abort connections that did not end in time."""
        try:
            await super().shutdown(sockets)
        finally:
            self._connections.close()

    def _protocol(self, connection: Connection) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn does
            config=self.config,
            server_state=self.server_state,
            app_state={**self.lifespan.state, "connection": connection},
            _loop=asyncio.get_running_loop(),
        )
        return made


def _spare() -> int | None:
    """Open a descriptor to close when none is left; None if there is none."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _refuse(accepted: socket.socket) -> None:
    """Answer 503 and close, as far as that goes without waiting."""
    with accepted, contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(_FULL)
        accepted.shutdown(socket.SHUT_WR)
        accepted.recv(65_536)  # what is left unread would make the kernel withdraw the answer
