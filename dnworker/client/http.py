"""`HttpConnection`: the connection of a client in another process; requests by HTTP, events by WebSocket."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.client.address import base_of, is_near, resolve_url, socket_of
from dnworker.client.by_loop import ByLoop
from dnworker.client.connection import TurnEvents, checked, encode_fields, in_path, read_answer
from dnworker.client.event_stream import NO_GROUPS, EventStream
from dnworker.client.pool import Pool
from dnworker.client.sender import Answer, Request, Sender, address_of
from dnworker.client.tokens import bearer, resolve_token, way_to_token
from dnworker.client.unreachable import unreachable
from dnworker.core.envelope import RECONNECTED, EventEnvelope
from dnworker.core.errors import RuntimeUnavailable
from dnworker.core.invocation import current_invocation

if TYPE_CHECKING:
    import httpx

    from dnworker.client.socket import InteractiveSocket

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

_NO_GROUPS = NO_GROUPS.encode()

AS_CLIENT = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "dnworker",
}
"""What a client says of itself: proxies may refuse who says nothing."""

UNENCODED = {"Accept-Encoding": "identity"}
"""Asks for content that is read as it comes."""

AT_ONCE = 100
"""Requests at a time, and so connections to a server."""

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
        self._open = ByLoop(AT_ONCE)
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
            is_late = asyncio.get_running_loop().time() - began >= CONNECT_BUDGET
            answer = await self._looked("/api/ready", timeout, is_last=is_late)
            if answer is not None and await self._is_ready(answer, timeout):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeUnavailable(
                    f"the runtime at {self.server_url} was not ready within {READY_BUDGET:g} s"
                )
            await asyncio.sleep(READY_POLL)

    async def _looked(self, path: str, timeout: float, *, is_last: bool = True) -> Answer | None:
        """Return what is answered at an endpoint; None where that takes too long.

        A busy machine may take seconds to connect to itself; where nobody listens, it refuses soon.

        Raises:
            RuntimeUnavailable: nothing can be reached there; with `is_last` also where only that took long.
        """
        try:
            return await self._sender.send(self._request("GET", path, headers=UNENCODED, timeout=timeout))
        except Exception as exc:
            import httpx  # not before something fails

            if isinstance(exc, httpx.ReadTimeout) or (isinstance(exc, httpx.ConnectTimeout) and not is_last):
                return None
            if isinstance(exc, httpx.TransportError):
                raise unreachable(self.server_url, exc) from exc
            raise

    async def _is_ready(self, answer: Answer, timeout: float) -> bool:
        match answer.status:
            case 200:
                self.has_groups = _NO_GROUPS not in dict(answer.headers)
                return True
            case 400 if any(text in answer.text for text in TLS_HERE):
                address = "https://" + self.server_url.partition("://")[2]
                text = f"{self.server_url} speaks TLS; give its address as {address}"
                raise RuntimeUnavailable(text, code="DN906")
            case 404:
                health = await self._looked("/api/health", timeout)
                if health is not None and health.status == 200:
                    return True
            case 503:
                stage = _stage(answer)
                if stage == "failed":
                    raise RuntimeUnavailable(f"the runtime at {self.server_url} failed to start")
                if stage is not None:
                    return False
        raise RuntimeUnavailable(f"{self.server_url}/api/ready answered {answer.status}; is a runtime there?")

    async def close(self) -> None:
        """Close all connections and the interactive socket, of each loop."""
        await self._open.close()

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
        except Exception as exc:
            import httpx  # not before something fails

            if not isinstance(exc, httpx.HTTPStatusError) or exc.response.status_code not in (404, 405):
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
        headers = {} if content is None else {"Content-Type": "application/json"}
        if (cause := current_invocation.get()) is not None:
            headers["traceparent"] = cause.traceparent
        request = self._request(method, path, query=query, headers=headers, content=content, timeout=timeout)
        async with self._open.here().at_once:
            return _read(request, await self._sender.send(request))

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,
        most: int | None = None,
    ) -> Request:
        """Return a request of this client.

        Raises:
            Invalid: a text of the query has a lone surrogate; names the field.
        """
        address = address_of(base_of(self.server_url), path, checked(query))
        named = AS_CLIENT | self._headers() | dict(headers or {})
        return Request(method, address, named, content, timeout, most)

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
        # Not encoded, so that little cannot become much.
        request = self._request("GET", path, query=query, headers=UNENCODED, most=most)
        async with asyncio.timeout(seconds):
            answer = await self._sender.send(request)
        if len(answer.content) > most:
            raise RuntimeUnavailable(
                f"{self.server_url} answers with over {most // 1_000_000} MB; is a runtime there?"
            )
        if not 200 <= answer.status < 300:
            _read(request, answer)
        return answer.content

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

    @property
    def _sender(self) -> Sender:
        """What sends requests on this loop; made with the first."""
        here = self._open.here()
        if here.sender is None:
            here.sender = self._made_sender(is_first=here.is_first)
        return here.sender

    def _made_sender(self, *, is_first: bool) -> Sender:
        if self._transport is not None:
            from dnworker.client.over_transport import OverTransport  # imports httpx, which takes long

            return OverTransport(self._transport)
        # A later loop is mostly `asyncio.run` of one request in a thread, which would leave connections open.
        idle, path = IDLE if is_first else 0, socket_of(self.server_url)
        return Pool(path=path, tls=self._context(), idle=idle, idle_seconds=IDLE_SECONDS)

    def _context(self) -> ssl.SSLContext | None:
        """Return how certificates are checked; None where the address needs none."""
        if self._tls is None and self.server_url.startswith("https:"):
            from dnworker.client.tls import client_context  # few runtimes are remote

            self._tls = client_context()
        return self._tls if self.server_url.startswith("https:") else None

    def _headers(self) -> dict[str, str]:
        return bearer(token, self.server_url) if (token := self.token) else {}

    def _interactive(self) -> InteractiveSocket:
        here = self._open.here()
        if here.socket is None:
            from dnworker.client.socket import InteractiveSocket  # few workers run turns

            self._refuse_transport()
            here.socket = InteractiveSocket(lambda: self.open_socket("/api/ws"), self.server_url)
        return here.socket

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


def _read(request: Request, answer: Answer) -> Any:
    """Return the JSON of an answer.

    Raises:
        httpx.HTTPStatusError: as of `read_answer`.
    """
    if answer.is_plain:
        return msgspec.json.decode(answer.content)
    return read_answer(answer.for_httpx(request))


def _stage(answer: Answer) -> str | None:
    try:
        stage = msgspec.json.decode(answer.content).get("stage")
    except (ValueError, AttributeError):
        return None
    return stage if isinstance(stage, str) else None
