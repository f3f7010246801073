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
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from dnworker.server.bindings import Binding
from dnworker.server.connections import Connection, Connections, close_copy
from dnworker.server.quiet_uvicorn import QuietUvicorn

if TYPE_CHECKING:
    from dnworker.server.tls import Tls

log = logging.getLogger("dnworker.server")

AT_A_TIME = 16
"""Connections that are accepted before the loop turns."""

PAUSE_SECONDS = 1.0
"""Seconds for which nothing is accepted when there is no descriptor, and none can be freed."""

_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TLS_HANDSHAKE = b"\x16"
"""The first byte of a connection that speaks TLS (RFC 8446, 5.1)."""

TLS_GOODBYE_SECONDS = 5.0
"""How long the end of a TLS connection waits for the other side's."""


def _answer(status: str, detail: str) -> bytes:
    body = b'{"detail":"%s"}' % detail.encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    return head.encode() + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)


_FULL = _answer("503 Service Unavailable", "the limit of connections is reached; try again")
_PLAIN = _answer("400 Bad Request", "this port speaks TLS; its address begins with https://")


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _leave_all() -> None:
    """Let a child that outlives this process, as one of `multiprocessing`, not hold its ports and clients."""
    for listener in [*_listeners]:
        listener.leave()


os.register_at_fork(after_in_child=_leave_all)


class Listener:
    """Accepts connections; has what uvicorn wants of a server of asyncio.

    Args:
        binding: listens already; it stays its owner's.
        connections: which there are, and may be.
        make_protocol: called with each new connection.
        tls: of the binding; None for one of plain HTTP.
    """

    def __init__(
        self, binding: Binding, connections: Connections, make_protocol: Any, tls: Tls | None
    ) -> None:
        self._socket = binding.socket
        self._is_unix = binding.path is not None
        self._tls = tls
        self._connections = connections
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._spare: int | None = None
        self._is_open = False
        _listeners.add(self)

    def leave(self) -> None:
        """Close what a child of this process has got of it: a port and connections end with the runtime."""
        close_copy(self._socket)
        self._connections.leave()

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
            connection = self._connections.admit(is_unix=self._is_unix)
            if connection is None:
                self._turn_away(accepted, _FULL)
                continue
            opening = self._open if self._tls is None else self._open_tls
            task = self._loop.create_task(opening(accepted, connection), name="dnworker connection")
            self._opening.add(task)
            task.add_done_callback(partial(self._opened, accepted, connection))
            if self._tls is not None:
                connection.give_up = task.cancel

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        await self._loop.connect_accepted_socket(lambda: self._make_protocol(connection), accepted)

    async def _open_tls(self, accepted: socket.socket, connection: Connection) -> None:
        """Shake hands, in bounded time; what speaks no TLS is told so."""
        assert self._tls is not None
        seconds = self._connections.limits.header_seconds
        async with asyncio.timeout(seconds):
            first = await _first_byte(accepted)
            if first != _TLS_HANDSHAKE:
                if first:
                    refuse(accepted, _PLAIN)
                raise ConnectionAbortedError("it speaks no TLS")
            await self._loop.connect_accepted_socket(
                lambda: self._make_protocol(connection),
                accepted,
                ssl=self._tls.context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=TLS_GOODBYE_SECONDS,
            )

    def _opened(self, accepted: socket.socket, connection: Connection, task: asyncio.Task[None]) -> None:
        """Let a connection go that could not be opened, because it is gone, or shakes no hands."""
        self._opening.discard(task)
        if not task.cancelled() and (problem := task.exception()) is None:
            return
        connection.closed()
        accepted.close()
        if task.cancelled():
            return
        if not isinstance(problem, OSError):
            log.error("a connection could not be opened", exc_info=problem)
        log.debug("a connection could not be opened: %s", problem)

    def _turn_away(self, accepted: socket.socket, answer: bytes) -> None:
        """Refuse a connection; over TLS it is closed without a word, which would need a handshake."""
        if self._tls is None:
            refuse(accepted, answer)
        else:
            accepted.close()

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
            self._turn_away(self._socket.accept()[0], _FULL)
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
    """uvicorn whose connections are counted, and bounded by limits.

    Args:
        config: as of uvicorn.
        connections: which there are, and may be.
        bindings: what it listens on; they stay their owner's.
        tls: of those that speak it.
    """

    def __init__(
        self, config: uvicorn.Config, connections: Connections, bindings: list[Binding], tls: Tls | None
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._bindings = bindings
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; `listening` is set then."""
        await self.lifespan.startup()
        self.servers = []
        for one in self._bindings:
            listener = Listener(one, self._connections, self._protocol, self._tls if one.is_tls else None)
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


async def _first_byte(accepted: socket.socket) -> bytes:
    """Return the first byte that comes, and leave it there; nothing when the other side ends."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, arrived.set)
    try:
        while True:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return accepted.recv(1, socket.MSG_PEEK)
            arrived.clear()
            await arrived.wait()
    finally:
        loop.remove_reader(accepted)


def refuse(accepted: socket.socket, answer: bytes) -> None:
    """Answer and close, as far as that goes without waiting."""
    with accepted, contextlib.suppress(OSError):
        accepted.setblocking(False)
        accepted.send(answer)
        accepted.shutdown(socket.SHUT_WR)
        accepted.recv(65_536)  # what is left unread would make the kernel withdraw the answer
