"""`Connections`: every open connection of a server, how many there may be, and which of them must go."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.types import Scope

from dnworker.core.limits import Limits

log = logging.getLogger("dnworker.server")

DESCRIPTORS_KEPT = 32
"""File descriptors that connections leave to files, workers and logs, or a quarter of all if that is more."""

SAY_SECONDS = 60.0
"""Seconds between two lines about connections that were closed or refused."""


class Connection:
    """One connection, from the moment it is accepted; HTTP and WebSocket protocols share it.

    Attributes:
        limits: its server's.
        transport: None until there is one.
        has_shown_token: whether it has proved that it may call; else it is the first to go.
        is_unix: whether it came over a unix socket.
        give_up: called in the place of the transport's end while there is none, as during a TLS handshake.
        check: called with the time of `now` about once a second; closes what took too long.
    """

    __slots__ = (
        "_registry",
        "_stalled_since",
        "_unsent",
        "check",
        "give_up",
        "has_shown_token",
        "is_unix",
        "limits",
        "transport",
    )

    def __init__(self, registry: Connections, *, is_unix: bool = False) -> None:
        self._registry = registry
        self._unsent = 0
        self._stalled_since: float | None = None
        self.limits = registry.limits
        self.transport: asyncio.Transport | None = None
        self.has_shown_token = False
        self.is_unix = is_unix
        self.give_up: Callable[[], object] | None = None
        self.check: Callable[[float], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still counts; one that was evicted before it had a transport does not."""
        return self in self._registry

    def now(self) -> float:
        """Return the time that limits go by, in seconds."""
        return self._registry.now()

    def show_token(self) -> None:
        """Note that a good token came over it."""
        if not self.has_shown_token:
            self.has_shown_token = True
            self._registry.trust(self)

    def abort(self) -> None:
        """Close it without waiting for anybody."""
        self._registry.forget(self)
        if self.transport is not None:
            self.transport.abort()
        elif self.give_up is not None:
            self.give_up()

    def closed(self) -> None:
        """Forget it: it is closed."""
        self._registry.forget(self)

    def look(self, now: float) -> None:
        """Abort it if nobody takes what it sends, or let its protocol check what it receives."""
        if self.transport is None:
            return
        if self._is_stalled(self.transport, now):
            self.abort()
        elif self.check is not None and not self.transport.is_closing():
            self.check(now)

    def _is_stalled(self, transport: asyncio.Transport, now: float) -> bool:
        """Return whether what it has to send was not taken for too long."""
        closing, unsent = transport.is_closing(), _unsent(transport)
        if not (closing or unsent) or unsent < self._unsent or self._stalled_since is None:
            self._stalled_since = now
        self._unsent = unsent
        is_hurried = closing or not self.has_shown_token
        patience = self.limits.header_seconds if is_hurried else self.limits.body_seconds
        return now - self._stalled_since > patience


class Connections:
    """The open connections of one server.

    Those that have shown no token come and go by age: a new one takes the place of the oldest, so that who
    has a token gets in however many strangers hold connections open.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = fitting(limits)
        self._all: dict[Connection, None] = {}  # in the order of their age, as are these:
        self._strangers: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0.0
        """Seconds in which the loop did not turn, as while a handler blocks it."""
        self._said: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    @property
    def strangers(self) -> int:
        """How many have shown no token."""
        return len(self._strangers)

    def now(self) -> float:
        """Return the loop's time, without that in which it did not turn: what came then was not read."""
        return asyncio.get_running_loop().time() - self._held

    def admit(self, *, is_unix: bool = False) -> Connection | None:
        """Make room for a new connection and return it; None when all that are open have shown a token."""
        limits = self.limits
        if len(self._strangers) >= limits.unauthenticated or len(self._all) >= limits.connections:
            if not self.evict():
                self.say(
                    f"refused: all {limits.connections:,} that may be open are in use (limit connections)"
                )
                return None
            self.say(
                f"closed to make room: of those that show no token, {limits.unauthenticated:,} may be open "
                f"(limit unauthenticated), and {limits.connections:,} in all (limit connections)"
            )
        connection = Connection(self, is_unix=is_unix)
        self._all[connection] = self._strangers[connection] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)
        return connection

    def evict(self) -> bool:
        """Abort the oldest connection that has shown no token; returns whether there was one."""
        for connection in self._strangers:
            connection.abort()
            return True
        return False

    def trust(self, connection: Connection) -> None:
        """Note that it has shown a token."""
        self._strangers.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """Count it no longer."""
        self._all.pop(connection, None)
        self._strangers.pop(connection, None)

    def close(self) -> None:
        """Abort all."""
        for connection in [*self._all]:
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """Close the sockets in this process alone; for a child that has copies of them."""
        for connection in [*self._all]:
            transport = connection.transport
            if transport is not None and not transport.is_closing():
                close_copy(transport.get_extra_info("socket"))

    def say(self, what: str) -> None:
        """Log how many connections were dealt with so, at once and then once a minute."""
        now = asyncio.get_running_loop().time()
        last, count = self._said.get(what, (now - SAY_SECONDS, 0))
        count += 1
        if now - last >= SAY_SECONDS:
            log.warning("%s %s", "1 connection was" if count == 1 else f"{count:,} connections were", what)
            last, count = now, 0
        self._said[what] = last, count

    @property
    def _interval(self) -> float:
        return min(1.0, max(0.02, self.limits.header_seconds / 10))

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and (late := loop.time() - self._timer.when()) > self._interval:
            self._held += late
        now = self.now()
        for connection in [*self._all]:
            connection.look(now)
        self._timer = loop.call_later(self._interval, self._look) if self._all else None


def close_copy(shared: Any) -> None:
    """Close a socket in this process alone, where that is a child which has a copy of it.

    Those of transports have no `close`, and uvloop's have no socket, only a descriptor. One that uvloop
    watches is closed only when it watches it no more, which a child's copy of the loop never says.
    """
    own = getattr(shared, "_sock", shared)
    descriptor = own.detach() if isinstance(own, socket.socket) else own.fileno()
    if descriptor >= 0:
        os.close(descriptor)


def _unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has not taken: ours, and where the system says it, the kernel's.

    The kernel's count: it takes megabytes at a time, which a slow client reads for longer than it may pause.
    """
    unsent = transport.get_write_buffer_size()
    # TLS: what waits below its own buffer is in none of asyncio's counts.
    is_counted = unsent or transport.get_extra_info("sslcontext") is not None
    if is_counted and (sending := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # gone, or a system that does not count
            unsent += struct.unpack("i", fcntl.ioctl(sending.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return unsent


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection of a request; None without a server."""
    found: Connection | None = scope.get("state", {}).get("connection")
    return found


def fitting(limits: Limits, descriptors: int | None = None) -> Limits:
    """Return limits whose connections fit into the file descriptors that this process may have.

    Args:
        limits: what is wanted.
        descriptors: how many the process may have; what the system says when None.
    """
    if descriptors is None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return limits
    room = max(2, descriptors - max(DESCRIPTORS_KEPT, descriptors // 4))
    connections = min(limits.connections, room)
    unauthenticated = max(1, min(limits.unauthenticated, connections, room // 2))
    return msgspec.structs.replace(limits, connections=connections, unauthenticated=unauthenticated)
