"""`Lasting`: asks a runtime again and again, and waits where it is lost; commands that follow use it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import httpx

from dnworker.cli.remote import make_client
from dnworker.core.errors import RuntimeUnavailable, UsageError
from dnworker.engine.running import running

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

T = TypeVar("T")

AGAIN = 1.0
"""Seconds between two attempts to reach a runtime that is lost."""

PATIENCE = 15.0
"""Seconds that an answer may take; a runtime that takes longer counts as lost."""

_UNAVAILABLE = (502, 503, 504)
"""The statuses of a runtime that stops, or of a proxy that cannot reach it."""

LOST = "lost, trying again"

Say = Callable[[str], None]


class Lasting:
    """A client that is made anew when its runtime was lost.

    Args:
        client: the first one, which stays whose it is.
        options: `url` and `token_file`, by which the runtime is found again: address and token may be others.
        say: called with a sentence when the runtime is lost, when it is there again, and why it refuses.
    """

    def __init__(self, client: RuntimeClient, options: argparse.Namespace, say: Say) -> None:
        self.client = client
        self._first = client
        self._options = options
        self._say = say
        self._has_answered = False

    async def ask(self, look: Callable[[RuntimeClient], Awaitable[T]]) -> T:
        """Return what `look` returns, as soon as a runtime answers.

        Raises:
            httpx.HTTPStatusError: the runtime refused.
        """
        while True:
            try:
                found = await self._within(look, self.client)
            except (httpx.HTTPError, RuntimeUnavailable, TimeoutError) as exc:
                if not self._is_lost(exc):
                    raise
                self._say(LOST)
                await self.find()
            else:
                self._has_answered = True
                return found

    def _is_lost(self, exc: Exception) -> bool:
        """Return whether the runtime is not there; another one that knows not our token is not ours."""
        if not isinstance(exc, httpx.HTTPStatusError):
            return True
        status = exc.response.status_code
        return status in _UNAVAILABLE or (status == httpx.codes.UNAUTHORIZED and self._has_answered)

    async def close(self) -> None:
        """Close the client, unless it is the first one."""
        if self.client is not self._first:
            await self.client.close()

    async def _within(self, look: Callable[[RuntimeClient], Awaitable[T]], client: RuntimeClient) -> T:
        async with asyncio.timeout(PATIENCE):
            return await look(client)

    async def find(self) -> None:
        """Take another client as soon as a runtime answers; what it refuses is said once."""
        await self._find()
        self._say(f"a runtime answers again at {self.client.server_url}")

    async def _find(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(AGAIN)
            client: RuntimeClient | None = None
            why = ""
            try:
                client = another(self._options, self._first.server_url)
                await self._within(is_there, client)
            except UsageError as exc:
                why = str(exc)
            except httpx.HTTPStatusError as exc:
                why = "" if exc.response.status_code in _UNAVAILABLE else str(exc)
            except (httpx.HTTPError, RuntimeUnavailable, TimeoutError):
                pass  # it is not there yet
            else:
                await self.close()
                self.client = client
                return
            if client is not None:
                await client.close()
            if why and why != said:
                self._say(f"{LOST}: {why}")
                said = why


def another(options: argparse.Namespace, address: str) -> RuntimeClient:
    """Return a client of the runtime that is there now; where none is known, of the one at an address.

    Raises:
        UsageError: as of `make_client`.
    """
    url = options.url or (None if running() else address)
    return make_client(argparse.Namespace(**vars(options) | {"url": url}))


async def is_there(client: RuntimeClient) -> None:
    """Return if a runtime answers that knows the token.

    Raises:
        httpx.HTTPError: none does.
    """
    await client.connection.request("GET", "/api/runtime")
