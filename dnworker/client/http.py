"""The connection of a client in another process: HTTP by httpx, events over a WebSocket."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec

from dnworker.errors import RuntimeUnavailable
from dnworker.events import RECONNECTED, EventEnvelope, decode
from dnworker.models import RuntimeInfo, SessionInfo

log = logging.getLogger("dnworker.client")

READY_BUDGET = 120.0
READY_POLL = 0.25
RECONNECT_FIRST = 0.25
RECONNECT_LONGEST = 15.0
LARGEST_FRAME = 32 * 1024 * 1024
"""The server caps its frames at 30 MiB (contract 7)."""

M = TypeVar("M", RuntimeInfo, SessionInfo)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def resolve_url(argument: str | None = None) -> str:
    """Return where the runtime is: argument, `DREADNODE_RUNTIME_URL`, then host and port (contract 8.1)."""
    env = os.environ
    if url := argument or env.get("DREADNODE_RUNTIME_URL"):
        return url.rstrip("/")
    host = env.get("DREADNODE_RUNTIME_HOST") or env.get("DREADNODE_SERVER_HOST") or "127.0.0.1"
    port = env.get("DREADNODE_RUNTIME_PORT") or env.get("DREADNODE_SERVER_PORT") or "8787"
    return f"http://{host}:{port}"


def resolve_token(argument: str | None = None) -> str | None:
    """Return the bearer token: argument, token file, `DREADNODE_RUNTIME_TOKEN`, the legacy variable."""
    if argument:
        return argument
    if file := os.environ.get("DREADNODE_RUNTIME_TOKEN_FILE"):
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except OSError as exc:
            log.warning("token file cannot be read: %s; using the environment's token", exc.strerror)
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or os.environ.get("SANDBOX_AUTH_TOKEN") or None


class HttpConnection:
    """Talks to a runtime over its HTTP API and its event socket."""

    def __init__(
        self,
        server_url: str | None = None,
        *,
        auth_token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.server_url = resolve_url(server_url)
        self._token = auth_token
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self.has_groups = True

    async def start(self) -> None:
        """Poll `/api/ready` until the runtime is ready (contract 8.2).

        Raises:
            RuntimeUnavailable: it does not answer, refuses, failed to start, or took more than 120 s.
        """
        loopback = urlsplit(self.server_url).hostname in _LOOPBACK
        timeout = 1.0 if loopback else 15.0
        deadline = asyncio.get_running_loop().time() + READY_BUDGET
        while True:
            try:
                response = await self._client().get("/api/ready", timeout=timeout)
            except httpx.ReadTimeout:
                response = None
            except httpx.TransportError as exc:
                raise RuntimeUnavailable(
                    f"no runtime answers at {self.server_url}: {exc or type(exc).__name__}"
                ) from exc
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
        """Close the HTTP client."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def publish(self, kind: str, payload: dict[str, Any], session_id: str | None) -> dict[str, Any]:
        """POST the event to the runtime or to one session."""
        path = "/api/events" if session_id is None else f"/api/sessions/{quote(session_id, safe='')}/events"
        result: dict[str, Any] = await self._json("POST", path, {"kind": kind, "payload": payload})
        return result

    async def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Stream events, reconnecting with backoff; the first connection must succeed (contract 8.6).

        Raises:
            RuntimeUnavailable: the runtime refused the credentials, at first or later.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        if self._transport is not None:
            raise RuntimeError("an injected httpx transport carries no WebSocket; events need a real runtime")
        delay = RECONNECT_FIRST
        connected_before = False
        while True:
            try:
                async with connect(
                    self._socket_url(kinds),
                    additional_headers=self._headers(),
                    max_size=LARGEST_FRAME,
                    proxy=None,
                    logger=logging.getLogger("dnworker.client.socket"),
                ) as socket:
                    delay = RECONNECT_FIRST
                    self.has_groups = True  # perhaps another runtime: ask it again
                    if connected_before:
                        yield EventEnvelope(seq=0, kind=RECONNECTED, payload={"kinds": sorted(kinds)})
                    connected_before = True
                    async for frame in socket:
                        yield decode(frame)
            except InvalidStatus as exc:
                status = exc.response.status_code
                if status in (401, 403):  # a wrong token stays wrong (contract 13 no. 5)
                    raise RuntimeUnavailable(
                        f"{self.server_url} refused the event stream with {status}: is the token right?"
                    ) from exc
                if not connected_before:
                    raise RuntimeUnavailable(
                        f"{self.server_url} answered {status} to the event stream"
                    ) from exc
            except ConnectionClosed:
                pass  # reconnect below
            except (OSError, InvalidHandshake, TimeoutError) as exc:
                if not connected_before:
                    raise RuntimeUnavailable(f"no event stream at {self.server_url}: {exc}") from exc
            log.info("event stream lost; reconnecting in %g s", delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, RECONNECT_LONGEST)

    async def runtime_info(self) -> RuntimeInfo:
        """GET /api/runtime."""
        return _model(await self._json("GET", "/api/runtime"), RuntimeInfo)

    async def worker_detail(self, capability: str, worker: str) -> dict[str, Any]:
        """GET the worker."""
        result: dict[str, Any] = await self._json("GET", _worker_path(capability, worker))
        return result

    async def restart_worker(self, capability: str, worker: str) -> dict[str, Any]:
        """POST its restart."""
        result: dict[str, Any] = await self._json("POST", f"{_worker_path(capability, worker)}/restart")
        return result

    async def reload(self) -> RuntimeInfo:
        """POST /api/reload."""
        return _model(await self._json("POST", "/api/reload"), RuntimeInfo)

    async def create_session(self, fields: dict[str, Any]) -> SessionInfo:
        """POST /api/sessions."""
        return _model(await self._json("POST", "/api/sessions", fields), SessionInfo)

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """GET the session."""
        response = await self._request("GET", f"/api/sessions/{quote(session_id, safe='')}")
        if response.status_code == 404:
            return None
        _raise_for_status(response)
        return _model(msgspec.json.decode(response.content), SessionInfo)

    async def list_sessions(self) -> list[SessionInfo]:
        """GET /api/sessions."""
        return [_model(session, SessionInfo) for session in await self._json("GET", "/api/sessions")]

    async def delete_session(self, session_id: str) -> None:
        """DELETE the session."""
        await self._json("DELETE", f"/api/sessions/{quote(session_id, safe='')}")

    async def open_group(self, fields: dict[str, Any]) -> str | None:
        """POST /api/session-groups; a runtime that answered 404 once is not asked again."""
        if not self.has_groups:
            return None
        try:
            response = await self._request("POST", "/api/session-groups", fields)
        except httpx.TransportError as exc:
            log.warning("session group %r was not opened: %s", fields["title"], exc)
            return None
        if response.status_code == 404:
            self.has_groups = False
            return None
        if response.is_error:
            log.warning("session group %r was refused with %d", fields["title"], response.status_code)
            return None
        group_id = response.json().get("id")
        return group_id if isinstance(group_id, str) else None

    async def close_group(self, group_id: str, status: str) -> None:
        """PATCH the group's status; a failure to do so is only told."""
        try:
            await self._json("PATCH", f"/api/session-groups/{quote(group_id, safe='')}", {"status": status})
        except httpx.HTTPError as exc:
            log.warning("session group was not closed: %s", exc)

    async def _json(self, method: str, path: str, body: object = None) -> Any:
        response = await self._request(method, path, body)
        _raise_for_status(response)
        return msgspec.json.decode(response.content)

    async def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        headers = self._headers() | ({"Content-Type": "application/json"} if content is not None else {})
        return await self._client().request(method, path, content=content, headers=headers)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            # trust_env off: a proxy must not see the token of a runtime on this machine.
            self._http = httpx.AsyncClient(
                base_url=self.server_url,
                transport=self._transport,
                timeout=None,  # noqa: S113  a turn takes as long as it takes
                trust_env=False,
            )
        return self._http

    def _headers(self) -> dict[str, str]:
        token = resolve_token(self._token)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _socket_url(self, kinds: Collection[str]) -> str:
        parts = urlsplit(self.server_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        query = urlencode([("kinds", kind) for kind in kinds])
        return f"{scheme}://{parts.netloc}/api/ws/events" + (f"?{query}" if query else "")


def _model(value: Any, model: type[M]) -> M:
    """Read a model; a null counts as missing, as the reference sends both for the same (contract 9)."""
    return msgspec.convert(_without_nulls(value), model)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _worker_path(capability: str, worker: str) -> str:
    return f"/api/workers/{quote(capability, safe='')}/{quote(worker, safe='')}"


def _stage(response: httpx.Response) -> str | None:
    try:
        stage = response.json().get("stage")
    except (ValueError, AttributeError):
        return None
    return stage if isinstance(stage, str) else None


def _raise_for_status(response: httpx.Response) -> None:
    """Raise with what the runtime said, not only with the number."""
    if not response.is_error:
        return
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    message = f"{response.status_code} from {response.request.method} {response.request.url.path}: {detail}"
    raise httpx.HTTPStatusError(message, request=response.request, response=response)
