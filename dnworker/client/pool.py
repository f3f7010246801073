"""`Pool`: sends HTTP/1.1 requests over connections that it keeps; `http` uses it.

h11 speaks the protocol. httpx, whose errors callers get, takes longer to import than all else of a worker's
process, and takes most of the time of a request: it is imported where one fails.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import h11
import msgspec

from dnworker.client.sender import Answer, Request

if TYPE_CHECKING:
    import httpx

LARGEST_HEAD = 100 * 1024
"""Bytes of the head of an answer, as with httpx."""

NEXT_ADDRESS_SECONDS = 0.25
"""Seconds after which the next address of a host is tried beside the one before (RFC 8305)."""

MAY_BE_ON_THE_WAY = 16 * 1024
"""Bytes of a request that are sent, and perhaps not read."""

_HAVE_BODIES = ("POST", "PUT", "PATCH")

_TELLING = (ssl.SSLError, socket.gaierror, ConnectionResetError, ConnectionAbortedError)
"""Errors that say more of a failed connection than that there is none."""


class Pool:
    """A `Sender` over connections to one server.

    Args:
        path: of the unix socket that the server listens at; None where addresses of requests say where it is.
        tls: how certificates are checked; None where there is no TLS.
        idle: connections that are kept open for the next requests.
        idle_seconds: after which a connection that nothing uses is used no more.
    """

    def __init__(
        self, *, path: str | None, tls: ssl.SSLContext | None, idle: int, idle_seconds: float
    ) -> None:
        self._path = path
        self._tls = tls
        self._most_idle = idle
        self._idle_seconds = idle_seconds
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []

    async def send(self, request: Request) -> Answer:
        """Send a request and return the answer, as `Sender.send`."""
        try:
            connection = self._kept() or await self._connected(request)
            answer = await connection.send(request)
        except _Failed as exc:
            raise exc.for_httpx(request) from exc.__cause__
        self._keep(connection)
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        self._idle.clear()
        for connection in (connections := [*self._open]):
            connection.close()
        for connection in connections:
            await connection.closed.wait()

    def _kept(self) -> _Connection | None:
        """Return a connection that waits for a request; None where there is none."""
        old = asyncio.get_running_loop().time() - self._idle_seconds
        while self._idle and self._idle[0].idle_since <= old:
            self._idle.pop(0).close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle and not connection.has_news():
                return connection
            connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        if not connection.is_idle or len(self._idle) >= self._most_idle:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    async def _connected(self, request: Request) -> _Connection:
        parts = urlsplit(request.url)
        host = parts.hostname or ""
        port = parts.port
        if port is None:
            port = 80 if self._tls is None else 443
        loop, connection = asyncio.get_running_loop(), _Connection(self._lost)
        self._open.add(connection)
        how: dict[str, Any] = {"ssl": self._tls}
        # Not for an address: where the race is cancelled, it forgets its socket. uvloop's loop has none.
        if not _is_address(host) and isinstance(loop, asyncio.BaseEventLoop):
            how["happy_eyeballs_delay"] = NEXT_ADDRESS_SECONDS
        try:
            async with asyncio.timeout(request.timeout):
                if self._path is not None:
                    await loop.create_unix_connection(lambda: connection, self._path)
                else:
                    await loop.create_connection(lambda: connection, host, port, **how)
        except BaseException as exc:
            connection.close()
            if isinstance(exc, TimeoutError):
                raise _Failed("ConnectTimeout", "") from exc
            if isinstance(exc, OSError):
                raise _Failed("ConnectError", self._why(exc)) from exc
            if isinstance(exc, UnicodeError):
                raise _Failed("ConnectError", "this is no name of a host") from exc
            raise
        return connection

    def _why(self, exc: OSError) -> str:
        """Return why there is no connection; where no address of the host has one, what httpx says."""
        if self._path is not None or isinstance(exc, _TELLING):
            return exc.strerror or str(exc)
        return "All connection attempts failed"

    def _lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Failed(Exception):
    """A request failed; `kind` is the class of httpx that says so."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)

    def for_httpx(self, request: Request) -> httpx.TransportError:
        import httpx  # it takes long, and only failures need it

        if self.kind == "LocalProtocolError":  # httpx cannot have these headers either
            request = msgspec.structs.replace(request, headers={})
        return cast("httpx.TransportError", getattr(httpx, self.kind)(str(self), request=request.for_httpx()))


class _Connection(asyncio.Protocol):
    """One connection, which carries one request after the other.

    Args:
        on_lost: called with it once it is closed.
    """

    def __init__(self, on_lost: Callable[[_Connection], None]) -> None:
        self.closed = asyncio.Event()
        self.idle_since = 0.0
        self._why: str | None = None  # why it was closed here; None where it was not
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)

        # The request under way.
        self._waiting: asyncio.Future[Answer] | None = None
        self._request: Request
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._unsent = 0

    @property
    def is_idle(self) -> bool:
        """Whether it can carry the next request."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._http.our_state is h11.IDLE

    def has_news(self) -> bool:
        """Return whether the server has closed it, or sent something, which the loop has not read yet.

        As where the code of a handler has kept the loop from reading: a request would be lost.
        """
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def send(self, request: Request) -> Answer:
        """Send a request and return the answer; whatever else becomes of it, the connection is closed."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = waiting
        self._request, self._head = request, None
        self._body.clear()
        assert self._transport is not None
        try:
            if self.closed.is_set():  # nothing else would end the wait
                raise _Failed("ReadError", self._why or "it was closed before the request was sent")
            self._transport.write(self._encoded(request))
            if request.timeout is not None:
                self._heard_at, self._unsent = loop.time(), self._transport.get_write_buffer_size()
                self._timer = loop.call_later(request.timeout, self._look, request.timeout)
            return await waiting
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def close(self, why: str = "") -> None:
        """Close it at once; `why` is what a request under way fails with."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()
        else:
            self._note_end()  # it was never open

    def _encoded(self, request: Request) -> bytes:
        """Return a request as it is sent.

        Raises:
            _Failed: a header cannot be sent; names it, and not its value, which may be a token.
        """
        parts = urlsplit(request.url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        headers = [("Host", _host(parts.netloc)), *request.headers.items()]
        content = request.content
        if content is not None or request.method in _HAVE_BODIES:
            headers.append(("Content-Length", str(len(content or b""))))
        http = self._http
        try:
            asked = h11.Request(method=request.method, target=target, headers=headers)
        except (h11.LocalProtocolError, UnicodeError):
            names = ", ".join(name for name, value in headers if not _can_be_sent(value))
            text = f"{names or 'the request'} has a line break, or another character that cannot be sent"
            raise _Failed("LocalProtocolError", text) from None
        head = http.send(asked) or b""
        body = b"" if content is None else http.send(h11.Data(data=content)) or b""
        return head + body + (http.send(h11.EndOfMessage()) or b"")

    # -- what the loop calls ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport = cast("asyncio.Transport", transport)
        if self.closed.is_set():  # while it connected
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read an answer on."""
        if self._waiting is None or self._waiting.done():  # nobody knows what this answers
            self.close("the server speaks before it is asked, as none of HTTP does")
            return
        self._heard_at = asyncio.get_running_loop().time()
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        """Note the end, by which some answers end."""
        if self._waiting is not None and not self._waiting.done():
            if self._head is None:
                text = "Server disconnected without sending a response."
                self._fail("RemoteProtocolError", text, EOFError())
                return
            self._http.receive_data(b"")
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is closed; uvloop tells the end of TLS by this alone."""
        self._note_end()
        if exc is None and self._why is None:
            self.eof_received()
        self._fail("ReadError", str(exc or self._why or ""), exc)

    def _note_end(self) -> None:
        self._on_lost(self)
        self.closed.set()

    # -- the answer ------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while self._waiting is not None and not self._waiting.done():
                event = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if self._request.most is not None and len(self._body) > self._request.most:
                        self._end()
                elif isinstance(event, h11.EndOfMessage):
                    self._end()
                elif not isinstance(event, h11.InformationalResponse):  # more must come first
                    return
        except h11.RemoteProtocolError as exc:
            self._fail("RemoteProtocolError", str(exc), exc)

    def _end(self) -> None:
        """Give the answer, and get ready for the next request where the server can."""
        assert self._head is not None
        assert self._waiting is not None
        assert self._transport is not None
        http = self._http
        is_over = http.our_state is h11.DONE and http.their_state is h11.DONE
        is_read = not self._transport.get_write_buffer_size() and not self._is_refused_early()
        if is_over and is_read and not http.trailing_data[0]:
            http.start_next_cycle()
        self._waiting.set_result(Answer(self._head.status_code, [*self._head.headers], bytes(self._body)))

    def _is_refused_early(self) -> bool:
        """Return whether a server may have refused a long request before it has read it: it may hang up."""
        assert self._head is not None
        return self._head.status_code >= 400 and len(self._request.content or b"") > MAY_BE_ON_THE_WAY

    def _fail(self, kind: str, text: str, cause: BaseException | None = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            failure = _Failed(kind, text)
            failure.__cause__ = cause
            self._waiting.set_exception(failure)

    def _look(self, seconds: float) -> None:
        """Fail where nothing has come or gone for so long."""
        loop = asyncio.get_running_loop()
        assert self._transport is not None
        if (unsent := self._transport.get_write_buffer_size()) != self._unsent:
            self._unsent, self._heard_at = unsent, loop.time()
        left = self._heard_at + seconds - loop.time()
        if left <= 0:
            self._fail("WriteTimeout" if unsent else "ReadTimeout", "")
        else:
            self._timer = loop.call_later(left, self._look, seconds)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _can_be_sent(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def _host(netloc: str) -> str:
    """Return the host and port of an address, without the user."""
    host = netloc.rpartition("@")[2]
    return host if host.isascii() else host.encode("idna").decode()
