"""`ForwardedHeaders`: who the caller is behind a trusted proxy; the outermost layer of the application.

`X-Forwarded-For`, `-Proto` and `-Host` count when they come from a peer that is trusted, and are nothing but
headers from anybody else. The newer header `Forwarded` does not count: proxies that write the old ones
pass it on as a client sent it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from dnworker.server.connections import connection_of
from dnworker.server.listening import UNIX, Address, Network, parse_address

FORWARDED_HOST = "forwarded_host"
"""The key of a scope that has the Host which a trusted proxy was asked for."""

_PROTOCOLS = {"http": False, "https": True, "ws": False, "wss": True}


class TrustedProxies:
    """The peers whose word counts.

    Args:
        trusted: addresses, networks, and `unix` for those who connect over a unix socket.
    """

    def __init__(self, trusted: Collection[str]) -> None:
        self._takes_unix = UNIX in trusted
        self._networks: list[Network] = [
            ipaddress.ip_network(one, strict=False) for one in trusted if one != UNIX
        ]

    def trusts(self, peer: Address | None, *, is_unix: bool) -> bool:
        """Return whether a peer is one of them; one without an address is not, unless it is of the socket."""
        if is_unix:
            return self._takes_unix
        return peer is not None and any(peer in network for network in self._networks)

    def caller(self, forwarded: Iterable[str]) -> str | None:
        """Return the address of the caller: from the right, the first that is no trusted proxy.

        All to the left of it was written by the caller. What is no address ends the search: the proxy that
        wrote it is the last that is known.

        Args:
            forwarded: the values of `X-Forwarded-For`, of a trusted peer.
        """
        found = None
        for text in reversed([part.strip() for value in forwarded for part in value.split(",")]):
            if text.lower() == "unix:" and self._takes_unix:
                continue
            if (address := _address_in(text)) is None:
                break
            found = str(address)
            if not self.trusts(address, is_unix=False):
                break
        return found


class ForwardedHeaders:
    """ASGI middleware that puts the true client and scheme into the scope, and `forwarded_host`."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as a trusted proxy got it."""
        if scope["type"] in ("http", "websocket") and self._is_trusted(scope):
            scope = {**scope, **self._told(scope)}
        await self._app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        connection, client = connection_of(scope), scope.get("client")
        peer = parse_address(client[0]) if client else None
        return self._proxies.trusts(peer, is_unix=connection is not None and connection.is_unix)

    def _told(self, scope: Scope) -> Scope:
        """Return what a trusted proxy says of a request."""
        named: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if name.startswith(b"x-forwarded-"):
                named.setdefault(name, []).append(value.decode("latin-1"))
        told: Scope = {}
        if (caller := self._proxies.caller(named.get(b"x-forwarded-for", ()))) is not None:
            told["client"] = (caller, 0)
        protocol = _last(named.get(b"x-forwarded-proto", ())).lower()
        if (is_tls := _PROTOCOLS.get(protocol)) is not None:
            plain = "ws" if scope["type"] == "websocket" else "http"
            told["scheme"] = plain + ("s" if is_tls else "")
        if host := _last(named.get(b"x-forwarded-host", ())):
            told[FORWARDED_HOST] = host
        return told


def _last(values: Collection[str]) -> str:
    """Return the last of a header's values: the nearest proxy wrote it."""
    return [*values][-1].rpartition(",")[2].strip() if values else ""


def _address_in(text: str) -> Address | None:
    """Return the address in one part of `X-Forwarded-For`, which may have a port."""
    if text.startswith("["):
        return parse_address(text[1:].partition("]")[0])
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)
