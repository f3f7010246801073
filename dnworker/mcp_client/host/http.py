"""`http_streams`: a server at a URL as the streams of an MCP session; for `session`.

Streamable HTTP first. A server that refuses it as older ones do, which have server-sent events only, is asked
in that way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from dnworker.mcp_client.frames import LONGEST_MESSAGE, Connect

CONNECT_SECONDS, READ_SECONDS = 30.0, 300.0
"""Seconds for a connection, and for the next byte of an answer, as the reference has them."""

PROBE_SECONDS = 5.0

OLDER = (400, 404, 405, 415)
"""Statuses by which a server with server-sent events only refuses a POST."""


@dataclass
class Responses:
    """What a server answered last, by its status: the library's errors do not tell."""

    status: int | None = None
    statuses: set[int] = field(default_factory=set)

    async def note(self, response: httpx2.Response) -> None:
        """Note a response, and bound its body where that is read whole."""
        self.status = response.status_code
        self.statuses.add(response.status_code)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, response.headers.get("content-length"))


class _Bounded(httpx2.AsyncByteStream):
    """The body of a response, which raises once it is longer than a message may be."""

    def __init__(self, stream: Any, length: str | None) -> None:
        self._stream = stream
        self._length = int(length) if length and length.isdecimal() else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._length is not None and self._length > LONGEST_MESSAGE:
            raise httpx2.StreamError(f"the answer has {self._length:,} bytes; at most {LONGEST_MESSAGE:,}")
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > LONGEST_MESSAGE:
                raise httpx2.StreamError(f"the answer has more than {LONGEST_MESSAGE:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def http_streams(
    connect: Connect, responses: Responses, auth: httpx2.Auth | None
) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the streams of a session with a server.

    Args:
        connect: its URL and headers.
        responses: notes what it answers.
        auth: signs requests; None where nothing is known to sign them with.
    """
    assert connect.url is not None

    def client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = auth,
    ) -> httpx2.AsyncClient:
        made = httpx2.AsyncClient(
            headers={**connect.headers, **(headers or {})},
            timeout=timeout or httpx2.Timeout(CONNECT_SECONDS, read=READ_SECONDS),
            auth=auth,
        )
        made.event_hooks["response"].append(responses.note)
        return made

    async with AsyncExitStack() as stack:
        if await _takes_posts(connect.url, connect.headers, has_auth=auth is not None):
            made = await stack.enter_async_context(client())
            transport: Any = streamable_http_client(
                connect.url, http_client=made, max_sse_event_size=LONGEST_MESSAGE
            )
        else:
            transport = sse_client(connect.url, httpx_client_factory=client, auth=auth)
        read, write = (await stack.enter_async_context(transport))[:2]
        yield read, write


async def _takes_posts(url: str, headers: dict[str, str], *, has_auth: bool) -> bool:
    """Return whether a server has streamable HTTP, by how it refuses a POST that says nothing.

    Raises:
        httpx2.HTTPStatusError: it wants a sign-in, and nothing is known to sign in with.
    """
    wanted = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    async with (
        httpx2.AsyncClient(timeout=PROBE_SECONDS) as probe,
        probe.stream("POST", url, content=b"{}", headers={**headers, **wanted}) as response,
    ):
        if response.status_code in (401, 403):
            if not has_auth:
                response.raise_for_status()
            return True
        kind = response.headers.get("content-type", "").lower()
        return response.status_code not in OLDER or kind.startswith("application/json")
