"""Sign-ins by OAuth: a provider for the library, the file of tokens, and where a browser comes back to.

The file is the reference's, `~/.dreadnode/mcp-auth.json`: who has signed in there is signed in here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth.oauth2 import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from dnworker.core.files import write_atomically
from dnworker.mcp_client.frames import Connect

SECONDS = 330.0
"""Seconds in which somebody is to sign in, those of the handshake included."""

LONGEST_REQUEST = 16_384

PAGE = """<!doctype html><meta charset="utf-8"><title>dnworker</title>
<body style="font: 16px system-ui; margin: 4rem auto; max-width: 32rem"><h1>{title}</h1><p>{text}</p>"""

AskToSignIn = Callable[[str], Awaitable[None]]


class SignInNeeded(Exception):
    """A server wants a sign-in, and nobody is there who could do it."""


class TokenFile:
    """The tokens of one server in the file of all.

    Args:
        url: of the server.
        path: of the file.
    """

    def __init__(self, url: str, path: Path) -> None:
        self._url = url
        self._path = path

    def entry(self) -> dict[str, Any]:
        """Return what is kept of the server; a damaged file has nothing."""
        found = self._read().get(self._url)
        return found if isinstance(found, dict) else {}

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value of the server.

        Raises:
            OSError: the file cannot be written.
        """
        store = self._read()
        store[self._url] = {**self.entry(), key: value}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(store, indent=2), mode=0o600)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            print(f"{self._path} cannot be read: {exc}; nobody is signed in", file=sys.stderr, flush=True)
            return {}
        return found if isinstance(found, dict) else {}

    # -- as the library wants it -----------------------------------------------------------------------

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens of the last sign-in."""
        found = self.entry().get("tokens")
        return None if found is None else OAuthToken.model_validate(found)

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens."""
        self.put("tokens", tokens.model_dump(mode="json", exclude_none=True))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return what this client is registered as."""
        found = self.entry().get("client_info")
        return None if found is None else OAuthClientInformationFull.model_validate(found)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep what this client is registered as."""
        self.put("client_info", client_info.model_dump(mode="json", exclude_none=True))


class Callback:
    """Where the browser comes back to after a sign-in: a port on loopback, for one request."""

    def __init__(self) -> None:
        self._came: asyncio.Future[dict[str, list[str]]] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen, and return the URL to come back to."""
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=LONGEST_REQUEST)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"

    async def result(self) -> AuthorizationCodeResult:
        """Wait for the browser and return the code that it brings.

        Raises:
            SignInNeeded: the sign-in was refused.
        """
        try:
            query = await self._came
        finally:
            if self._server is not None:
                self._server.close()

        def first(name: str) -> str | None:
            return next(iter(query.get(name, ())), None)

        if (code := first("code")) is None:
            why = first("error_description") or first("error") or "no code came back"
            raise SignInNeeded(f"the sign-in failed: {why}")
        return AuthorizationCodeResult(code=code, state=first("state"), iss=first("iss"))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                line = await reader.readline()
                target = urlsplit(line.decode("latin-1").split(" ")[1])
                while (await reader.readline()).strip():
                    pass
            if target.path != "/callback":
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            query = parse_qs(target.query)
            done = "code" in query
            title, text = (
                ("Signed in", "You can close this page.") if done else ("Not signed in", "Try again.")
            )
            body = PAGE.format(title=title, text=text).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            if not self._came.done():
                self._came.set_result(query)
        except (TimeoutError, ValueError, IndexError, ConnectionError):
            return  # no browser of ours
        finally:
            writer.close()


def provider(connect: Connect, ask: AskToSignIn) -> httpx2.Auth | None:
    """Return what signs requests to a server; None where nobody has signed in, and nobody is there to.

    Args:
        connect: the server.
        ask: told the URL at which somebody is to sign in.
    """
    assert connect.url is not None
    storage = TokenFile(connect.url, Path(connect.tokens))
    if not connect.is_interactive and not storage.entry().get("tokens"):
        return None
    callback = Callback()
    return _Provider(connect, storage, callback, ask)


class _Provider(OAuthClientProvider):
    """The library's, with an address to come back to that is known once a request is made."""

    def __init__(self, connect: Connect, storage: TokenFile, callback: Callback, ask: AskToSignIn) -> None:
        self._callback = callback
        self._ask = ask
        self._is_interactive = connect.is_interactive
        metadata = OAuthClientMetadata(
            redirect_uris=[AnyUrl("http://127.0.0.1/callback")],
            client_name=connect.client_name,
            scope=connect.scope,
        )
        super().__init__(
            server_url=connect.url or "",
            client_metadata=metadata,
            storage=storage,
            redirect_handler=self._redirect,
            callback_handler=callback.result,
        )

    async def _initialize(self) -> None:
        await super()._initialize()
        if self._is_interactive:
            self.context.client_metadata.redirect_uris = [AnyUrl(await self._callback.open())]
            if self.context.client_info is not None:  # it was registered with another port
                self.context.client_info.redirect_uris = self.context.client_metadata.redirect_uris

    async def _redirect(self, url: str) -> None:
        if not self._is_interactive:
            raise SignInNeeded("it wants a sign-in")
        if urlsplit(url).scheme not in ("http", "https"):
            raise SignInNeeded(f"it wants a sign-in at {url!r:.200}, which is no page of the web")
        await self._ask(url)
        if not _has_no_display():
            await asyncio.to_thread(webbrowser.open, url)


def _has_no_display() -> bool:
    if os.environ.get("DREADNODE_HEADLESS", "").strip().lower() in ("1", "true", "yes", "on"):
        return True
    return sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
