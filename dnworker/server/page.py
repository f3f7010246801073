"""Serves the panel as a page: files, a session by cookie, a socket (see docs/decisions/0018-panel.md).

A page cannot send a bearer token with its socket, and must not keep one: it gives it once, and gets a cookie
that opens this and nothing else. Cookies know no ports (RFC 6265, 8.5): a browser would send this one to
whatever else listens on this host. So each session has a path that nobody can guess, and its cookie is sent
there only.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from dnworker.core.errors import ApiError
from dnworker.server.auth import REFRESH_SECONDS, RETIRED_CLOSE, UNAUTHORIZED_CLOSE, trust
from dnworker.server.cutting import within
from dnworker.server.responses import error, read_body, read_object
from dnworker.server.rights import Right, lacks

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.server")

ROOT = "/panel"
COOKIE = "dnworker-panel"
SESSION_SECONDS = 12 * 3600.0
SESSIONS_KEPT = 100
MAX_MESSAGE_BYTES = 2_000_000
UNSENT_KEPT = 100
"""Messages that may wait for a slow browser; then its socket is closed, and it comes back for a snapshot."""

TOO_SLOW_CLOSE = 1013
FAILED_CLOSE = 1011

FRAME_STYLE = "sha256-I26O0fscuiAJqJjB4+ZSoKcQ0FqJPnzSil6t2ArEaQ8="
"""The style of frames that show displays (`STYLE` of `panel/forms.py`): they inherit the policy."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' '{FRAME_STYLE}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LONGEST_BASE = 500
_BASE = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~@:%+-]+)*")
"""What a proxy may put before our paths: it goes into the path of a cookie."""

FILES = {
    "/panel": ("text/html", "page.html"),
    "/panel/panel.js": ("text/javascript", "panel.js"),
    "/panel/panel.css": ("text/css", "panel.css"),
    "/panel/page.js": ("text/javascript", "page.js"),
    "/panel/try": ("text/html", "try.html"),
    "/panel/try.css": ("text/css", "try.css"),
    "/panel/try.js": ("text/javascript", "try.js"),
}
"""The type and the name of each file, by its path."""


class PageChannel(Protocol):
    """Carries the messages of one browser's views."""

    def receive(self, content: object) -> None:
        """Take a message of a view."""

    def close(self) -> None:
        """Forget the views."""


class Panel(Protocol):
    """What the page shows; the panel implements it, which knows no server."""

    def file(self, name: str) -> str:
        """Return the text of one of `FILES`."""
        ...

    def connect(self, send: Callable[[dict[str, Any]], None]) -> PageChannel:
        """Open a channel for one browser; `send` is called with every message to it."""
        ...


class PageSession(msgspec.Struct, frozen=True):
    """A browser that has shown the token; it ends with the token that it showed."""

    token: str
    expires: float
    key: str
    """The part of its path that only its browser knows."""
    base: str = ""
    """What a proxy has put before our paths, as its browser sees them."""

    @property
    def path(self) -> str:
        """Where the cookie is sent, and where its session and its socket are."""
        return f"{self.base}{ROOT}/{self.key}"


class PageSessions:
    """The browsers that may look.

    Args:
        engine: whose tokens they show.
        panel: what they see.
    """

    def __init__(self, engine: Engine, panel: Panel) -> None:
        self.panel = panel
        self._engine = engine
        self._sessions: dict[str, PageSession] = {}
        self._name = f"{COOKIE}-{hashlib.sha256(engine.runtime_id.encode()).hexdigest()[:8]}"

    def open(self, token: str, base: str = "") -> tuple[str, PageSession]:
        """Return a new session and its cookie.

        Args:
            token: which it has shown.
            base: what its browser has before our paths, behind a proxy.
        """
        now = time.monotonic()
        self._sessions = {k: s for k, s in self._sessions.items() if s.expires > now}
        while len(self._sessions) >= SESSIONS_KEPT:
            del self._sessions[next(iter(self._sessions))]
        cookie = secrets.token_urlsafe(32)
        session = PageSession(token, now + SESSION_SECONDS, secrets.token_urlsafe(32), base)
        self._sessions[cookie] = session
        return cookie, session

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return self._name

    def token_of(self, scope: Scope) -> str | None:
        """Return the token that a request's cookie stands for, on its own path and while both are good."""
        session = self._sessions.get(HTTPConnection(scope).cookies.get(self._name, ""))
        if session is None or session.expires <= time.monotonic():
            return None
        key = str(scope.get("path_params", {}).get("key", ""))
        if not hmac.compare_digest(key.encode(errors="replace"), session.key.encode()):
            return None
        if not self._engine.tokens.accepts(session.token):
            return None
        trust(scope)
        return session.token


def _answer(status: int, content: object) -> Response:
    body = msgspec.json.encode(content)
    return Response(body, status, {**HEADERS, "Content-Type": "application/json"})


async def file(request: Request) -> Response:
    """Send one of the page's files; they are the same for everybody, so they need no session."""
    media_type, name = FILES[request.url.path]
    pages: PageSessions = request.scope["pages"]
    text = await asyncio.to_thread(pages.panel.file, name)  # the first time, hundreds of files are joined
    return Response(text, 200, HEADERS, media_type=media_type)


async def home(request: Request) -> Response:
    """Lead whoever asks for the root to the panel."""
    return RedirectResponse("panel", 307, HEADERS)  # relative: a proxy may have taken off a prefix


async def session(request: Request) -> Response:
    """Return whether this browser may look."""
    pages: PageSessions = request.scope["pages"]
    return _answer(200, {"ok": pages.token_of(request.scope) is not None})


async def login(request: Request) -> Response:
    """Take a token, or a ticket of 30 s that stands for one, once, and give a cookie."""
    engine: Engine = request.scope["engine"]
    pages: PageSessions = request.scope["pages"]
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return error(415, "send JSON")  # no form of another site can
    try:
        body = read_object(await read_body(request.receive, 10_000))
    except ApiError as exc:
        return _answer(exc.status, {"detail": str(exc)})
    token, ticket, base = body.get("token"), body.get("ticket"), body.get("base", "")
    if not isinstance(base, str) or len(base) > LONGEST_BASE or not _BASE.fullmatch(base):
        return _answer(400, {"detail": "base is no path of a proxy, such as /dnworker"})
    shown = engine.tokens.redeem(ticket) if isinstance(ticket, str) else token
    worker = engine.tokens.worker_of(shown) if isinstance(shown, str) else None
    if (refusal := lacks({"worker": worker}, Right.PANEL, engine.tokens)) is not None:
        return _answer(403, {"detail": refusal})
    if not isinstance(shown, str) or not engine.tokens.accepts(shown) or engine.tokens.worker_of(shown):
        used = "this link was used, or is older than 30 s; run dnworker panel again, or give the token"
        return _answer(401, {"detail": used if ticket is not None else "that is not the runtime's token"})
    trust(request.scope)
    cookie, opened = pages.open(shown, base)
    answer = _answer(200, {"ok": True, "path": opened.path})
    answer.set_cookie(
        pages.cookie,
        cookie,
        max_age=int(SESSION_SECONDS),
        path=opened.path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


class PanelSocket:
    """Carries the messages of one browser's views: an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one browser until it goes, falls behind, or its token is retired."""
        pages: PageSessions = scope["pages"]
        socket = WebSocket(scope, receive, send)
        token = pages.token_of(scope)
        if token is None:
            await socket.close(UNAUTHORIZED_CLOSE, "give the token first")
            return
        await socket.accept()
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        unsent: asyncio.Queue[dict[str, Any]] = asyncio.Queue(UNSENT_KEPT)

        def put(message: dict[str, Any]) -> None:
            try:
                unsent.put_nowait(message)
            except asyncio.QueueFull:
                _settle(over, TOO_SLOW_CLOSE)

        channel = pages.panel.connect(put)
        jobs: list[asyncio.Future[None]] = [
            asyncio.ensure_future(_read(socket, channel)),
            asyncio.ensure_future(_write(socket, unsent)),
        ]
        ends: set[asyncio.Future[Any]] = {*jobs, over}
        try:
            while not any(one.done() for one in ends):
                await asyncio.wait(ends, timeout=REFRESH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if pages.token_of(scope) is None:  # retired, or open for too long
                    _settle(over, RETIRED_CLOSE)
        finally:
            channel.close()
            for job in jobs:
                job.cancel()
            for outcome in await asyncio.gather(*jobs, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("the socket of a page failed", exc_info=outcome)
                    _settle(over, FAILED_CLOSE)
        if over.done():
            await within(scope, socket.close(over.result()))


def _settle(future: asyncio.Future[int], code: int) -> None:
    if not future.done():
        future.set_result(code)


async def _read(socket: WebSocket, channel: PageChannel) -> None:
    while True:
        try:
            text = await socket.receive_text()
        except (WebSocketDisconnect, KeyError):  # a frame of bytes has no text
            return
        if len(text) > MAX_MESSAGE_BYTES:
            return
        try:
            message = msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return
        channel.receive(message)


async def _write(socket: WebSocket, unsent: asyncio.Queue[dict[str, Any]]) -> None:
    try:
        while True:
            await socket.send_text(msgspec.json.encode(await unsent.get()).decode())
    except (WebSocketDisconnect, OSError):
        return


routes = [
    Route("/", home, methods=["GET"]),
    *(Route(path, file, methods=["GET"]) for path in FILES),
    Route(f"{ROOT}/session", login, methods=["POST"]),
    Route(f"{ROOT}/{{key}}/session", session, methods=["GET"]),
    WebSocketRoute(f"{ROOT}/{{key}}/ws", PanelSocket()),
]
