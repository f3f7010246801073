"""`RuntimeClient`: what every handler receives to talk to its runtime (contract 8)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import msgspec

from dnworker.client.connection import in_path
from dnworker.client.once import Once
from dnworker.core.envelope import EventEnvelope, check_kind, check_publishable, own, snapshot
from dnworker.core.errors import (
    CommandError,
    RuntimeUnavailable,
    TurnCancelledError,
    TurnFailedError,
    UnknownAttribute,
)
from dnworker.core.keys import check_key
from dnworker.core.models import (
    LogPage,
    RuntimeInfo,
    SessionFacets,
    SessionInfo,
    SessionListResult,
    SkillInfo,
    ToolInfo,
)
from dnworker.core.text import closest, shorten

if TYPE_CHECKING:
    import ssl

    import httpx

    from dnworker.client.connection import Connection, TurnEvents

log = logging.getLogger("dnworker.client")

Severity = Literal["info", "warning", "error", "success"]
Decision = Literal["allow", "allow_session", "deny"]
Labels = Mapping[str, Sequence[str]]

LOG_TIMEOUT = 10.0

FENCE = "DNWORKER_FENCE"
"""Has the number of a node's turn with a worker, in the environment of the worker's process."""

M = TypeVar("M", bound=msgspec.Struct)

_STREAMED = frozenset({"turn.event", "prompt.required", "transport.heartbeat", "turn.cancelled"})

_group: contextvars.ContextVar[str | None] = contextvars.ContextVar("dnworker_session_group", default=None)


def unknown_attribute(name: str) -> UnknownAttribute:
    """Return the error of an attribute that a client does not have, with one that is near."""
    near = closest(name, [known for known in dir(RuntimeClient) if known[0] != "_"])
    way = f"; did you mean {near}?" if near is not None else ""
    if name in EventEnvelope.__struct_fields__:
        way = f"; an event has it: event.{name}"
    return UnknownAttribute(f"a client has no {shorten(name, 60)!r}{way}")


class RuntimeClient:
    """A worker's channel to its runtime: publish, notify, subscribe, talk to agents, inspect.

    Every handler gets one. A script makes one over HTTP; `Runtime.client()` makes one for the same process. A
    request that the runtime refuses raises `httpx.HTTPStatusError`, whose text has the reason, and a runtime
    that cannot be reached `RuntimeUnavailable`. Any thread may use it, by an event loop of its own.

    Args:
        server_url: where the runtime is, such as `https://workers.example.com:8787`, or `unix:` and the
            path of its socket; by default from `DREADNODE_RUNTIME_URL`, then `_HOST` and `_PORT`.
        auth_token: bearer token; by default from the environment, read anew for every request.
        transport: an httpx transport, for tests.
        tls: how certificates are checked; by default by the authorities of the file that `DNWORKER_CA` names,
            or those of the system.
        connection: the way to the runtime, instead of HTTP. The environment then says nothing of the client's
            sessions, and `server_url` is only what the client shows.
        default_notify_source: `source` of notifications that name none.
        default_session_labels: labels of sessions that this client creates, each a list of texts.
        default_session_origin: origin of those sessions, as text.
        default_session_group_id: group of those sessions outside any `session_group`.

    Raises:
        Invalid: a ValueError: what should be the address is none, such as `localhost:8787` without `http://`.

    Attributes:
        server_url: where the runtime is; empty for one in the same process without a server.

    Examples:
        >>> async with Runtime(port=0, token="secret") as other:
        ...     async with RuntimeClient(other.url, auth_token="secret") as client:
        ...         answer = await client.publish("demo.greeted", {"name": "Ada"})
        >>> sorted(answer)
        ['event_id', 'seq']
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        auth_token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: ssl.SSLContext | None = None,
        connection: Connection | None = None,
        default_notify_source: str | None = None,
        default_session_labels: Labels | None = None,
        default_session_origin: str | None = None,
        default_session_group_id: str | None = None,
    ) -> None:
        environ: Mapping[str, str] = {}
        if connection is None:
            from dnworker.client.http import HttpConnection

            connection = http = HttpConnection(
                server_url, auth_token=auth_token, transport=transport, tls=tls
            )
            server_url, environ = http.server_url, os.environ
        if default_session_labels is None:
            default_session_labels = _labels_from(environ)

        # The runtime.
        self.server_url = server_url or ""
        self._connection = connection
        self._started = False

        # What notifications and sessions get that say nothing else.
        self._notify_source = default_notify_source
        self._labels = {name: list(values) for name, values in default_session_labels.items()}
        self._origin = default_session_origin or environ.get("DREADNODE_SESSION_ORIGIN")
        self._group_id = default_session_group_id or environ.get("DREADNODE_SESSION_GROUP_ID")
        self._fence = _fence_from(environ)

    if not TYPE_CHECKING:  # a type checker would take any name then

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"'RuntimeClient' object has no attribute {name!r}", name=name, obj=self)
            raise unknown_attribute(name)

    @classmethod
    def over(
        cls,
        connection: Connection,
        *,
        server_url: str = "",
        notify_source: str | None = None,
        labels: Labels | None = None,
        origin: str | None = None,
        fence: int | None = None,
    ) -> Self:
        """Make a client over any connection, such as one of your own to a runtime elsewhere.

        Args:
            connection: the way to the runtime.
            server_url: what the client shows as its runtime's address.
            notify_source: `source` of notifications that name none.
            labels: labels of sessions that it creates.
            origin: origin of those sessions.
            fence: the number of this node's turn with the worker; see `fence`.

        Returns:
            The client.
        """
        client = cls(
            server_url,
            connection=connection,
            default_notify_source=notify_source,
            default_session_labels=labels,
            default_session_origin=origin,
        )
        client._fence = fence
        return client

    @property
    def fence(self) -> int | None:
        """The number of this node's turn with the worker; None where the runtime shares its broker with none.

        It rises with each node that takes the worker over, and stays the same from start to stop. What
        accepts writes of the worker can refuse those with a lower number than it has seen: they come from a
        node that was paused past its turn.
        """
        return self._fence

    @property
    def connection(self) -> Connection:
        """The way to the runtime, for requests that no method here makes."""
        return self._connection

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
            RuntimeUnavailable: it cannot be reached, or reports that it failed; names the URL and the cause.

        Examples:
            >>> await client.start()
            >>> client.is_started
            True
        """
        if not self._started:
            await self._connection.start()
            self._started = True

    async def close(self) -> None:
        """Close the connection; may be called again, and the client may be used again.

        Examples:
            >>> await client.close()
            >>> client.is_started
            False
        """
        await self._connection.close()
        self._started = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- events ----------------------------------------------------------------------------------------

    async def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        dedupe: str | None = None,
    ) -> dict[str, Any]:
        """Publish an event to every worker that listens to its kind; returns when it is accepted.

        Args:
            kind: the event's name, of at most 512 characters; use a prefix of your own, such as
                `demo.greeted`. The prefixes `turn.`, `prompt.`, `session.`, `transport.`, `capabilities.` and
                `component.` are the runtime's.
            payload: a JSON object as a dict, of at most 1,000,000 bytes of JSON; None for `{}`.
            session_id: of the session that it belongs to; None for none.
            dedupe: a key of 1 to 512 characters. For 24 hours the worker publishes no second event of it: the
                first one's `event_id` and `seq` come back then.

        Returns:
            A dict `{"event_id": text, "seq": int}`; with `dedupe` also `"duplicate"`, whether it was
            published before.

        Raises:
            ReservedKind: a ValueError: the kind starts with a prefix of the runtime.
            Invalid: a ValueError: the payload is not a JSON object, and the text names the field; or the key
                is empty or too long.
            TooLarge: a ValueError: the payload is over the limit.
            httpx.HTTPStatusError: the runtime refused it, as with a session that is not live.

        Examples:
            >>> first = await client.publish("demo.greeted", {"name": "Ada"}, dedupe="ada")
            >>> again = await client.publish("demo.greeted", {"name": "Ada"}, dedupe="ada")
            >>> again["duplicate"], again["seq"] == first["seq"]
            (True, True)
        """
        check_publishable(kind)
        if dedupe is not None:
            check_key(dedupe)
        if not getattr(self._connection, "copies_payloads", False):
            payload, _ = snapshot(payload)
        await self.start()
        return await self._connection.publish(kind, payload, session_id, dedupe)  # type: ignore[arg-type]

    def once(self, key: str) -> Once:
        """Run a body once for a key within 24 hours, however often its event is delivered.

        `first` is False where a body of the worker's same key has ended without an exception. While another
        handler is in one, this waits for it: only if that one raises or is killed, `first` is True here.

        Args:
            key: what is done, as text of 1 to 512 characters, such as `f"charge/{order}"`.

        Returns:
            An async context manager that gives `first`, a bool.

        Raises:
            Invalid: the key is empty or too long.
            UsageError: on entering, this is in the body of the same key already.
            httpx.HTTPStatusError: on leaving, it could not be kept that the body is done.

        Examples:
            >>> for _ in range(2):
            ...     async with client.once("charge/7") as first:
            ...         print("charge" if first else "done before")
            charge
            done before
        """
        return Once(self._connection, self.start, key)

    async def notify(
        self,
        title: str,
        *,
        body: str | None = None,
        severity: Severity = "info",
        source: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]:
        """Show a notification to the operator, in the panel and in the notebook; an event of kind `notify`.

        Args:
            title: one line.
            body: more text; None for none.
            severity: `info`, `warning`, `error` or `success`.
            source: who says so; by default the worker's capability, such as `capability.demo`.
            session_id: of the session that it is about; None for none.

        Returns:
            A dict `{"event_id": text, "seq": int}`.

        Raises:
            Invalid: a field is not what JSON has a form for.
            httpx.HTTPStatusError: the runtime refused it.

        Examples:
            >>> answer = await client.notify("the disk is full", severity="error", body="/var: 0 bytes free")
            >>> sorted(answer)
            ['event_id', 'seq']
        """
        payload = {
            "source": source if source is not None else self._notify_source or "",
            "title": title,
            "body": body,
            "severity": severity,
        }
        return await self.publish("notify", payload, session_id=session_id)

    async def subscribe(self, *kinds: str) -> AsyncIterator[EventEnvelope]:
        """Iterate over events as they are published, from the first step of the iteration on.

        Over HTTP the stream reconnects by itself and then yields an event of kind `transport.reconnected`;
        events that were missed in between are not replayed. For a handler a kind of its own is simpler: use
        `Worker.on_event`.

        Args:
            *kinds: the kinds to get; all when none is given.

        Yields:
            Each event as an `EventEnvelope`.

        Raises:
            Invalid: a kind is no text, or too long.

        Examples:
            >>> async def listen():
            ...     async for event in client.subscribe("demo.greeted"):
            ...         return event.payload
            >>> listening = asyncio.create_task(listen())
            >>> await turn_loop()
            >>> answer = await client.publish("demo.greeted", {"name": "Ada"})
            >>> await listening
            {'name': 'Ada'}
        """
        for kind in kinds:
            check_kind(kind)
        await self.start()
        events = self._connection.events(kinds)
        try:
            async for envelope in events:
                yield own(envelope)
        finally:
            aclose = getattr(events, "aclose", None)
            if aclose is not None:
                await aclose()

    # -- the runtime and its workers -------------------------------------------------------------------

    async def fetch_runtime_info(self) -> RuntimeInfo:
        """Return the runtime's capabilities and how their components stand.

        Returns:
            A `RuntimeInfo` with `version`, `runtime_id`, `working_dir` and `capabilities`, of which each has
            `name`, `version`, `flags` and `components` (its workers, skills, checks, ...).

        Examples:
            >>> capability = await runtime.load("demo")
            >>> info = await client.fetch_runtime_info()
            >>> [(part.kind, part.name, part.status) for part in info.capabilities[0].components]
            [('worker', 'relay', 'ok'), ('skill', 'greeting', 'ok')]
        """
        return _model(await self._call("GET", "/api/runtime"), RuntimeInfo)

    async def reload_capabilities(self, capability: str | None = None) -> RuntimeInfo:
        """Stop workers, read their capabilities from disk again, and start them.

        Args:
            capability: the only one to reload; None for all, including those that are new.

        Returns:
            The new state, as `fetch_runtime_info` returns it.

        Raises:
            httpx.HTTPStatusError: 404, there is no such capability.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> info = await client.reload_capabilities("demo")
            >>> info.capabilities[0].version
            '1.0.0'
        """
        query = {"capability": capability} if capability is not None else None
        return _model(await self._call("POST", "/api/reload", query=query), RuntimeInfo)

    async def fetch_worker_detail(self, capability: str, worker_name: str) -> dict[str, Any]:
        """Return one worker's state, handlers and process.

        Args:
            capability: the capability's name.
            worker_name: the worker's name.

        Returns:
            A dict with `name`, `qualified_name`, `capability`, `state`, `error`, `when` (flags), `kind`
            (`inprocess` or `subprocess`) and `handlers` (their counts, and the kinds of events).

        Raises:
            httpx.HTTPStatusError: 404, there is no such worker.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> detail = await client.fetch_worker_detail("demo", "relay")
            >>> detail["state"], detail["handlers"]["event_kinds"]
            ('running', ['demo.relayed'])
        """
        return await self._fields("GET", f"/api/workers/{in_path(capability, worker_name)}")

    async def restart_worker(
        self, capability: str, worker_name: str, *, force: bool = False
    ) -> dict[str, Any]:
        """Start a worker again that stopped or failed; one that runs is left alone unless `force` is set.

        Args:
            capability: the capability's name.
            worker_name: the worker's name.
            force: whether a running one is stopped and started, too.

        Returns:
            A dict as of `fetch_worker_detail`, and `restarted`, a bool.

        Raises:
            httpx.HTTPStatusError: 404 unknown, 409 its gate is closed.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> answer = await client.restart_worker("demo", "relay")
            >>> answer["restarted"]
            False
        """
        path = f"/api/workers/{in_path(capability, worker_name)}/restart"
        return await self._fields("POST", path, query={"force": True} if force else None)

    async def fetch_tools(self) -> list[ToolInfo]:
        """Return the tools that agents may call.

        Returns:
            A list of `ToolInfo`, each with `name`, `description` and `parameters_schema` (a JSON Schema).

        Examples:
            >>> def add(a: int, b: int) -> int:
            ...     '''Add two numbers.'''
            ...     return a + b
            >>> _ = runtime.tools.register(add)
            >>> [(tool.name, tool.description) for tool in await client.fetch_tools()]
            [('add', 'Add two numbers.')]
        """
        return [_model(tool, ToolInfo) for tool in (await self._call("GET", "/api/tools"))["tools"]]

    async def fetch_skills(self) -> list[SkillInfo]:
        """Return the skills of all capabilities.

        Returns:
            A list of `SkillInfo`, each with `name`, `description`, `capability` and `qualified_id`
            (`demo:greeting`).

        Examples:
            >>> capability = await runtime.load("demo")
            >>> [skill.qualified_id for skill in await client.fetch_skills()]
            ['demo:greeting']
        """
        return [_model(skill, SkillInfo) for skill in (await self._call("GET", "/api/skills"))["skills"]]

    async def fetch_skill_content(self, name: str) -> str:
        """Return the text of a skill as an agent gets it.

        Args:
            name: of the skill, or `capability:name` where several capabilities have one.

        Returns:
            The text, framed by a tag that names the skill and its directory.

        Raises:
            httpx.HTTPStatusError: 404, there is none, or there are several.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> "Say hello." in await client.fetch_skill_content("greeting")
            True
        """
        skill = await self._fields("GET", f"/api/skills/{in_path(name)}")
        return str(skill.get("rendered") or skill.get("instructions") or "")

    async def fetch_mcp_detail(self, capability: str, server_name: str) -> dict[str, Any]:
        """Return an MCP server's definition, state, tools, and the end of its log.

        Args:
            capability: the capability that declares it.
            server_name: the server's name.

        Returns:
            A dict as the HTTP API answers it.

        Raises:
            httpx.HTTPStatusError: 404, no capability declares it.
        """
        return await self._fields("GET", f"/api/mcp/{in_path(capability, server_name)}")

    async def reconnect_mcp_server(self, capability: str, server_name: str) -> dict[str, Any]:
        """Connect to an MCP server again; returns when that has succeeded or failed.

        Args:
            capability: the capability that declares it.
            server_name: the server's name.

        Returns:
            A dict as the HTTP API answers it; where somebody has to sign in, `detail` has the URL.

        Raises:
            httpx.HTTPStatusError: 404 unknown, 409 its gate is closed.
        """
        return await self._fields("POST", f"/api/mcp/{in_path(capability, server_name)}/reconnect")

    async def reauthenticate_mcp_server(self, capability: str, server_name: str) -> dict[str, Any]:
        """Forget the sign-in to an MCP server, and connect again.

        Args:
            capability: the capability that declares it.
            server_name: the server's name.

        Returns:
            A dict as the HTTP API answers it.

        Raises:
            httpx.HTTPStatusError: 404 unknown, or a command; 409 its gate is closed.
        """
        return await self._fields("POST", f"/api/mcp/{in_path(capability, server_name)}/reauthenticate")

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
        generate_params_extra: dict[str, Any] | None = None,
        policy: str | dict[str, Any] | None = None,
        labels: Labels | None = None,
        origin: str | None = None,
        project_memory_scope_kind: str | None = None,
        enable_project_memory_preload: bool | None = None,
        project_memory_preload_limit: int | None = None,
    ) -> SessionInfo:
        """Create a session, or return the live one of this id: one session per external entity is safe.

        A session keeps the messages between an agent and whoever talks to it; `run_turn` and `stream_chat`
        add turns.

        Args:
            capability: whose agent answers; None where `agent` is no capability's.
            agent: who answers; by default the capability's own, or `default`.
            model: the model of the agent; by default the agent's.
            session_id: any text of your own, such as the number of a ticket; minted when None.
            group_id: a group of sessions; by default that of `session_group` around this.
            project: of a platform.
            generate_params_extra: parameters that the model gets, such as `{"temperature": 0}`.
            policy: how much the agent may do without asking: `interactive`, `headless` or `guard`, or a dict
                with `name` and its parameters. By default `interactive`.
            labels: lists of texts by name; those of the worker are added.
            origin: where it comes from, as text; by default `worker`.
            project_memory_scope_kind: of a platform.
            enable_project_memory_preload: of a platform.
            project_memory_preload_limit: of a platform.

        Returns:
            A `SessionInfo` with `session_id`, `agent`, `model`, `title`, `message_count`, `policy_name` and
            `labels`.

        Raises:
            httpx.HTTPStatusError: 409, the live session has another agent, or capability, agent or policy are
                unknown.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> session.session_id, session.labels
            ('ticket-7', {'worker': ['bridge']})
        """
        merged = {**self._labels, **{name: list(values) for name, values in (labels or {}).items()}}
        fields = {
            "capability": capability,
            "agent": agent,
            "model": model,
            "session_id": session_id,
            "group_id": group_id or _group.get() or self._group_id,
            "project": project,
            "generate_params_extra": generate_params_extra,
            "policy": policy,
            "labels": merged or None,
            "origin": origin or self._origin,
            "project_memory_scope_kind": project_memory_scope_kind,
            "enable_project_memory_preload": enable_project_memory_preload,
            "project_memory_preload_limit": project_memory_preload_limit,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return _model(await self._call("POST", "/api/sessions", body=given), SessionInfo)

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """Return a live session, or None where there is none of this id.

        Args:
            session_id: the session.

        Returns:
            A `SessionInfo`, as of `create_session`, or None.

        Examples:
            >>> await client.get_session("nobody") is None
            True
        """
        import httpx

        try:
            return _model(await self._call("GET", _session_path(session_id)), SessionInfo)
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code == 404:
                return None
            raise

    async def list_sessions(self, *, include_platform: bool = False) -> list[SessionInfo]:
        """Return the live sessions, the newest change first.

        Args:
            include_platform: whether those of the platform come instead, the first hundred.

        Returns:
            A list of `SessionInfo`.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> [one.session_id for one in await client.list_sessions()]
            ['ticket-7']
        """
        if include_platform:
            return (await self.browse_sessions(page=1, limit=100)).sessions
        return [_model(session, SessionInfo) for session in await self._call("GET", "/api/sessions")]

    async def browse_sessions(
        self,
        *,
        page: int = 1,
        limit: int = 20,
        sort_by: str = "updated_at",
        sort_dir: str = "desc",
        archived: str = "active",
        label: Sequence[str] | None = None,
        user_id: str | None = None,
        project_id: Sequence[str] | None = None,
        origin: Sequence[str] | None = None,
        search: str | None = None,
        include_workload_sessions: bool = False,
    ) -> SessionListResult:
        """Return one page of the platform's sessions; a runtime without a platform has none.

        Args:
            page: its number, from 1.
            limit: sessions of a page.
            sort_by: the field, such as `updated_at`.
            sort_dir: `desc` or `asc`.
            archived: `active`, `archived` or `all`.
            label: only sessions with these labels, each `name:value`.
            user_id: only those of a user.
            project_id: only those of these projects.
            origin: only those of these origins.
            search: only those with this text.
            include_workload_sessions: whether those of workloads come, too.

        Returns:
            A `SessionListResult` with `sessions`, `total`, `page`, `total_pages` and `has_next`.

        Examples:
            >>> page = await client.browse_sessions(search="invoice")
            >>> page.total, page.has_next
            (0, False)
        """
        paging = {"page": page, "limit": limit, "sort_by": sort_by, "sort_dir": sort_dir}
        filters = _filters(archived, label, user_id, project_id, origin, search, include_workload_sessions)
        return _model(
            await self._call("GET", "/api/sessions/browse", query=paging | filters), SessionListResult
        )

    async def browse_session_facets(
        self,
        *,
        archived: str = "active",
        label: Sequence[str] | None = None,
        user_id: str | None = None,
        project_id: Sequence[str] | None = None,
        origin: Sequence[str] | None = None,
        search: str | None = None,
        include_workload_sessions: bool = False,
    ) -> SessionFacets:
        """Return how often each label is used among the platform's sessions that the filters let through.

        Args:
            archived: `active`, `archived` or `all`.
            label: only sessions with these labels, each `name:value`.
            user_id: only those of a user.
            project_id: only those of these projects.
            origin: only those of these origins.
            search: only those with this text.
            include_workload_sessions: whether those of workloads count, too.

        Returns:
            A `SessionFacets`, whose `labels` has a list of `{"value": text, "count": int}` for each name.

        Examples:
            >>> facets = await client.browse_session_facets()
            >>> facets.labels
            {}
        """
        filters = _filters(archived, label, user_id, project_id, origin, search, include_workload_sessions)
        return _model(await self._call("GET", "/api/sessions/facets", query=filters), SessionFacets)

    async def set_session_title(self, session_id: str, title: str) -> None:
        """Give a session a title, which lists of sessions show.

        Args:
            session_id: the session.
            title: one line.

        Raises:
            httpx.HTTPStatusError: 404, there is none.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> await client.set_session_title("ticket-7", "Where is my order?")
            >>> (await client.get_session("ticket-7")).title
            'Where is my order?'
        """
        await self._call("POST", f"{_session_path(session_id)}/title", body={"title": title})

    async def set_session_policy(
        self, session_id: str, policy: str | dict[str, Any] | None
    ) -> dict[str, Any]:
        """Set how much a session's agent may do without asking.

        Args:
            session_id: the session.
            policy: `interactive` (it may ask a person), `headless` (it may not), `guard` (every tool call
                needs permission), or a dict with `name` and its parameters; None for `interactive`.

        Returns:
            A dict that describes the policy as it is now.

        Raises:
            httpx.HTTPStatusError: 400 unknown policy, 404 there is no such session.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> policy = await client.set_session_policy("ticket-7", "headless")
            >>> (await client.get_session("ticket-7")).policy_name
            'headless'
        """
        return await self._fields("POST", f"{_session_path(session_id)}/policy", body={"policy": policy})

    async def fetch_session_messages(self, session_id: str) -> list[dict[str, Any]]:
        """Return the messages of a session, oldest first.

        Args:
            session_id: the session.

        Returns:
            A list of dicts, each with `role` (`user`, `assistant` or `tool`), `content`, `metadata`,
            `tool_call_id`, `tool_name` and `tool_args`.

        Raises:
            httpx.HTTPStatusError: 404, there is none.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> end = await client.run_turn(session_id="ticket-7", message="hello")
            >>> [(one["role"], one["content"]) for one in await client.fetch_session_messages("ticket-7")]
            [('user', 'hello'), ('assistant', 'You said: hello')]
        """
        messages: list[dict[str, Any]] = await self._call("GET", f"{_session_path(session_id)}/messages")
        return messages

    async def compact_session(self, session_id: str, *, guidance: str = "") -> dict[str, Any]:
        """Replace a session's messages by a summary that its agent's model writes.

        Args:
            session_id: the session.
            guidance: what the summary is to keep.

        Returns:
            A dict with `status`: `completed` with `messages_before` and `messages_after`, or `skipped` or
            `failed` with the `reason`.

        Raises:
            httpx.HTTPStatusError: 404, there is none.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> await client.compact_session("ticket-7")
            {'status': 'skipped', 'reason': 'insufficient_messages'}
        """
        return await self._fields("POST", f"{_session_path(session_id)}/compact", body={"guidance": guidance})

    async def fetch_rewind_candidates(self, session_id: str) -> list[dict[str, Any]]:
        """Return the messages of the user to which a session can go back.

        Args:
            session_id: the session.

        Returns:
            A list of dicts, each with `seq` (its place, from 0), `content` and `created_at` (ISO-8601).

        Raises:
            httpx.HTTPStatusError: 404, there is no such session.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> end = await client.run_turn(session_id="ticket-7", message="hello")
            >>> [one["content"] for one in await client.fetch_rewind_candidates("ticket-7")]
            ['hello']
        """
        answer = await self._fields("GET", f"{_session_path(session_id)}/rewind/candidates")
        return list(answer.get("candidates") or ())

    async def rewind_session(self, session_id: str, *, from_seq: int) -> dict[str, Any]:
        """Drop a message and all after it.

        Args:
            session_id: the session.
            from_seq: the place of the message, as `fetch_rewind_candidates` gives it.

        Returns:
            The dict `{"status": "ok"}`.

        Raises:
            httpx.HTTPStatusError: 404, there is no such session.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> end = await client.run_turn(session_id="ticket-7", message="hello")
            >>> await client.rewind_session("ticket-7", from_seq=0)
            {'status': 'ok'}
            >>> await client.fetch_session_messages("ticket-7")
            []
        """
        return await self._fields("POST", f"{_session_path(session_id)}/rewind", body={"from_seq": from_seq})

    async def delete_session(self, session_id: str) -> None:
        """Cancel a session's turns and delete the session.

        Args:
            session_id: the session.

        Raises:
            httpx.HTTPStatusError: 404, there is none.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> await client.delete_session("ticket-7")
            >>> await client.list_sessions()
            []
        """
        await self._call("DELETE", _session_path(session_id))

    async def archive_session(self, session_id: str, *, archived: bool = True) -> None:
        """Archive a session on the platform, or take it out of the archive.

        Args:
            session_id: the session.
            archived: False to take it out.

        Raises:
            httpx.HTTPStatusError: 404, there is no such session, or no platform.
        """
        await self._call("POST", f"{_session_path(session_id)}/{'archive' if archived else 'unarchive'}")

    async def freeze_session(self, session_id: str) -> None:
        """Freeze a session on the platform, so that it takes no more turns.

        Args:
            session_id: the session.

        Raises:
            httpx.HTTPStatusError: 404, there is no such session, or no platform.
        """
        await self._call("POST", f"{_session_path(session_id)}/freeze")

    # -- turns -----------------------------------------------------------------------------------------

    async def stream_chat(
        self,
        *,
        session_id: str,
        message: str,
        model: str | None = None,
        agent: str | None = None,
        reset: bool = False,
        generate_params_extra: dict[str, Any] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Start a turn and iterate over what its agent does, until the turn ends, however it ends.

        A turn belongs to the runtime: it goes on when the iterator is dropped. To learn how it ended use
        `run_turn`.

        Args:
            session_id: the session; it is made where there is none.
            message: what the user says.
            model: of this turn; by default the session's.
            agent: who answers this turn; by default the session's.
            reset: whether the messages before are forgotten.
            generate_params_extra: parameters that the model gets for this turn.

        Yields:
            Dicts with `type`, `timestamp` (ISO-8601), `agent_id`, `agent_name`, `status` and `data`. The
            types of a plain answer are `agentstart`, `generationstart`, `generationcontent` (a piece of the
            answer: `data["content"]`), `generationend`, `generationstep` and `agentend`; those of a tool call
            are `toolstart`, `toolend` and `toolstep`. `userinputrequired` has a question, and `error` and
            `cancelled` end a turn. The reference page of turns has the `data` of each.

        Raises:
            CommandError: the runtime refused the turn.
            TurnFailedError: its end was missed while the runtime was away.

        Examples:
            >>> async for raw in client.stream_chat(session_id="ticket-7", agent="echo", message="hello"):
            ...     if raw["type"] == "generationcontent":
            ...         print(raw["data"]["content"])
            You said: hello
        """
        events = await self._start_turn(session_id, message, model, agent, reset, generate_params_extra)
        try:
            async for envelope in events:
                raw = envelope.payload.get("raw_event")
                if envelope.kind in _STREAMED and isinstance(raw, dict):
                    yield raw
        finally:
            events.close()

    async def run_turn(
        self,
        *,
        session_id: str,
        message: str,
        model: str | None = None,
        agent: str | None = None,
        reset: bool = False,
        generate_params_extra: dict[str, Any] | None = None,
        retry: int = 0,
    ) -> dict[str, Any]:
        """Start a turn and wait for its end.

        Args:
            session_id: the session; it is made where there is none.
            message: what the user says.
            model: of this turn; by default the session's.
            agent: who answers this turn; by default the session's.
            reset: whether the messages before are forgotten.
            generate_params_extra: parameters that the model gets for this turn.
            retry: how often the same turn is started again where the runtime's own end cut it off, as
                `TurnFailedError.retryable` says, or where it accepts no turn for now (503). Tools of a turn
                that was cut off may have run. Whatever else fails is raised at once.

        Returns:
            The payload of `turn.completed`: a dict with `turn_id`, `response_text`, `tool_calls`, `usage`
            (tokens), `duration_ms` (milliseconds), `agent` and `message_count`.

        Raises:
            CommandError: the runtime refused the turn.
            TurnFailedError: it ended in `turn.failed`.
            TurnCancelledError: it ended in `turn.cancelled`.

        Examples:
            >>> end = await client.run_turn(session_id="ticket-7", agent="echo", message="hello")
            >>> end["response_text"]
            'You said: hello'
        """
        from dnworker.client.again import again_of, may_start_again  # few workers run turns

        policy = again_of(retry)
        attempt = 1
        while True:
            try:
                return await self._run_turn(session_id, message, model, agent, reset, generate_params_extra)
            except (TurnFailedError, CommandError) as exc:
                if policy is None or attempt > policy.times or not may_start_again(exc):
                    raise
                log.info("turn of session %s is started again, attempt %d: %s", session_id, attempt + 1, exc)
            await asyncio.sleep(policy.delay(attempt))
            attempt += 1

    async def _run_turn(
        self,
        session_id: str,
        message: str,
        model: str | None,
        agent: str | None,
        reset: bool,
        extra: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Start a turn once, and return the payload of its end."""
        events = await self._start_turn(session_id, message, model, agent, reset, extra)
        try:
            async for envelope in events:
                if envelope.kind == "turn.completed":
                    return envelope.payload
                if envelope.kind == "turn.failed":
                    raise _failed(envelope)
                if envelope.kind == "turn.cancelled":
                    raise _cancelled(envelope.payload)
        finally:
            events.close()
        raise TurnFailedError("TurnLost", "the turn's events ended without its end", turn_id=events.turn_id)

    async def _start_turn(
        self,
        session_id: str,
        message: str,
        model: str | None,
        agent: str | None,
        reset: bool,
        extra: dict[str, Any] | None,
    ) -> TurnEvents:
        fields: dict[str, Any] = {"message": message, "reset": reset}
        given = {"model": model, "agent": agent, "generate_params_extra": extra}
        await self.start()
        return await self._connection.start_turn(
            session_id, fields | {name: value for name, value in given.items() if value}
        )

    async def cancel_session(self, session_id: str) -> None:
        """Cancel a session's active turn; its waiting turns still run.

        Args:
            session_id: the session.

        Raises:
            CommandError: there is no such session.

        Examples:
            >>> session = await client.create_session(agent="echo", session_id="ticket-7")
            >>> await client.cancel_session("ticket-7")
        """
        await self.start()
        await self._connection.cancel_turn(session_id, {})

    async def subscribe_session(self, session_id: str) -> None:
        """Receive a session's events by this client's connection; the session is made where there is none.

        `run_turn` and `stream_chat` do so by themselves.

        Args:
            session_id: the session.

        Examples:
            >>> await client.subscribe_session("ticket-7")
        """
        await self.start()
        await self._connection.watch(session_id)

    async def unsubscribe_session(self, session_id: str) -> None:
        """Receive a session's events no longer.

        Args:
            session_id: the session.

        Examples:
            >>> await client.subscribe_session("ticket-7")
            >>> await client.unsubscribe_session("ticket-7")
        """
        await self.start()
        await self._connection.unwatch(session_id)

    async def send_permission_response(self, session_id: str, request_id: str, decision: Decision) -> None:
        """Allow or deny the tool call that a turn waits for, after an event of kind `prompt.required`.

        Args:
            session_id: whose turn waits.
            request_id: of the question, as `raw_event["data"]` of that event has it.
            decision: `allow`, `allow_session` (this tool, for the rest of the session) or `deny`.

        Raises:
            CommandError: there is no such session, or the decision is none.

        Examples:
            >>> async def reply(turn):
            ...     yield await turn.call_tool("look_up", {"order": 7}, result="it is on its way")
            >>> runtime.agents.register("support", reply)
            >>> session = await client.create_session(agent="support", session_id="s", policy="guard")
            >>> async for raw in client.stream_chat(session_id="s", message="Where is order 7?"):
            ...     if raw["type"] == "permissionrequired":
            ...         await client.send_permission_response("s", raw["data"]["request_id"], "allow")
            ...     if raw["type"] == "generationcontent":
            ...         print(raw["data"]["content"])
            it is on its way
        """
        await self.start()
        await self._connection.respond(session_id, {"request_id": request_id, "decision": decision})

    async def send_human_input_response(self, session_id: str, response: Any) -> None:
        """Answer a turn's question, after an event of kind `prompt.required`.

        Args:
            session_id: whose turn asks.
            response: a mapping or an object with `request_id`, `action` (`submit` or `cancel`) and `answers`,
                a list with a dict for each question: `{"text": ...}`, or `{"selected_labels": [...]}` for a
                choice.

        Raises:
            CommandError: there is no such session or question, or the response has the wrong shape.

        Examples:
            >>> async def reply(turn):
            ...     yield f"You live in {await turn.ask('Where do you live?')}"
            >>> runtime.agents.register("curious", reply)
            >>> async for raw in client.stream_chat(session_id="s", agent="curious", message="Hello"):
            ...     if raw["type"] == "userinputrequired":
            ...         answer = {"request_id": raw["data"]["request_id"], "action": "submit"}
            ...         await client.send_human_input_response("s", answer | {"answers": [{"text": "Oslo"}]})
            ...     if raw["type"] == "generationcontent":
            ...         print(raw["data"]["content"])
            You live in Oslo
        """
        await self.start()
        await self._connection.respond(session_id, _answer_fields(response))

    # -- files, shell, log -----------------------------------------------------------------------------

    async def list_files(self, path: str | None = None, depth: int = 10) -> list[dict[str, Any]]:
        """Return the entries below a directory of the runtime's machine, depth first.

        Args:
            path: the directory; by default the runtime's working directory.
            depth: how many levels down, from 0 (the directory's own entries) to 100.

        Returns:
            A list of dicts, each with `name`, `path` (relative to the directory), `isDir` and `size` (bytes;
            None for a directory).

        Examples:
            >>> [entry["path"] for entry in await client.list_files("demo", depth=0)]
            ['capability.yaml', 'skills', 'workers']
        """
        query: dict[str, Any] = {"depth": depth} | ({"path": path} if path is not None else {})
        return list((await self._call("GET", "/api/files", query=query))["entries"])

    async def read_file(self, path: str) -> str:
        """Return the text of a file of the runtime's machine.

        Args:
            path: the file, relative to the runtime's working directory.

        Returns:
            Its text.

        Raises:
            httpx.HTTPStatusError: 404, there is none.

        Examples:
            >>> (await client.read_file("demo/capability.yaml")).splitlines()[1]
            'name: demo'
        """
        return str((await self._call("GET", "/api/files/read", query={"path": path}))["content"])

    async def execute_shell(
        self, command: str, *, cwd: str | None = None, timeout: float = 30
    ) -> dict[str, Any]:
        r"""Run a command by the shell of the runtime's machine, and wait for its end.

        Args:
            command: one line, as for `sh -c`.
            cwd: the directory; by default the runtime's working directory.
            timeout: seconds after which the command is ended.

        Returns:
            A dict with `stdout`, `stderr`, `exitCode` and `command`.

        Raises:
            httpx.HTTPStatusError: 400 empty, 408 it took longer than `timeout`, 500 it could not be started.

        Examples:
            >>> answer = await client.execute_shell("echo hello")
            >>> answer["stdout"], answer["exitCode"]
            ('hello\n', 0)
        """
        query = {"command": command, "timeout": timeout} | ({"cwd": cwd} if cwd is not None else {})
        return await self._fields("POST", "/api/shell", query=query)

    async def query_logs(
        self,
        *,
        after: int | None = None,
        instance_id: str | None = None,
        limit: int = 100,
        level: str = "debug",
        text: str = "",
    ) -> LogPage:
        """Return a page of the runtime's log; works before the runtime is ready.

        Args:
            after: the cursor: records after this `sequence`; None for the newest.
            instance_id: of the runtime whose log the cursor is of, from the last page.
            limit: records of a page.
            level: the lowest level: `debug`, `info`, `warning` or `error`.
            text: only records with this text.

        Returns:
            A `LogPage` with `entries` (oldest first; each has `sequence`, `timestamp`, `level`, `source` and
            `message`), `next_cursor`, `instance_id`, `reset` and `gap`.

        Raises:
            httpx.HTTPStatusError: 422, an argument is out of range.

        Examples:
            >>> page = await client.query_logs(level="error")
            >>> page.entries
            []
        """
        query = {"limit": limit, "level": level, "text": text, "after": after, "instance_id": instance_id}
        given = {name: value for name, value in query.items() if value is not None}
        answer = await self._connection.request("GET", "/api/logs", query=given, timeout=LOG_TIMEOUT)
        return _model(answer, LogPage)

    # -- groups ----------------------------------------------------------------------------------------

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
        """Group the sessions that are created inside; the body runs whether or not the runtime can group.

        Args:
            title: of the group.
            kind: of the group.
            project: of a platform.
            capability: by default the worker's, from its environment.
            capability_version: by default the worker's, from its environment.
            worker: by default the worker's name, from its environment.
            metadata: a JSON object that is kept with the group.

        Yields:
            The group's id, or None when the runtime has no groups; those without a platform have none.

        Examples:
            >>> async with client.session_group("nightly triage") as group_id:
            ...     session = await client.create_session(agent="echo")
            >>> group_id is None
            True
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
        group_id = await self._open_group(fields)
        if group_id is None:
            yield None
            return
        token = _group.set(group_id)
        try:
            yield group_id
        except Exception:
            await self._close_group(group_id, "failed")
            raise
        else:
            await self._close_group(group_id, "completed")
        finally:
            _group.reset(token)

    def workflow(self, title: str, **fields: Any) -> AbstractAsyncContextManager[str | None]:
        """Do the same as `session_group`; deprecated, its old name.

        Args:
            title: of the group.
            **fields: as of `session_group`.

        Returns:
            What `session_group` returns.
        """
        warnings.warn("workflow() is now called session_group()", DeprecationWarning, stacklevel=2)
        return self.session_group(title, **fields)

    async def _open_group(self, fields: dict[str, Any]) -> str | None:
        if not self._connection.has_groups:
            return None
        import httpx

        try:
            answer = await self._call("POST", "/api/session-groups", body=fields)
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code == 404:
                self._connection.has_groups = False  # no group is requested again
            else:
                log.warning("session group %r was refused: %s", fields["title"], exc)
            return None
        except (httpx.TransportError, RuntimeUnavailable) as exc:
            log.warning("session group %r was not opened: %s", fields["title"], exc)
            return None
        group_id = answer.get("id")
        return group_id if isinstance(group_id, str) else None

    async def _close_group(self, group_id: str, status: str) -> None:
        import httpx

        try:
            await self._call("PATCH", f"/api/session-groups/{in_path(group_id)}", body={"status": status})
        except (httpx.HTTPError, RuntimeUnavailable) as exc:
            log.warning("session group was not closed: %s", exc)

    async def _call(self, method: str, path: str, *, query: Any = None, body: object = None) -> Any:
        await self.start()
        return await self._connection.request(method, path, query=query, body=body)

    async def _fields(
        self, method: str, path: str, *, query: Any = None, body: object = None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._call(method, path, query=query, body=body)
        return answer


def _model(value: Any, model: type[M]) -> M:
    """Read a model; a null counts as missing, as the reference sends both for the same (contract 9)."""
    return msgspec.convert(_without_nulls(value), model)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _session_path(session_id: str) -> str:
    return f"/api/sessions/{in_path(session_id)}"


def _filters(
    archived: str,
    label: Sequence[str] | None,
    user_id: str | None,
    project_id: Sequence[str] | None,
    origin: Sequence[str] | None,
    search: str | None,
    include_workload_sessions: bool,
) -> dict[str, Any]:
    given = {
        "archived": archived,
        "label": label,
        "user_id": user_id,
        "project_id": project_id,
        "origin": origin,
        "search": search,
        "include_workload_sessions": include_workload_sessions or None,
    }
    return {name: value for name, value in given.items() if value}


def _failed(envelope: EventEnvelope) -> TurnFailedError:
    payload = envelope.payload
    error = payload.get("error")
    fault = error if isinstance(error, dict) else {}
    return TurnFailedError(
        fault.get("type") or "RuntimeError",
        fault.get("message") or "turn failed",
        partial_response=payload.get("partial_response"),
        tool_calls_attempted=payload.get("tool_calls_attempted"),
        turn_id=payload.get("turn_id") or envelope.turn_id,
        retryable=payload.get("retryable") is True,
    )


def _cancelled(payload: dict[str, Any]) -> TurnCancelledError:
    return TurnCancelledError(
        payload.get("reason") or "cancelled",
        partial_response=payload.get("partial_response"),
        turn_id=payload.get("turn_id"),
    )


def _answer_fields(response: Any) -> dict[str, Any]:
    """Return a response as its fields, whether it is a mapping, a struct or another object with them."""
    if isinstance(response, Mapping):
        return dict(response)
    names = ("request_id", "action", "answers")
    fields = {name: getattr(response, name, None) for name in names}
    plain: dict[str, Any] = msgspec.to_builtins(fields)
    return {name: value for name, value in plain.items() if value is not None}


def _fence_from(environ: Mapping[str, str]) -> int | None:
    text = environ.get(FENCE, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _labels_from(environ: Mapping[str, str]) -> dict[str, list[str]]:
    names = {
        "worker": "DREADNODE_WORKER_NAME",
        "capability": "DREADNODE_CAPABILITY_LABEL",
        "capability_version": "DREADNODE_CAPABILITY_VERSION",
    }
    return {label: [environ[name]] for label, name in names.items() if environ.get(name)}
