"""`ManagedServer`: an MCP server of a capability as long as it is declared: connects, and connects again."""

from __future__ import annotations

import asyncio
import contextvars
import os
import re
from collections.abc import Callable, Coroutine
from typing import Any

from dnworker.capability.flags import gate_is_open
from dnworker.capability.mcp import CHECK, SIGN_IN, McpServer, McpState
from dnworker.core.text import clip, valid_text
from dnworker.mcp_client.connection import Connection
from dnworker.mcp_client.frames import ToolDescription
from dnworker.mcp_client.home import Home
from dnworker.mcp_client.process import HostProcess, recent
from dnworker.mcp_client.settings import CannotConnect, Settings, settings_of
from dnworker.mcp_client.tools import MCPServerError, McpTool, NotDone, tools_of
from dnworker.workers.log_file import LogFile
from dnworker.workers.services import Services
from dnworker.workers.tasks import keep

DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each attempt to connect again to a server that was connected."""

SETTLED_SECONDS = 60.0
"""Seconds of a connection after which the attempts are counted anew."""

WAIT_SECONDS = 20.0
"""Seconds that a call waits for a server that is connected again."""

_SIGN_IN = re.compile(
    r"unauthorized|forbidden|\b40[13]\b|oauth|please authorize|authorize this client|authentication required"
    r"|waiting for authentication|wait-for-auth",
    re.I,
)
"""By what the reference knows that a command wants a sign-in."""

SHOWN_LINES = 10
LONGEST_ERROR = 4000
LONGEST_LINE = 2000


class ManagedServer:
    """One server: its state, its tools, and the connection that it has now.

    Args:
        services: what its process runs with, and where its changes are told.
        home: the capability that declares it.
        server: the declaration.
        on_change: called with it whenever its state has changed.
        starts: bounds how many hosts start at a time.
    """

    def __init__(
        self,
        services: Services,
        home: Home,
        server: McpServer,
        on_change: Callable[[ManagedServer], None],
        starts: asyncio.Semaphore,
    ) -> None:
        self.server = server
        self.state = McpState()
        self.tools: list[McpTool] = []
        """What agents are offered; kept while it is connected again."""
        self._described: list[ToolDescription] = []
        self.home = home
        self.is_new = True
        """Whether nobody has started it yet."""
        self._services = services
        self._on_change = on_change
        self._starts = starts
        self._settings: Settings | None = None
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Set while it is connected, or will not be without being asked."""
        self._attempts = 0
        self._connected_at = 0.0
        self._lines = recent()
        self._file: LogFile | None = None
        self._lock = asyncio.Lock()
        self._reconnects = asyncio.Lock()
        self._told = 0
        """How often it was told to start or to stop: the last word counts."""

    @property
    def is_gated(self) -> bool:
        """Whether none of its flags is on."""
        return not gate_is_open(self.server.when, self.home.flags)

    @property
    def pid(self) -> int | None:
        """The process of its host; None where there is none."""
        return None if self._connection is None else self._connection.pid

    # -- what it is told -------------------------------------------------------------------------------

    def start(self, after: asyncio.Task[None] | None = None) -> None:
        """Connect in the background, once a task has ended; returns at once."""
        self._attempts, self.is_new = 0, False
        self._told += 1
        self._begin(is_interactive=False, after=after)

    def stop_soon(self) -> asyncio.Task[None]:
        """Disconnect and end all its processes in the background; its tools are gone at once.

        Returns what ends when that is done; a start after this must wait for it.
        """
        self._told += 1
        return self._stop_soon()

    def _stop_soon(self) -> asyncio.Task[None]:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        self.tools = []
        self._settled.set()
        detail = f"Requires flag: {', '.join(self.server.when)}" if self.is_gated else None
        self._to("gated_off" if self.is_gated else "stopped", None, detail)
        return self._keep(self._stop(connecting), "stops")

    async def reconnect(self) -> None:
        """Disconnect and connect again, as somebody asks for it; returns when that has succeeded or failed.

        Where somebody has to sign in, it returns as soon as the URL is known, and goes on to wait for that.
        It stays stopped where a flag or a reload has stopped it meanwhile, also while others reconnected it.
        """
        told = self._told
        async with self._reconnects:
            if self._told == told:
                await asyncio.shield(self._stop_soon())
            if self._told == told:
                self._attempts = 0
                self._begin(is_interactive=True)
            await self._settled.wait()

    async def _stop(self, connecting: asyncio.Task[None] | None) -> None:
        if connecting is not None:
            await asyncio.wait({connecting})
        async with self._lock:
            await self._disconnect()
        if self._file is not None:
            self._file.end()

    async def wait(self) -> None:
        """Return when it is connected, or has failed to be."""
        await self._settled.wait()

    # -- the connection --------------------------------------------------------------------------------

    def _begin(
        self, *, is_interactive: bool, after: asyncio.Task[None] | None = None, delay: float = 0.0
    ) -> None:
        self._settled.clear()
        if not delay:
            self._to("connecting")
        connect = self._connect(is_interactive=is_interactive, after=after, delay=delay)
        self._connecting = self._keep(connect, "connects")

    async def _connect(self, *, is_interactive: bool, after: asyncio.Task[None] | None, delay: float) -> None:
        try:
            if after is not None:
                await asyncio.wait({after})
            await asyncio.sleep(delay)
            async with self._lock:
                await self._disconnect()
                described = await self._open(is_interactive=is_interactive)
        except CannotConnect as exc:
            await self._fail(exc)
        except Exception as exc:  # a bug of ours, or a machine without descriptors: shown like any failure
            await self._fail(CannotConnect(f"it could not be connected: {type(exc).__name__}: {exc}"))
        else:
            self._connected_at = asyncio.get_running_loop().time()
            self._take_tools(described)
            self._connecting = None
            self._to("ok", detail=self.state.detail)
            self._settled.set()

    async def _open(self, *, is_interactive: bool) -> list[ToolDescription]:
        """Open a connection.

        Raises:
            CannotConnect: it cannot be opened.
        """
        capability, name = self.home.name, self.server.name
        self._lines.clear()
        if self._file is None:
            self._file = self._services.log_files.of(capability, name, "mcp")
        self._file.begin()
        self._settings = settings_of(
            self.server, self.home.manifest, self.home.flags, os.environ, is_interactive=is_interactive
        )
        label = self.server.qualified_name
        process = HostProcess(label, self._services.guard, self._services.cgroups, self._take_line)
        connection = self._connection = Connection(
            self._settings,
            process,
            starts=self._starts,
            on_tools=self._note_tools,
            on_sign_in=self._note_sign_in,
            on_end=lambda why: self._lost(connection, why),
        )
        return await connection.open()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _fail(self, exc: CannotConnect) -> None:
        async with self._lock:
            await self._disconnect()
        self._connecting = None
        if 0 < self._attempts < len(DELAYS) and not exc.needs_auth and self._try_again(str(exc)):
            return
        self.tools = []
        if exc.needs_auth or self._says_sign_in(str(exc)):
            self._to("needs_auth", self._error(str(exc)), SIGN_IN)
        else:
            self._to(self._failed_status, self._error(str(exc)), CHECK)
        self._settled.set()

    def _says_sign_in(self, text: str) -> bool:
        """Return whether an error or the log speaks of a sign-in, as of commands such as `mcp-remote`."""
        said = "\n".join([text, *self._lines])
        return self.server.transport == "stdio" and _SIGN_IN.search(said) is not None

    @property
    def _failed_status(self) -> str:
        return "enabled_failed" if self.server.when else "error"

    def _lost(self, connection: Connection, why: str) -> None:
        """Note that the server is gone, and connect again after a while."""
        if connection is not self._connection:
            return
        if asyncio.get_running_loop().time() - self._connected_at >= SETTLED_SECONDS:
            self._attempts = 0
        if not self._try_again(why):
            self._settled.clear()
            self._connecting = self._keep(self._fail(CannotConnect(why)), "is given up")

    def _try_again(self, why: str) -> bool:
        """Connect again after a while; returns whether there is an attempt left."""
        if self._attempts >= len(DELAYS):
            return False
        delay = DELAYS[self._attempts]
        self._attempts += 1
        number = f"{self._attempts} of {len(DELAYS)}"
        self._to(self._failed_status, self._error(why), f"Connects again in {delay:g} s (attempt {number})")
        self._begin(is_interactive=False, delay=delay)
        return True

    def _keep(self, coro: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run a task in an empty context: what it does later is not done by the handler that may run now."""
        return keep(coro, f"mcp server {self.server.qualified_name} {what}", contextvars.Context())

    # -- what comes from it ----------------------------------------------------------------------------

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Call a tool by its own name; waits a little for a server that is connected again.

        Raises:
            MCPToolError: the tool answered with an error.
            MCPServerError: the server is not there, or did not answer; names it.
        """
        name = self.server.qualified_name
        try:
            try:
                return await (await self._connected()).call(tool, arguments)
            except NotDone:
                return await (await self._connected()).call(tool, arguments)
        except MCPServerError as exc:
            raise MCPServerError(f"MCP server {name}: {exc}") from None

    async def _connected(self) -> Connection:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._settled.wait()
        except TimeoutError:
            raise MCPServerError(f"it is not connected: {self._why_not}") from None
        if self._connection is None:
            raise MCPServerError(f"it is not connected: {self._why_not}")
        return self._connection

    @property
    def _why_not(self) -> str:
        return (self.state.error or self.state.status).partition("\n")[0]

    def _note_tools(self, described: list[ToolDescription]) -> None:
        if described == self._described:
            return
        self._take_tools(described)
        self._to("ok", detail=self.state.detail)

    def _take_tools(self, described: list[ToolDescription]) -> None:
        self._described = described
        self.tools, refused = tools_of(self.home.name, self.server.name, described, self.call)
        self.state.tools = [
            {"name": tool.bare_name, "description": tool.description, "input_schema": tool.schema}
            for tool in self.tools
        ]
        self.state.detail = None
        if refused:
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            self.state.detail = f"{len(refused)} tools are not offered: {'; '.join(refused[:3])}{more}"

    def _note_sign_in(self, url: str) -> None:
        self._to("needs_auth", None, f"Sign in at {url}")
        self._settled.set()

    def _take_line(self, text: str) -> None:
        text = clip(text if self._settings is None else self._settings.masked(text), LONGEST_LINE)
        self._lines.append(text)
        if self._file is not None:
            self._file.write(text.encode(errors="replace") + b"\n")

    def _error(self, text: str) -> str:
        """Return an error with the end of the log, as the reference has it."""
        text = text if self._settings is None else self._settings.masked(text)
        if self._lines:
            text += "\n\nServer stderr:\n" + "\n".join(list(self._lines)[-SHOWN_LINES:])
        return valid_text(clip(text, LONGEST_ERROR))

    def _to(self, status: str, error: str | None = None, detail: str | None = None) -> None:
        if status != "ok":
            self.state.tools = []
        before = (self.state.status, self.state.error, self.state.detail)
        self.state.status, self.state.error, self.state.detail = status, error, detail
        if before != (status, error, detail) or status == "ok":
            self._on_change(self)

    def shown(self) -> McpState:
        """Return its state with the last lines of its log."""
        self.state.recent_stderr = list(self._lines)
        if self.server.transport == "stdio":
            path = self._services.log_files.path_of(self.home.name, self.server.name, "mcp")
            self.state.log_path = str(path)
        return self.state
