"""`Api`: a running runtime, of a notebook or of `serve`, as the tools ask it; refusals are one line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from dnworker.client.client import RuntimeClient
from dnworker.client.connection import in_path
from dnworker.core.errors import CODE_HEADER, DnworkerError, with_code

ANSWER_SECONDS = 20.0
"""Seconds beyond its own time that a call waits: a kernel that runs a blocking cell answers nothing."""


class Refused(Exception):
    """The runtime refuses, or is not there; the text is for the agent.

    Attributes:
        code: of the message, such as `DN983`; None where it has none.
    """

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code


class Api:
    """A runtime that may end and start again, at another address or with another token.

    Args:
        find: returns a client of it; raises `UsageError` where none runs, or several do.
    """

    def __init__(self, find: Callable[[], RuntimeClient]) -> None:
        self._find = find
        self._client: RuntimeClient | None = None

    @property
    def url(self) -> str:
        """Where it is, or was."""
        return "its address" if self._client is None else self._client.server_url

    async def get(self, path: str, *words: str, timeout: float = 10.0, **query: Any) -> Any:
        """GET a path whose `{}` are filled with words, and return its JSON; raises `Refused`."""
        given = {name: value for name, value in query.items() if value not in (None, "", [])}
        return await self._call("GET", _filled(path, words), given, None, timeout)

    async def post(self, path: str, *words: str, body: Mapping[str, Any], timeout: float = 10.0) -> Any:
        """POST a body to a path, and return its JSON; raises `Refused`."""
        given = {name: value for name, value in body.items() if value is not None}
        return await self._call("POST", _filled(path, words), None, given, timeout)

    async def is_notebook(self) -> bool:
        """Return whether the runtime is a notebook's; raises `Refused` where it is away."""
        try:
            await self.get("/api/notebook")
        except Refused as exc:
            if exc.code == "DN983":
                return False
            raise
        return True

    async def close(self) -> None:
        """Close the connections; the next call finds the runtime again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _call(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: object, timeout: float
    ) -> Any:
        try:
            async with asyncio.timeout(timeout + ANSWER_SECONDS):
                return await self._asked(method, path, query, body)
        except TimeoutError:
            raise Refused(
                f"the runtime at {self.url} did not answer within {timeout + ANSWER_SECONDS:g} s; a cell or "
                "a handler may hold its loop: ask the user to look (Ctrl-C in the notebook), and try again"
            ) from None
        except httpx.HTTPStatusError as exc:
            code = exc.response.headers.get(CODE_HEADER)
            raise Refused(str(exc), code) from None
        except DnworkerError as exc:
            raise Refused(with_code(exc)) from None
        except httpx.HTTPError as exc:
            raise Refused(
                f"no runtime answers at {self.url} ({type(exc).__name__}): its kernel or `dnworker serve` "
                "has ended; once it runs again at this address, the same call works"
            ) from None

    async def _asked(self, method: str, path: str, query: Mapping[str, Any] | None, body: object) -> Any:
        """Ask, and once more where the runtime has started anew: nothing of the first request was done."""
        is_new = self._client is None
        try:
            return await self._request(method, path, query, body)
        except (httpx.ConnectError, httpx.HTTPStatusError) as exc:
            if is_new or (isinstance(exc, httpx.HTTPStatusError) and exc.response.status_code != 401):
                raise
        await self.close()
        return await self._request(method, path, query, body)

    async def _request(self, method: str, path: str, query: Mapping[str, Any] | None, body: object) -> Any:
        if self._client is None:
            self._client = self._find()
        return await self._client.connection.request(method, path, query=query, body=body)


def _filled(path: str, words: tuple[str, ...]) -> str:
    """Return a path with words as its segments.

    Raises:
        Refused: one names nothing, such as `..`.
    """
    try:
        return path.format(*map(in_path, words))
    except DnworkerError as exc:
        raise Refused(with_code(exc)) from None
