"""`Host`: one MCP server on behalf of the runtime: connects, lists tools, calls them; `__main__` runs it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pydantic
from mcp import ClientSession, MCPError
from mcp.types import CONNECTION_CLOSED, METHOD_NOT_FOUND, Implementation, PaginatedRequestParams

from dnworker._version import __version__
from dnworker.mcp_client.frames import (
    LONGEST_ANSWER,
    LONGEST_MESSAGE,
    Call,
    Cancel,
    Connect,
    Connected,
    Ended,
    Failed,
    Result,
    SignIn,
    ToolDescription,
    Tools,
)
from dnworker.mcp_client.host import sign_in
from dnworker.mcp_client.host.answers import answer_of
from dnworker.mcp_client.host.http import Responses, http_streams
from dnworker.mcp_client.host.link import Link
from dnworker.mcp_client.host.notices import Notices
from dnworker.mcp_client.host.stdio import StdioServer

MOST_PAGES = 100
MOST_TOOLS = 1000
"""Pages of a list of tools, and tools; a server may go on for ever."""

RELIST_SECONDS = 0.5
"""Seconds in which a server that has other tools may say so again, for one new list."""


class Host:
    """Connects to one server and serves the runtime until either is gone.

    Args:
        link: to the runtime.
        connect: which server.
    """

    def __init__(self, link: Link, connect: Connect) -> None:
        self._link = link
        self._connect = connect
        self._responses = Responses()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._has_other_tools = asyncio.Event()
        self._notices = Notices(self._has_other_tools.set)
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Connect and serve; what fails is told to the runtime."""
        is_connected = False
        try:
            async with self._streams() as (read, write):
                who = Implementation(name="dnworker", version=__version__)
                async with ClientSession(read, write, client_info=who) as session:
                    tools = await self._open(session)
                    is_connected = True
                    await self._link.send(Connected(tools))
                    await self._serve(session)
        except (Exception, BaseExceptionGroup) as exc:
            if not is_connected:
                await self._tell_failure(exc)
            elif not self._ended.done():
                self._ended.set_result(_text(_first(exc)))
        self._notices.tell()
        if is_connected and self._ended.done():
            await self._link.send(Ended(self._ended.result()))

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        if self._connect.command is not None:
            server = StdioServer(self._connect, self._notices, self._note_end)
            async with server.streams() as streams:
                yield streams
            return
        auth = sign_in.provider(self._connect, self._ask_to_sign_in)
        async with http_streams(self._connect, self._responses, auth) as streams:
            yield streams

    def _note_end(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    async def _ask_to_sign_in(self, url: str) -> None:
        await self._link.send(SignIn(url))

    # -- connecting ------------------------------------------------------------------------------------

    async def _open(self, session: ClientSession) -> list[ToolDescription]:
        seconds = self._connect.init_timeout
        if self._connect.is_interactive and self._connect.url is not None:
            seconds = max(seconds, sign_in.SECONDS)
        what = "it did not answer `initialize`"
        try:
            async with asyncio.timeout(seconds):
                await self._handshake(session)
            what = "it did not answer `tools/list`"
            async with asyncio.timeout(seconds):
                return await _list(session)
        except TimeoutError as exc:
            raise TimeoutError(f"{what} within {seconds:g} s") from exc

    async def _handshake(self, session: ClientSession) -> None:
        try:
            await session.initialize()
        except MCPError as exc:
            if exc.code != METHOD_NOT_FOUND:
                raise
            await session.discover()  # one of the newest, which has no handshake

    async def _tell_failure(self, exc: BaseException) -> None:
        first = _first(exc)
        text = _text(first)
        if isinstance(first, MCPError) and first.code == CONNECTION_CLOSED and self._ended.done():
            text = f"{self._ended.result()} before it had answered"
        elif self._responses.status is not None and self._responses.status >= 400:
            text = f"{text} ({self._responses.status})"
        wanted = isinstance(first, sign_in.SignInNeeded) or bool({401, 403} & self._seen(first))
        await self._link.send(Failed(text, wanted))

    def _seen(self, exc: BaseException) -> set[int]:
        status = getattr(getattr(exc, "response", None), "status_code", None)
        return {s for s in (status, self._responses.status) if s is not None}

    # -- serving ---------------------------------------------------------------------------------------

    async def _serve(self, session: ClientSession) -> None:
        """Serve requests until the runtime says to close, or is gone, or the server is."""
        requests = asyncio.ensure_future(self._take_requests(session))
        relisting = asyncio.ensure_future(self._relist(session))
        try:
            either: set[asyncio.Future[Any]] = {requests, self._ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done() and self._calls:  # the session fails what is under way, now
                await asyncio.wait([*self._calls.values()], timeout=1)
        finally:
            for task in (requests, relisting, *self._calls.values()):
                task.cancel()
            await asyncio.gather(requests, relisting, *self._calls.values(), return_exceptions=True)

    async def _take_requests(self, session: ClientSession) -> None:
        while True:
            match await self._link.next():
                case Call() as call:
                    task = asyncio.create_task(self._call(session, call))
                    self._calls[call.id] = task
                    task.add_done_callback(lambda _, number=call.id: self._calls.pop(number, None))  # type: ignore[misc]
                case Cancel(id=number):
                    if (found := self._calls.get(number)) is not None:
                        found.cancel()
                case Connect():
                    raise ValueError("it is connected already")
                case _:
                    return

    async def _call(self, session: ClientSession, call: Call) -> None:
        try:
            answer = await session.call_tool(call.tool, call.arguments)
            found = answer_of(answer.model_dump(by_alias=True, mode="json"), call.tool)
            result = Result(call.id, found.text, found.is_error, files=found.files)
        except Exception as exc:
            has_lost_session = isinstance(exc, MCPError) and self._responses.status == 404
            if has_lost_session:
                self._note_end("it has ended our session")  # as one that was started anew does
            text = self._ended.result() if self._ended.done() else _text(_first(exc))
            result = Result(call.id, text, True, has_failed=self._ended.done(), is_undone=has_lost_session)
        await self._link.send(result)

    async def _relist(self, session: ClientSession) -> None:
        while True:
            await self._has_other_tools.wait()
            await asyncio.sleep(RELIST_SECONDS)
            self._has_other_tools.clear()
            try:
                async with asyncio.timeout(self._connect.init_timeout):
                    await self._link.send(Tools(await _list(session)))
            except Exception as exc:
                print(f"its tools could not be listed again: {_text(exc)}", file=sys.stderr, flush=True)


async def _list(session: ClientSession) -> list[ToolDescription]:
    """Return all tools of a server, page by page.

    Raises:
        ValueError: there are too many, or they are too long.
    """
    found: list[ToolDescription] = []
    cursor, size = None, 0
    for _ in range(MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        for tool in page.tools:
            fields = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
            described = ToolDescription(
                str(fields["name"]), fields.get("description") or "", fields.get("inputSchema") or {}
            )
            size += len(str(fields))
            found.append(described)
        if len(found) > MOST_TOOLS or size > LONGEST_MESSAGE:
            raise ValueError(
                f"its list has {len(found):,} tools and {size:,} bytes and goes on; "
                f"at most {MOST_TOOLS:,} tools and {LONGEST_MESSAGE:,} bytes"
            )
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ValueError(f"its list of tools has more than {MOST_PAGES} pages")


def _first(exc: BaseException) -> BaseException:
    """Return the error within groups of errors."""
    while isinstance(exc, BaseExceptionGroup) and exc.exceptions:
        exc = exc.exceptions[0]
    return exc


def _text(exc: BaseException) -> str:
    if isinstance(exc, pydantic.ValidationError):
        first = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"its answer is not as MCP has it: {place}: {first['msg']}"
    text = str(exc) or type(exc).__name__
    if "event exceeded the" in text:  # the library's words for a message of a stream that is too long
        return f"the answer has over {LONGEST_MESSAGE:,} bytes; at most {LONGEST_ANSWER:,}"
    return text


async def serve(descriptor: int) -> None:
    """Serve the runtime at the other end of a socket until it is gone."""
    from dnworker.mcp_client.frames import Ready

    link = await Link.of(descriptor)
    await link.send(Ready())
    connect = await link.next()
    if not isinstance(connect, Connect):
        return
    with suppress(asyncio.CancelledError):
        await Host(link, connect).run()
