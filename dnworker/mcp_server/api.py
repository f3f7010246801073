"""`Api`: a running runtime, of a notebook or of `serve`, as the tools ask it; refusals are one line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from dnworker.client.client import RuntimeClient
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
    """The runtime behind a client; each call finds it again where it was away."""

    def __init__(self, client: RuntimeClient) -> None:
        self._client = client
        self.url = client.server_url

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
        """Close the connections."""
        await self._client.close()

    async def _call(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: object, timeout: float
    ) -> Any:
        try:
            async with asyncio.timeout(timeout + ANSWER_SECONDS):
                return await self._client.connection.request(method, path, query=query, body=body)
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


def _filled(path: str, words: tuple[str, ...]) -> str:
    return path.format(*(quote(word, safe="") for word in words))
