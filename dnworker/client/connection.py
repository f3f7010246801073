"""The seam between `RuntimeClient` and how it reaches its runtime: over HTTP, or in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any, Protocol

from dnworker.events import EventEnvelope
from dnworker.models import RuntimeInfo, SessionInfo


class Connection(Protocol):
    """The operations of a runtime.

    A refused operation raises `httpx.HTTPStatusError` on both transports, so that a handler that catches
    one works unchanged when its worker moves to another topology.
    """

    has_groups: bool
    """Whether session groups may exist; opening one is left out when not."""

    async def start(self) -> None:
        """Return when the runtime is ready; RuntimeUnavailable when it is not to be reached."""

    async def close(self) -> None:
        """Let go of sockets."""

    async def publish(self, kind: str, payload: dict[str, Any], session_id: str | None) -> dict[str, Any]:
        """Publish and return `{event_id, seq}`."""
        ...

    def events(self, kinds: Collection[str]) -> AsyncIterator[EventEnvelope]:
        """Iterate over live events of these kinds; over all when there are none."""
        ...

    async def runtime_info(self) -> RuntimeInfo:
        """Return what the runtime tells about itself."""
        ...

    async def worker_detail(self, capability: str, worker: str) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        ...

    async def restart_worker(self, capability: str, worker: str) -> dict[str, Any]:
        """Restart a worker that is not running; the detail plus `restarted`."""
        ...

    async def reload(self) -> RuntimeInfo:
        """Stop all workers, read everything again, start them."""
        ...

    async def create_session(self, fields: dict[str, Any]) -> SessionInfo:
        """Create a session, or return the live one of that id."""
        ...

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """Return a live session, or None."""
        ...

    async def list_sessions(self) -> list[SessionInfo]:
        """Return the live sessions."""
        ...

    async def delete_session(self, session_id: str) -> None:
        """End a session."""

    async def open_group(self, fields: dict[str, Any]) -> str | None:
        """Open a session group; None when the runtime has none."""
        ...

    async def close_group(self, group_id: str, status: str) -> None:
        """Note how the group ended."""
