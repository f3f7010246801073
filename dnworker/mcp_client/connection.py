"""`Connection`: one connection to an MCP server, from the start of its host to the end; for `server`."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dnworker.core.tool_files import ToolText
from dnworker.mcp_client.frames import (
    BadFrame,
    Call,
    Cancel,
    Connected,
    Ended,
    Failed,
    Ready,
    Result,
    SignIn,
    ToolDescription,
    Tools,
)
from dnworker.mcp_client.process import HostProcess
from dnworker.mcp_client.settings import CannotConnect, Settings
from dnworker.mcp_client.tools import MCPServerError, MCPToolError, NotDone
from dnworker.workers.tasks import keep

READY_SECONDS = 60.0
"""Seconds in which a host has its libraries, on a busy machine, too."""

SPARE_SECONDS = 15.0
"""Seconds beyond the server's own that its host gets to say that they are over."""

SIGN_IN_SECONDS = 330.0

MOST_CALLS = 100
"""Calls that a server answers at a time; more are refused."""


class Connection:
    """One connection; it is opened once.

    Args:
        settings: what to connect to.
        process: the host.
        starts: held while the host starts, which takes a second of a core.
        on_tools: called when the server has other tools.
        on_sign_in: called with the URL where somebody is to sign in.
        on_end: called with why, when the server is gone and nobody has closed the connection.
    """

    def __init__(
        self,
        settings: Settings,
        process: HostProcess,
        *,
        starts: asyncio.Semaphore,
        on_tools: Callable[[list[ToolDescription]], None],
        on_sign_in: Callable[[str], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._process = process
        self._starts = starts
        self._on_tools = on_tools
        self._on_sign_in = on_sign_in
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Result]] = {}
        self._why_ended: str | None = None
        self._is_closing = False
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> list[ToolDescription]:
        """Start the host, connect, and return the server's tools.

        Raises:
            CannotConnect: the server cannot be connected; says why.
        """
        async with self._starts:
            await self._process.start()
            await self._expect(Ready, READY_SECONDS, "its host did not start")
        connect = self._settings.connect
        seconds = 2 * connect.init_timeout + SPARE_SECONDS
        if connect.is_interactive and connect.url is not None:
            seconds += 2 * SIGN_IN_SECONDS
        with suppress(ConnectionError):  # the next message says what became of it
            await self._process.send(connect)
        connected = await self._expect(Connected, seconds, "it did not answer")
        self._reading = keep(self._read(), f"mcp server {connect.name}", contextvars.Context())
        return list(connected.tools)

    async def _expect(self, wanted: type[Any], seconds: float, what: str) -> Any:
        """Return the next message of a type, and take those that may come before it."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._process.next()
                    match message:
                        case Failed(error=error, needs_auth=needs_auth):
                            raise CannotConnect(error, needs_auth=needs_auth)
                        case SignIn(url=url):
                            self._on_sign_in(url)
                        case None:
                            why = (await self._process.ended() or "").partition("\n")[0]
                            raise CannotConnect(f"its host ended: {why}")
                        case _ if isinstance(message, wanted):
                            return message
        except TimeoutError as exc:
            raise CannotConnect(f"{what} within {seconds:g} s") from exc
        except BadFrame as exc:
            raise CannotConnect(f"its host sent {exc}") from exc

    @property
    def pid(self) -> int | None:
        """The process of the host."""
        return self._process.pid

    # -- calls -----------------------------------------------------------------------------------------

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """Call a tool and return its text, with images as a `ToolText`.

        When the caller is cancelled, the server is told.

        Raises:
            MCPToolError: the tool answered with an error.
            MCPServerError: the server did not answer.
        """
        if len(self._calls) >= MOST_CALLS:
            raise MCPServerError(f"it has {MOST_CALLS} calls to answer already; try again later")
        number = next(self._numbers)
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        try:
            async with asyncio.timeout(self._settings.call_seconds):
                with suppress(ConnectionError):
                    await self._process.send(Call(number, tool, arguments))
                if self._why_ended is not None and not answer.done():
                    raise NotDone(self._why_ended)
                result = await answer
        except TimeoutError:
            raise MCPServerError(
                f"the call was not answered within {self._settings.call_seconds:g} s; "
                "whether it was done is not known"
            ) from None
        finally:
            self._calls.pop(number, None)
            if not answer.done() or answer.cancelled():
                self._process.send_soon(Cancel(number))
        text = self._settings.masked(result.text) if result.is_error else result.text
        if result.is_undone:
            raise NotDone(text)
        if result.has_failed:
            raise MCPServerError(f"{text} while the call ran; whether it was done is not known")
        if result.is_error:
            raise MCPToolError(text)
        return ToolText(text, result.files) if result.files else text

    async def _read(self) -> None:
        try:
            why = await self._read_to_end()
        except BadFrame as exc:
            why = f"its host sent {exc}"
        self._end(why)

    async def _read_to_end(self) -> str:
        while True:
            match await self._process.next():
                case Result() as result:
                    answer = self._calls.get(result.id)
                    if answer is not None and not answer.done():
                        answer.set_result(result)
                    if result.has_failed:
                        return result.text
                case Tools(tools=tools):
                    self._on_tools(list(tools))
                case Ended(error=error):
                    return error
                case None:
                    return "its host was ended"
                case _:
                    continue

    def _end(self, why: str) -> None:
        self._why_ended = why
        for number, answer in self._calls.items():
            if not answer.done():
                answer.set_result(Result(number, why, is_error=True, has_failed=True))
        if not self._is_closing:
            self._on_end(why)

    async def close(self) -> None:
        """Close it and end the processes; may be called at any time, and again."""
        self._is_closing = True
        await self._process.stop()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=1)
            self._reading.cancel()
        self._end(self._why_ended or "it was closed")
