"""`RuntimeClient`: what every handler receives to talk to its runtime (contract 8)."""

from __future__ import annotations

import contextvars
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from dnworker.events import EventEnvelope, check_kind, check_publishable, snapshot

if TYPE_CHECKING:
    import httpx

    from dnworker.client.connection import Connection
    from dnworker.models import RuntimeInfo, SessionInfo

log = logging.getLogger("dnworker.client")

Severity = Literal["info", "warning", "error", "success"]
Labels = Mapping[str, Sequence[str]]

_group: contextvars.ContextVar[str | None] = contextvars.ContextVar("dnworker_session_group", default=None)


class RuntimeClient:
    """A worker's channel to its runtime: publish, notify, subscribe, inspect, restart.

    The constructor makes a client over HTTP; `Runtime.client()` makes one for the same process.

    Args:
        server_url: where the runtime is; by default from `DREADNODE_RUNTIME_URL`, then `_HOST` and `_PORT`.
        auth_token: bearer token; by default from the environment, read anew for every request.
        transport: an httpx transport, for tests.
        default_notify_source: `source` of notifications that name none.
        default_session_labels: labels of sessions this client creates.
        default_session_origin: origin of those sessions.
        default_session_group_id: group of those sessions outside any `session_group`.
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        auth_token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        default_notify_source: str | None = None,
        default_session_labels: Labels | None = None,
        default_session_origin: str | None = None,
        default_session_group_id: str | None = None,
    ) -> None:
        from dnworker.client.http import HttpConnection

        connection = HttpConnection(server_url, auth_token=auth_token, transport=transport)
        self.server_url = connection.server_url
        self._set_up(
            connection,
            default_notify_source,
            _labels_from_environment() if default_session_labels is None else default_session_labels,
            default_session_origin or os.environ.get("DREADNODE_SESSION_ORIGIN"),
            default_session_group_id or os.environ.get("DREADNODE_SESSION_GROUP_ID"),
        )

    @classmethod
    def over(
        cls,
        connection: Connection,
        *,
        server_url: str = "",
        notify_source: str | None = None,
        labels: Labels | None = None,
        origin: str | None = None,
    ) -> Self:
        """Make a client over any connection."""
        client = cls.__new__(cls)
        client.server_url = server_url
        client._set_up(connection, notify_source, labels or {}, origin, None)
        return client

    def _set_up(
        self,
        connection: Connection,
        notify_source: str | None,
        labels: Labels,
        origin: str | None,
        group_id: str | None,
    ) -> None:
        self._connection = connection
        self._notify_source = notify_source
        self._labels = {name: list(values) for name, values in labels.items()}
        self._origin = origin
        self._group_id = group_id
        self._started = False

    @property
    def is_started(self) -> bool:
        """Whether the runtime has answered that it is ready."""
        return self._started

    @property
    def groups_sessions(self) -> bool:
        """Whether the runtime may keep session groups; one that answered that it has none does not."""
        return self._connection.has_groups

    async def start(self) -> None:
        """Wait until the runtime is ready; every other method does so by itself.

        Raises:
            RuntimeUnavailable: it is not to be reached, or says that it failed; names the URL and the cause.
        """
        if not self._started:
            await self._connection.start()
            self._started = True

    async def close(self) -> None:
        """Let go of the runtime; may be called again."""
        await self._connection.close()
        self._started = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- events ----------------------------------------------------------------------------------------

    async def publish(
        self, kind: str, payload: dict[str, Any] | None = None, *, session_id: str | None = None
    ) -> dict[str, Any]:
        """Publish an event and return its `event_id` and `seq`.

        Raises:
            ReservedKind: the kind starts with a prefix that belongs to the runtime.
            Invalid: the payload is not a JSON object; names the field.
            httpx.HTTPStatusError: the runtime refused it, as with a session that is not live.
        """
        check_publishable(kind)
        copy, _ = snapshot(payload)
        await self.start()
        return await self._connection.publish(kind, copy, session_id)

    async def notify(
        self,
        title: str,
        *,
        body: str | None = None,
        severity: Severity = "info",
        source: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]:
        """Show a notification to the operator; returns its `event_id` and `seq`."""
        payload = {
            "source": source if source is not None else self._notify_source or "",
            "title": title,
            "body": body,
            "severity": severity,
        }
        return await self.publish("notify", payload, session_id=session_id)

    async def subscribe(self, *kinds: str) -> AsyncIterator[EventEnvelope]:
        """Iterate over live events of these kinds, or of all when none is given.

        Over HTTP the stream reconnects by itself, and tells so with an event of kind
        `transport.reconnected`; what was missed in between is not replayed.
        """
        for kind in kinds:
            check_kind(kind)
        await self.start()
        events = self._connection.events(kinds)
        try:
            async for envelope in events:
                yield envelope
        finally:
            aclose = getattr(events, "aclose", None)
            if aclose is not None:
                await aclose()

    # -- the runtime and its workers -------------------------------------------------------------------

    async def fetch_runtime_info(self) -> RuntimeInfo:
        """Return the runtime's capabilities and how their components stand."""
        await self.start()
        return await self._connection.runtime_info()

    async def fetch_worker_detail(self, capability: str, worker_name: str) -> dict[str, Any]:
        """Return one worker's state, handlers and process.

        Raises:
            httpx.HTTPStatusError: 404, there is no such worker.
        """
        await self.start()
        return await self._connection.worker_detail(capability, worker_name)

    async def restart_worker(self, capability: str, worker_name: str) -> dict[str, Any]:
        """Start a worker again that stopped or failed; `restarted` is False when it was running.

        Raises:
            httpx.HTTPStatusError: 404 unknown, 409 its gate is closed.
        """
        await self.start()
        return await self._connection.restart_worker(capability, worker_name)

    async def reload_capabilities(self) -> RuntimeInfo:
        """Stop all workers, read all capabilities again, start them, and return the new state."""
        await self.start()
        return await self._connection.reload()

    # -- sessions --------------------------------------------------------------------------------------

    async def create_session(
        self,
        *,
        capability: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        session_id: str | None = None,
        group_id: str | None = None,
        project: str | None = None,
        labels: Labels | None = None,
        origin: str | None = None,
    ) -> SessionInfo:
        """Create a session, or return the live one of this id: one session per external entity is safe."""
        await self.start()
        merged = {**self._labels, **{name: list(values) for name, values in (labels or {}).items()}}
        fields = {
            "capability": capability,
            "agent": agent,
            "model": model,
            "session_id": session_id,
            "group_id": group_id or _group.get() or self._group_id,
            "project": project,
            "labels": merged or None,
            "origin": origin or self._origin,
        }
        return await self._connection.create_session({k: v for k, v in fields.items() if v is not None})

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """Return a live session, or None."""
        await self.start()
        return await self._connection.get_session(session_id)

    async def list_sessions(self) -> list[SessionInfo]:
        """Return the live sessions, the newest change first."""
        await self.start()
        return await self._connection.list_sessions()

    async def delete_session(self, session_id: str) -> None:
        """End a session.

        Raises:
            httpx.HTTPStatusError: 404, there is none.
        """
        await self.start()
        await self._connection.delete_session(session_id)

    @asynccontextmanager
    async def session_group(
        self,
        title: str,
        *,
        kind: str = "workflow",
        project: str | None = None,
        capability: str | None = None,
        capability_version: str | None = None,
        worker: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncIterator[str | None]:
        """Group the sessions created inside; yields the group's id, or None when the runtime has no groups.

        Never fails the body: a runtime that cannot group is a warning at most (contract 8.5).
        """
        fields = {
            "kind": kind,
            "title": title,
            "project": project,
            "capability": capability or os.environ.get("DREADNODE_CAPABILITY_LABEL"),
            "capability_version": capability_version or os.environ.get("DREADNODE_CAPABILITY_VERSION"),
            "worker": worker or os.environ.get("DREADNODE_WORKER_NAME"),
            "metadata": metadata or {},
        }
        group_id = await self._connection.open_group(fields)
        if group_id is None:
            yield None
            return
        token = _group.set(group_id)
        try:
            yield group_id
        except Exception:
            await self._connection.close_group(group_id, "failed")
            raise
        else:
            await self._connection.close_group(group_id, "completed")
        finally:
            _group.reset(token)


def _labels_from_environment() -> dict[str, list[str]]:
    names = {
        "worker": "DREADNODE_WORKER_NAME",
        "capability": "DREADNODE_CAPABILITY_LABEL",
        "capability_version": "DREADNODE_CAPABILITY_VERSION",
    }
    return {label: [os.environ[name]] for label, name in names.items() if os.environ.get(name)}
