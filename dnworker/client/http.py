"""`HttpConnection`: the connection of a client in another process; HTTP by httpx, events by WebSocket."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import httpx

from dnworker.client.address import base_of, is_near, resolve_url, socket_of
from dnworker.client.connection import TurnEvents, checked, encode_fields, in_path, read_answer
from dnworker.client.event_stream import NO_GROUPS, EventStream
from dnworker.client.socket import InteractiveSocket
from dnworker.client.tls import client_context
from dnworker.client.tokens import resolve_token, way_to_token
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import RECONNECTED, EventEnvelope
from dnworker.core.errors import RuntimeUnavailable
from dnworker.core.invocation import current_invocation

log = logging.getLogger("dnworker.client")

READY_BUDGET = 120.0
READY_POLL = 0.25
"""Seconds until a runtime must be ready, and between two looks at it."""

CONNECT_BUDGET = 15.0
"""Seconds until a connection to it must be there."""

RECONNECT_FIRST = 0.25
RECONNECT_LONGEST = 15.0
"""Seconds of the first and the longest wait before a stream is opened again."""

CLOSE_SECONDS = 1.0
"""Seconds that the end of a socket waits for the runtime's answer, which comes after all frames on the way.

A worker that is behind has stopped reading these: it would wait longer than its stop may take.
"""

TLS_HERE = ("this port speaks TLS", "plain HTTP request was sent to HTTPS port")
"""What our server and nginx answer to plain HTTP at a port of TLS."""

LARGEST_FRAME = 32 * 1024 * 1024
"""The server caps its frames at 30 MiB (contract 7)."""

AS_CLIENT = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"python-httpx/{httpx.__version__}",
}
"""What httpx says of itself: proxies may refuse who says nothing."""

AT_ONCE = 100
"""Requests at a time, as many as the pool has connections: it looks at all that wait for each that ends."""

IDLE = 20
"""Connections that are kept open for the next requests."""

IDLE_SECONDS = 2.0
"""Seconds after which a connection that nothing uses is used no more.

Servers, as the reference, close one after 5 s: a request that is sent in that moment fails, and nobody knows
whether the server has taken it.
"""


class HttpConnection:
    """Talks to a runtime over its HTTP API and its event socket.

    Args:
        server_url: where the runtime is: an address of http, https or unix.
        auth_token: its bearer token.
        transport: an httpx transport, for tests.
        tls: how certificates are checked; by default as `client_context` says.
        environment_token: whether the environment's token is meant for that address, where none is given.
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        auth_token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
        environment_token: bool = True,
    ) -> None:
        self.server_url = resolve_url(server_url)
        self._environment_token = environment_token
        self._tls = tls
        self._token = auth_token
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._sender: httpx.AsyncBaseTransport  # what it sends by, from `_client` on
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._socket: InteractiveSocket | None = None
        self.has_groups = True
        self._lacks: set[str] = set()  # what the runtime does not have, and was told of

    @property
    def token(self) -> str | None:
        """The bearer token that requests have; None where they have none."""
        return resolve_token(self._token) if self._environment_token else self._token or None

    async def start(self) -> None:
        """Poll `/api/ready` until the runtime is ready (contract 8.2).

        Raises:
            RuntimeUnavailable: it does not answer, refuses, failed to start, or took more than 120 s.
        """
        timeout = 1.0 if is_near(self.server_url) else CONNECT_BUDGET
        began = asyncio.get_running_loop().time()
        deadline = began + READY_BUDGET
        while True:
            try:
                response = await self._client().get("/api/ready", timeout=timeout)
            except httpx.ReadTimeout:
                response = None
            except httpx.TransportError as exc:
                # A busy machine may take seconds to connect to itself; where nobody listens, it refuses soon.
                is_slow = isinstance(exc, httpx.ConnectTimeout)
                if not is_slow or asyncio.get_running_loop().time() - began >= CONNECT_BUDGET:
                    raise unreachable(self.server_url, exc) from exc
                response = None
            if response is not None and await self._is_ready(response, timeout):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeUnavailable(
                    f"the runtime at {self.server_url} was not ready within {READY_BUDGET:g} s"
                )
            await asyncio.sleep(READY_POLL)

    async def _is_ready(self, response: httpx.Response, timeout: float) -> bool:
        match response.status_code:
            case 200:
                return True
            case 400 if any(text in response.text for text in TLS_HERE):
                address = "https://" + self.server_url.partition("://")[2]
                text = f"{self.server_url} speaks TLS; give its address as {address}"
                raise RuntimeUnavailable(text, code="DN906")
            case 404:
                health = await self._client().get("/api/health", timeout=timeout)
                if health.status_code == 200:
                    return True
            case 503:
                stage = _stage(response)
                if stage == "failed":
                    raise RuntimeUnavailable(f"the runtime at {self.server_url} failed to start")
                if stage is not None:
                    return False
        raise RuntimeUnavailable(
            f"{self.server_url}/api/ready answered {response.status_code}; is a runtime there?"
        )

    async def close(self) -> None:
        """Close the HTTP client and the interactive socket."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def publish(
        self, kind: str, payload: dict[str, Any], session_id: str | None, dedupe: str | None = None
    ) -> dict[str, Any]:
        """POST the event to the runtime or to one session."""
        path = "/api/events" if session_id is None else f"/api/sessions/{in_path(session_id)}/events"
        body: dict[str, Any] = {"kind": kind, "payload": payload}
        body |= {"dedupe": dedupe} if dedupe is not None else {}
        result: dict[str, Any] = await self.request("POST", path, body=body)
        if dedupe is not None and "duplicate" not in result:
            self._note_lack("publish(dedupe=...)", "an event of the same key is published again")
        return result

    async def begin_once(self, key: str, claim: str) -> bool:
        """Ask the runtime; one that has no such endpoint, as the reference, lets every body run."""
        is_first = None
        try:
            while is_first is None:  # another is in the body for longer than a request waits
                answer = await self.request("POST", "/api/once", body={"key": key, "claim": claim})
                is_first = answer["first"]
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code not in (404, 405):
                raise
            self._note_lack("once(...)", "the body of the same key runs again")
            return True
        return bool(is_first)

    async def end_once(self, claim: str, *, done: bool) -> None:
        """Tell the runtime."""
        if "once(...)" not in self._lacks:
            await self.request("POST", f"/api/once/{claim}/end", body={"done": done})

    def _note_lack(self, what: str, so: str) -> None:
        if what not in self._lacks:
            self._lacks.add(what)
            log.warning("the runtime at %s does not know client.%s: %s", self.server_url, what, so)

    async def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Stream events, reconnecting with backoff; the first connection must succeed (contract 8.6).

        A worker gets each event once, whatever becomes of the socket: what it has had is dropped here.

        Raises:
            RuntimeUnavailable: the runtime refused the credentials, at first or later.
        """
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        self._refuse_transport()
        stream = EventStream(kinds)
        delay = RECONNECT_FIRST
        connected_before = False
        told = ""
        while True:
            try:
                async with self.open_socket(f"/api/ws/events?{stream.query}") as socket:
                    delay = RECONNECT_FIRST
                    self.has_groups = NO_GROUPS not in socket.response.headers  # perhaps another runtime
                    if connected_before:
                        yield EventEnvelope(seq=0, kind=RECONNECTED, payload={"kinds": sorted(kinds)})
                    connected_before = True
                    stream.begin()
                    async for frame in socket:
                        envelope = stream.read(frame)
                        if stream.is_new(envelope):
                            yield envelope
            except InvalidStatus as exc:
                status = exc.response.status_code
                if status in (401, 403):  # a wrong token stays wrong (contract 13.5)
                    hint = "is the token right?" if self.token else way_to_token(self.server_url)
                    text = f"{self.server_url} refused the event stream with {status}: {hint}"
                    raise RuntimeUnavailable(text, code="DN904") from exc
                if not connected_before:
                    text = f"{self.server_url} answered {status} to the event stream"
                    raise RuntimeUnavailable(text) from exc
            except ConnectionClosed:
                pass  # reconnect below
            except (OSError, InvalidHandshake, TimeoutError) as exc:
                told = self._lost(exc, connected_before, told)
            log.info("event stream lost; reconnecting in %g s", delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RECONNECT_LONGEST)

    def _lost(self, exc: Exception, connected_before: bool, told: str) -> str:
        """Say once what waiting does not mend, such as a certificate that has expired; returns what was said.

        Raises:
            RuntimeUnavailable: there was no stream before.
        """
        failure = unreachable(self.server_url, exc, "no event stream")
        if not connected_before:
            raise failure from exc
        if failure.is_final and str(failure) != told:
            log.warning("the event stream does not come back: %s", failure)
            return str(failure)
        return told

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """Call an endpoint and return its JSON.

        Raises:
            Invalid: a text that is sent has a lone surrogate; names the field.
            httpx.HTTPStatusError: the runtime refused; the message has its reason.
            httpx.TransportError: it cannot be reached.
        """
        content = None if body is None else encode_fields(body)
        headers = AS_CLIENT | self._headers()
        if content is not None:
            headers["Content-Type"] = "application/json"
        if (cause := current_invocation.get()) is not None:
            headers["traceparent"] = cause.traceparent
        request = httpx.Request(
            method,
            f"{base_of(self.server_url)}{path}",
            params=checked(query),
            headers=headers,
            content=content,
            extensions=None if timeout is None else {"timeout": httpx.Timeout(timeout).as_dict()},
        )
        async with self._at_once:
            return read_answer(await self._send(request))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, read to its end.

        By the transport alone: what `AsyncClient` adds (redirects, cookies, logins) is wanted nowhere here,
        and costs a quarter of a request.
        """
        self._client()
        try:
            response = await self._sender.handle_async_request(request)
            response.request = request
            try:
                await response.aread()
            finally:
                await response.aclose()
        except httpx.RequestError as exc:
            exc.request = request
            raise
        return response

    async def read(self, path: str, query: Mapping[str, Any], *, most: int, seconds: float) -> bytes:
        """Return what an endpoint answers that may be of another program, and have no end.

        Args:
            path, query: of the request.
            most: bytes that are taken at most.
            seconds: for all of it.

        Raises:
            TimeoutError: it takes longer.
            RuntimeUnavailable: it has more bytes.
            httpx.HTTPStatusError, httpx.TransportError: as of `request`.
        """
        headers = self._headers() | {"Accept-Encoding": "identity"}  # so that little cannot become much
        async with (
            asyncio.timeout(seconds),
            self._client().stream("GET", path, params=checked(query), headers=headers) as response,
        ):
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > most:
                    raise RuntimeUnavailable(
                        f"{self.server_url} answers with over {most // 1_000_000} MB; is a runtime there?"
                    )
            if not response.is_success:
                status, asked, head = response.status_code, response.request, response.headers
                read_answer(httpx.Response(status, headers=head, content=bytes(body), request=asked))
        return bytes(body)

    def open_interactive(self) -> Any:
        """Open a socket for commands: what websockets' `connect` returns, to be awaited or entered."""
        return self.open_socket("/api/ws")

    async def start_turn(self, session_id: str, fields: dict[str, Any]) -> TurnEvents:
        """Start a turn over the interactive socket."""
        return await self._interactive().start_turn(session_id, fields)

    async def cancel_turn(self, session_id: str, fields: dict[str, Any]) -> str:
        """Cancel a turn over the interactive socket."""
        return str((await self._interactive().command("turn.cancel", session_id, fields)).get("status"))

    async def respond(self, session_id: str, fields: dict[str, Any]) -> None:
        """Answer over the interactive socket."""
        await self._interactive().command("prompt.respond", session_id, fields)

    async def watch(self, session_id: str) -> None:
        """Subscribe over the interactive socket."""
        await self._interactive().watch(session_id)

    async def unwatch(self, session_id: str) -> None:
        """Unsubscribe."""
        await self._interactive().unwatch(session_id)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._sender = self._transport or self._made_transport()
            # trust_env off: a proxy must not see the token of a runtime on this machine.
            self._http = httpx.AsyncClient(
                base_url=base_of(self.server_url),
                transport=self._sender,
                timeout=None,  # noqa: S113  a turn takes as long as it takes
                trust_env=False,
            )
        return self._http

    def _made_transport(self) -> httpx.AsyncBaseTransport:
        # An empty context where there is no TLS: httpx would read a file of 300 KB for its own.
        tls = self._context() or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        path = socket_of(self.server_url)
        limits = httpx.Limits(
            max_connections=AT_ONCE, max_keepalive_connections=IDLE, keepalive_expiry=IDLE_SECONDS
        )
        return httpx.AsyncHTTPTransport(verify=tls, trust_env=False, uds=path, limits=limits)

    def _context(self) -> ssl.SSLContext | None:
        """Return how certificates are checked; None where the address needs none."""
        if self._tls is None and self.server_url.startswith("https:"):
            self._tls = client_context()
        return self._tls if self.server_url.startswith("https:") else None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"} if (token := self.token) else {}

    def _interactive(self) -> InteractiveSocket:
        if self._socket is None:
            self._refuse_transport()
            self._socket = InteractiveSocket(lambda: self.open_socket("/api/ws"), self.server_url)
        return self._socket

    def open_socket(self, path: str) -> Any:
        """Open a WebSocket: what websockets' `connect` returns, to be awaited or entered."""
        from websockets.asyncio.client import connect, unix_connect

        base = base_of(self.server_url).replace("http", "ws", 1)
        how: dict[str, Any] = {
            "additional_headers": self._headers(),
            "max_size": LARGEST_FRAME,
            "close_timeout": CLOSE_SECONDS,
            "proxy": None,
            "logger": logging.getLogger("dnworker.client.socket"),
        }
        if (unix := socket_of(self.server_url)) is not None:
            return unix_connect(unix, f"{base}{path}", **how)
        socket: Any = connect(f"{base}{path}", ssl=self._context(), **how)
        # As of requests, none is followed: the token would go along.
        socket.process_redirect = lambda exc: exc
        return socket

    def _refuse_transport(self) -> None:
        if self._transport is not None:
            raise RuntimeError("an injected httpx transport carries no WebSocket; events need a real runtime")


def _stage(response: httpx.Response) -> str | None:
    try:
        stage = response.json().get("stage")
    except (ValueError, AttributeError):
        return None
    return stage if isinstance(stage, str) else None
