"""`McpServers`: all MCP servers of a runtime; the engine has one, and lets it follow what is declared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import Conflict, NotFound

if TYPE_CHECKING:
    from dnworker.capability.mcp import McpServer
    from dnworker.mcp_client.home import Declaring
    from dnworker.mcp_client.server import ManagedServer
    from dnworker.mcp_client.tools import McpTool
    from dnworker.workers.services import Services

log = logging.getLogger("dnworker.mcp")

MOST_STARTS = 4
"""Hosts that start at a time: each needs a second of a core, and a capability may have fifty servers."""

Key = tuple[str, str]
"""The names of a capability and of a server."""


class McpServers:
    """Connects to what capabilities declare, and disconnects from what they declare no more.

    Args:
        services: what processes of servers run with.
        capabilities: gives those that are loaded.
        on_change: called when the state of a server has changed.
    """

    def __init__(
        self,
        services: Services,
        capabilities: Callable[[], Iterable[Declaring]],
        on_change: Callable[[], None],
    ) -> None:
        self._services = services
        self._capabilities = capabilities
        self._on_change = on_change
        self._servers: dict[Key, ManagedServer] = {}
        self._stopping: dict[Key, asyncio.Task[None]] = {}
        self._is_open = False
        self._starts = asyncio.Semaphore(MOST_STARTS)
        self._paused = 0

    def open(self) -> None:
        """Connect to what is declared, in the background, from now on."""
        self._is_open, self._starts = True, asyncio.Semaphore(MOST_STARTS)
        self.follow()

    async def close(self) -> None:
        """Disconnect from all, and end their processes."""
        self._is_open = False
        await self._stop_all(list(self._servers))

    def all(self) -> list[ManagedServer]:
        """Return the servers that are declared, also those whose gates are closed."""
        return list(self._servers.values())

    def tools(self) -> list[McpTool]:
        """Return the tools of all servers that are connected."""
        return [tool for server in self._servers.values() for tool in server.tools]

    # -- what is declared ------------------------------------------------------------------------------

    def follow(self) -> None:
        """Start and stop servers by what is declared now, and by the flags; returns at once."""
        if not self._is_open or self._paused:
            return
        wanted = {
            (home.name, name): (home, server)
            for home in self._capabilities()
            if home.failure is None
            for name, server in home.parts.mcp.items()
            if server.problem is None
        }
        for key, present in list(self._servers.items()):
            home, server = wanted.get(key, (None, None))
            if home is None or server != present.server or home.root != present.home.root:
                self._drop(key)
        for key, (home, server) in wanted.items():
            self._follow_one(key, home, server)

    def _follow_one(self, key: Key, home: Declaring, server: McpServer) -> None:
        managed = self._servers.get(key)
        if managed is None:
            from dnworker.mcp_client.server import ManagedServer  # only where a server is declared

            managed = self._servers[key] = ManagedServer(
                self._services, home, server, self._note_change, self._starts
            )
        managed.home = home
        home.mcp_states[server.name] = managed.state
        if managed.is_gated:
            if managed.state.status != "gated_off":
                self._keep_stop(key, managed.stop_soon())
        elif managed.state.status == "gated_off" or managed.is_new:
            managed.start(self._stopping.get(key))

    def _drop(self, key: Key) -> None:
        managed = self._servers.pop(key)
        managed.home.mcp_states.pop(key[1], None)
        self._keep_stop(key, managed.stop_soon())

    def _keep_stop(self, key: Key, task: asyncio.Task[None]) -> None:
        self._stopping[key] = task
        task.add_done_callback(
            lambda done: self._stopping.pop(key, None) if self._stopping.get(key) is done else None
        )

    async def _stop_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._drop(key)
        while self._stopping:
            await asyncio.wait([*self._stopping.values()])
            await asyncio.sleep(0)  # the callbacks of what has ended

    @asynccontextmanager
    async def stopped(self, capability: str | None = None) -> AsyncIterator[None]:
        """Disconnect from the servers of a capability, or from all, and connect again after the body."""
        self._paused += 1
        try:
            await self._stop_all([key for key in self._servers if capability in (None, key[0])])
            yield
        finally:
            self._paused -= 1
            self.follow()

    def _note_change(self, managed: ManagedServer) -> None:
        if self._servers.get((managed.server.capability, managed.server.name)) is not managed:
            return  # it was dropped: nobody shows it any more
        component = managed.server.component(dict(managed.home.flags), managed.state)
        if component.error or component.status == "needs_auth":
            why = (component.error or component.detail or "").partition("\n")[0]
            log.warning("MCP server %s: %s: %s", component.qualified_name, component.status, why)
        self._services.bus.publish(
            "component.state_changed",
            {
                "capability": component.capability,
                "name": component.name,
                "kind": "mcp_server",
                "status": component.status,
                "error": component.error,
                "detail": component.detail,
                "tool_count": component.tool_count,
            },
        )
        self._on_change()

    # -- what clients want -----------------------------------------------------------------------------

    def detail(self, capability: str, name: str) -> dict[str, Any]:
        """Return a server's detail (contract 6.3).

        Raises:
            NotFound: no capability declares it.
        """
        home, server = self._declared(capability, name)
        managed = self._servers.get((capability, name))
        return server.detail(dict(home.flags), None if managed is None else managed.shown())

    async def reconnect(self, capability: str, name: str) -> dict[str, Any]:
        """Connect to a server again and return its detail, whatever became of it.

        Raises:
            NotFound: no capability declares it.
            Conflict: its gate is closed.
        """
        self._declared(capability, name)
        self.follow()
        managed = self._servers.get((capability, name))
        if managed is not None and managed.is_gated:
            when = list(managed.server.when)
            message = f"MCP server {capability}:{name} is gated off; turn on one of: {', '.join(when)}"
            raise Conflict({"reason": "gated_off", "message": message, "when": when}, code="DN314")
        if managed is not None:
            await managed.reconnect()
        return self.detail(capability, name)

    async def reauthenticate(self, capability: str, name: str) -> dict[str, Any]:
        """Forget the tokens of a server, connect to it again, and return its detail.

        Raises:
            NotFound: no capability declares it, or it has no URL to sign in to.
            Conflict: its gate is closed.
        """
        _, server = self._declared(capability, name)
        if server.transport != "streamable-http":
            raise NotFound(
                f"MCP server {capability}:{name} is a command and signs in by itself; reconnect it instead",
                code="DN412",
            )
        from dnworker.mcp_client.tokens import forget_tokens  # only where somebody signs in again

        await asyncio.to_thread(forget_tokens, str(server.fields.get("url", "")))
        return await self.reconnect(capability, name)

    def _declared(self, capability: str, name: str) -> tuple[Declaring, McpServer]:
        home = next((one for one in self._capabilities() if one.name == capability), None)
        if home is None or name not in home.parts.mcp:
            raise NotFound(f"no MCP server {capability}:{name}", code="DN412")
        return home, home.parts.mcp[name]
