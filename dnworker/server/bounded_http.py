"""`BoundedHttp`: uvicorn's HTTP protocol with limits on what a client sends and how long it takes for it.

uvicorn with httptools bounds neither headers nor time. llhttp, its parser, refuses what is ambiguous in the
framing (RFC 9112, sections 5 to 7); what it lets through and must not be served is in `request_problem`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from dnworker.server.connections import Connection

log = logging.getLogger("dnworker.server")

TARGET_BYTES = 32_768
"""Of a request's target: `/api/shell` has a command in it."""

HANDSHAKE_LINE_BYTES = 8_000
HANDSHAKE_HEADERS = 100
"""What the WebSocket library takes of a handshake, rounded down."""

PIPELINED = 16
"""Requests that may wait for the answers to those before them."""

LINGER_SECONDS = 5.0
LINGER_BYTES = 32_000_000
"""How long, and for how much, a connection is read on after its last answer: closing it at once would make
the kernel withdraw an answer that the client has not read."""


CONTINUE = b"HTTP/1.1 100"
"""Begins what comes before the head of an answer (RFC 9110, 15.2.1)."""


class Phase(enum.Enum):
    """What is read next."""

    IDLE, HEAD, BODY = range(3)


class Refusal(Exception):
    """A request that is answered by this status and text; the connection ends with it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connection: Connection = app_state["connection"]
        self._limits = self._connection.limits

        # What is read: since when, how much of it led to nothing yet, and how much headers came to.
        self._phase = Phase.HEAD
        self._since: float | None = None
        self._body_at: float | None = None
        """None until the next look: requests come by the thousand, and looks ten times in a limit's time."""
        self._pending = 0
        self._head_bytes = 0
        self._refusal: Refusal | None = None
        self._is_deaf = False
        self._ignores_upgrade = False
        self._is_reading_anew = False

        # What is answered, and whether the connection may go on afterwards.
        self._answering: RequestResponseCycle | None = None
        self._exit: _Exit | None = None
        self._keeps_alive = False
        self._is_leaving = False
        self._leave_at = 0.0
        self._discarded = 0

    # -- what asyncio calls ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take the transport, unless the connection had to go meanwhile."""
        super().connection_made(transport)
        self._connection.transport, self._connection.check = transport, self._check
        if not self._connection.is_open:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._connection.closed()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is wrong with it or too much."""
        if self._is_leaving or self._is_deaf:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if self._phase is Phase.IDLE:
            self._begin_head()
        self._pending += len(data)
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError as exc:
            self._refuse(self._refusal or Refusal(400, f"this is no HTTP request: {exc}"))
        else:
            if self._pending > self._limits.header_bytes:
                self._refuse(self._too_large())

    def _parse(self, data: bytes) -> bytes:
        """Parse a part, and return what is left of it: the body of a request that wants another protocol.

        Java's `HttpClient` and `curl --http2` ask by `Upgrade: h2c`. A server may ignore that (RFC
        9110, 7.8), but the parser takes what follows the head for the other protocol.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if not self._ignores_upgrade:
                self.handle_websocket_upgrade()
                return b""
            self._ignores_upgrade = False
            framing = [one for one in self.headers if one[0] in (b"content-length", b"transfer-encoding")]
            self.parser = httptools.HttpRequestParser(self)
            self._is_reading_anew = True
            head = b"".join(b"%b: %b\r\n" % one for one in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
            self._is_reading_anew = False
            return data[exc.args[0] :]
        return b""

    # -- what the parser calls -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_reading_anew:
            return
        super().on_message_begin()
        self._begin_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        if self._is_reading_anew:
            return
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            raise self._refused(Refusal(414, f"the request target is over {TARGET_BYTES:,} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that comes after the body is counted, and left out (RFC 9110, 6.5.1)."""
        if self._is_reading_anew:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.header_bytes:
            raise self._refused(self._too_large())
        if self._phase is Phase.BODY:
            return
        super().on_header(name, value)
        if len(self.headers) > self._limits.header_count:
            text = f"the request has more than {self._limits.header_count:,} headers"
            raise self._refused(Refusal(431, text))

    def on_headers_complete(self) -> None:
        """Check the request, then begin to answer it or put it behind those before it."""
        if self._is_reading_anew:
            return
        version, method = self.parser.get_http_version(), self.parser.get_method()
        problem = request_problem(version, method, self.headers)
        if problem is not None:
            raise self._refused(problem)
        if (target := origin_form(self.url, self.headers)) is None:
            raise self._refused(Refusal(400, "the target names another host; this is no proxy"))
        self.url = target
        upgrades = self.parser.should_upgrade()
        if upgrades and self._should_upgrade():
            self._check_handshake(version, method)
            super().on_headers_complete()
            return
        self._ignores_upgrade = upgrades
        if len(self.pipeline) >= PIPELINED:
            raise self._refused(Refusal(429, f"more than {PIPELINED} requests wait for their answers"))
        self._phase, self._pending, self._head_bytes = Phase.BODY, 0, 0
        self._since = self._body_at = None
        super().on_headers_complete()
        self._exit = _Exit(self)
        self.cycle.transport = cast(asyncio.Transport, self._exit)
        # Until the body is there: an answer that does not wait for it ends the connection.
        self._keeps_alive = self.cycle.keep_alive
        self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._pending = 0
        self._body_at = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the body of one whose upgrade is ignored is still to come."""
        if self._ignores_upgrade:
            return
        super().on_message_complete()
        if self._phase is Phase.BODY and not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive
        self._phase, self._pending = Phase.IDLE, 0

    # -- answers ---------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Begin the next answer, unless the connection ends."""
        if self._is_leaving:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()

    def leave(self) -> None:
        """End the connection, once the client can have read what was sent to it."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self._flush()
        if self._phase is Phase.IDLE and not self._is_deaf:
            self.transport.close()
            return
        self._leave_at = self._connection.now() + min(LINGER_SECONDS, self._limits.header_seconds)
        self.flow.resume_reading()
        if self.transport.is_closing():
            return
        if not self.transport.can_write_eof():  # TLS: the client ends it when it has the answer
            return
        try:
            self.transport.write_eof()
        except OSError:  # the client has gone
            self.transport.abort()

    def shutdown(self) -> None:
        """End it when what is answered has been answered: the server stops."""
        self._keeps_alive = False
        self._flush()
        if self._is_leaving:
            self.transport.close()
        super().shutdown()

    def _refuse(self, refusal: Refusal) -> None:
        """End the connection with this answer, if its turn has come; what was asked before is answered."""
        if self._is_leaving or self._is_deaf:
            return
        log.debug("refused a request: %d %s", refusal.status, refusal)
        self._is_deaf = True
        broken = self.cycle if self._phase is Phase.BODY else None
        active = self._answering
        if broken is not None and broken is not active:
            self.pipeline.popleft()  # the newest: it was never begun
            broken = None
        if broken is not None:
            has_begun = broken.response_started
            broken.disconnected = True
            broken.message_event.set()
            if not has_begun:
                self._send(refusal)
            self.leave()
        elif active is None or active.response_complete:
            self._send(refusal)
            self.leave()
        else:
            (self.pipeline[0][0] if self.pipeline else active).keep_alive = False

    def _send(self, refusal: Refusal) -> None:
        body = msgspec.json.encode({"detail": str(refusal)})
        status = HTTPStatus(refusal.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._flush()
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)

    def _flush(self) -> None:
        """Send the head of the newest request's answer, if its body has not come yet."""
        if self._exit is not None:
            self._exit.flush()

    # -- limits ----------------------------------------------------------------------------------------

    def _check(self, now: float) -> None:
        """Refuse what is not complete in time."""
        limits = self._limits
        self._since = since = now if self._since is None else self._since
        self._body_at = body_at = now if self._body_at is None else self._body_at
        if self._is_leaving:
            if now > self._leave_at:
                self.transport.close()
        elif self._is_deaf:
            return  # it ends with the answers under way
        elif self._phase is Phase.HEAD and now - since > limits.header_seconds:
            if self._pending:
                self._refuse(Refusal(408, f"the headers took more than {limits.header_seconds:g} s"))
            elif self._answering is None:
                self.transport.close()  # nothing was ever asked
        elif self._phase is Phase.BODY:
            if self.flow.read_paused:  # we are the one who waits
                self._body_at = now
            elif self._connection.has_shown_token:
                if now - body_at > limits.body_seconds:
                    self._refuse(Refusal(408, f"the body paused for more than {limits.body_seconds:g} s"))
            elif now - since > limits.header_seconds:
                self._refuse(Refusal(408, f"the body took more than {limits.header_seconds:g} s"))

    def _begin_head(self) -> None:
        if self._phase is Phase.HEAD:
            return
        self._phase, self._since, self._pending, self._head_bytes = Phase.HEAD, None, 0, 0

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._connection.abort()

    def _check_handshake(self, version: str, method: bytes) -> None:
        """Refuse a handshake that the WebSocket library would not read.

        Raises:
            Refusal: it has a body, is too long, or comes before an answer is complete.
        """
        # Java's client says of its GET that it has no body; the WebSocket library knows no such header.
        self.headers[:] = [one for one in self.headers if one != (b"content-length", b"0")]
        names = {name for name, _ in self.headers}
        if method != b"GET" or version != "1.1" or names & {b"content-length", b"transfer-encoding"}:
            raise self._refused(Refusal(400, "a WebSocket handshake is a GET of HTTP/1.1 without a body"))
        if self._answering is not None and not self._answering.response_complete:
            raise self._refused(Refusal(400, "a WebSocket handshake waits for the answer before it"))
        if len(self.url) > HANDSHAKE_LINE_BYTES:
            raise self._refused(Refusal(414, f"the target is over {HANDSHAKE_LINE_BYTES:,} bytes"))
        longest = max(len(name) + len(value) for name, value in self.headers)
        if longest > HANDSHAKE_LINE_BYTES or len(self.headers) > HANDSHAKE_HEADERS:
            text = f"a handshake has at most {HANDSHAKE_HEADERS} headers of {HANDSHAKE_LINE_BYTES:,} bytes"
            raise self._refused(Refusal(431, text))

    def _too_large(self) -> Refusal:
        return Refusal(431, f"the headers are over {self._limits.header_bytes:,} bytes")

    def _refused(self, refusal: Refusal) -> Refusal:
        """Keep it: the parser raises another error in its place."""
        self._refusal = refusal
        return refusal


class _Exit:
    """The transport as an answer uses it: its end is a `leave` of the connection.

    Head and body go out together, where the body comes in the same turn of the loop: a system call less.
    """

    __slots__ = ("_has_begun", "_head", "_protocol", "is_closing")

    def __init__(self, protocol: BoundedHttp) -> None:
        self._protocol = protocol
        self._head: bytes | None = None
        self._has_begun = False
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        """Send a part of the answer; its head with what follows, or soon."""
        head, self._head = self._head, None
        if head is not None:
            # Joined here: `writelines` of Python 3.12 and 3.13 never pauses who writes, and registers the
            # descriptor of a connection that is lost.
            self._protocol.transport.write(head + data)
        elif self._has_begun or data.startswith(CONTINUE):
            self._protocol.transport.write(data)
        else:
            self._has_begun, self._head = True, data
            self._protocol.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send the head, if it waits for the body."""
        head, self._head = self._head, None
        if head is not None and not self.is_closing():
            self._protocol.transport.write(head)

    def close(self) -> None:
        """End the connection; of the answer that was begun here, the head goes out before that."""
        self.flush()
        self._protocol.leave()


def request_problem(version: str, method: bytes, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
    """Return what is wrong with a request that llhttp took, if anything is."""
    if version not in ("1.0", "1.1"):
        return Refusal(505, f"this is HTTP/1.1, not {version}")
    if method == b"CONNECT":
        return Refusal(400, "this is no proxy")
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and (version == "1.0" or value.strip().lower() != b"chunked"):
            return Refusal(501, "the only transfer encoding here is chunked, of HTTP/1.1")
    if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, 3.2
        return Refusal(400, f"the request has {hosts or 'no'} Host headers; it must have one")
    return None


def origin_form(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """Return the target from its path on; None if it names another host than Host does (RFC 9112, 3.2.2)."""
    if target.startswith(b"/") or target == b"*":
        return target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"ws", b"https", b"wss"):
        return None
    authority = rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
    host = next((value for name, value in headers if name == b"host"), b"")
    if authority.lower() != host.strip().lower():
        return None
    path = rest[len(authority) :]
    return path if path.startswith(b"/") else b"/" + path
