"""The connection of a client that lives in the runtime's own process: calls, no wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dnworker.errors import ApiError, NotFound
from dnworker.events import EventEnvelope
from dnworker.models import RuntimeInfo, SessionInfo

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


class DirectConnection:
    """Calls the runtime's operations and turns its refusals into the errors of the HTTP transport."""

    has_groups = False  # they are kept by a platform, and there is none here

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def start(self) -> None:
        """The runtime is here."""

    async def close(self) -> None:
        """Nothing is held."""

    async def publish(self, kind: str, payload: dict[str, Any], session_id: str | None) -> dict[str, Any]:
        """Publish at once."""
        with _as_http():
            envelope = self._runtime.publish(kind, payload, session_id=session_id)
        return {"event_id": envelope.event_id, "seq": envelope.seq}

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Subscribe without a bound: within the process nothing is ever lost."""
        return self._runtime.bus.subscribe(kinds or None)

    async def runtime_info(self) -> RuntimeInfo:
        """Ask the runtime."""
        return self._runtime.info()

    async def worker_detail(self, capability: str, worker: str) -> dict[str, Any]:
        """Ask the runtime."""
        with _as_http():
            return self._runtime.worker_detail(capability, worker)

    async def restart_worker(self, capability: str, worker: str) -> dict[str, Any]:
        """Ask the runtime."""
        with _as_http():
            return await self._runtime.restart_worker(capability, worker)

    async def reload(self) -> RuntimeInfo:
        """Ask the runtime."""
        return await self._runtime.reload()

    async def create_session(self, fields: dict[str, Any]) -> SessionInfo:
        """Ask the session store."""
        with _as_http():
            return self._runtime.sessions.create(**fields)

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """Ask the session store."""
        try:
            return self._runtime.sessions.get(session_id)
        except NotFound:
            return None

    async def list_sessions(self) -> list[SessionInfo]:
        """Ask the session store."""
        return self._runtime.sessions.list()

    async def delete_session(self, session_id: str) -> None:
        """Ask the session store."""
        with _as_http():
            self._runtime.sessions.delete(session_id)

    async def open_group(self, fields: dict[str, Any]) -> str | None:
        """There are no groups here."""
        return None

    async def close_group(self, group_id: str, status: str) -> None:
        """Never called: no group is opened."""


@contextmanager
def _as_http() -> Iterator[None]:
    try:
        yield
    except ApiError as exc:
        import httpx

        request = httpx.Request("POST", "http://in-process/")
        response = httpx.Response(exc.status, json={"detail": exc.detail}, request=request)
        raise httpx.HTTPStatusError(str(exc), request=request, response=response) from exc
