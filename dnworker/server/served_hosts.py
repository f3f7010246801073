"""`ServedHosts`: which names and origins a request may have; the gatekeeper asks it (contract 13.20).

A browser is led astray by a page that names this server's port: such a page has another Origin, or, after DNS
rebinding, another Host. Both are refused whatever the token.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

HOSTS_REMEMBERED = 100

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, never bound here
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class ServedHosts:
    """The names that are served: loopback's, those that the server was bound to, and those allowed.

    Args:
        bound: what the server listens on; a wildcard serves any IP address, which no page can rebind.
        allowed: names beside those.
    """

    def __init__(self, bound: Collection[str], allowed: Collection[str] = ()) -> None:
        self._names = _LOOPBACK_NAMES | {one.lower() for one in (*bound, *allowed)}
        self._takes_addresses = not _WILDCARDS.isdisjoint(bound)
        self._known: set[str] = set()

    def refusal(self, host: str, origin: str | None, scheme: str, forwarded_host: str | None) -> str | None:
        """Return why a request is refused; None for one that is served.

        Args:
            host: its header.
            origin: its header.
            scheme: of the connection, or of that to a trusted proxy.
            forwarded_host: what a trusted proxy says that the client's Host was; it must be served, too.
        """
        named = (host,) if forwarded_host is None else (host, forwarded_host)
        for one in named:
            if not self._is_served(one):
                return f"host {one!r} is not served here; use 127.0.0.1 or localhost, or --allowed-host"
        if origin is not None and not _is_own(origin, named[-1], scheme):
            return f"origin {origin!r} may not use this API; only its own pages may"
        return None

    def _is_served(self, host: str) -> bool:
        if host in self._known:
            return True
        name = _name_in(host)
        if name not in self._names and not (self._takes_addresses and _is_address(name)):
            return False
        if len(self._known) < HOSTS_REMEMBERED:
            self._known.add(host)
        return True


def _is_own(origin: str, host: str, scheme: str) -> bool:
    """Return whether an origin is that of the host's own pages.

    A page of plain HTTP is none of a server that is reached by TLS. Where plain HTTP comes in, a proxy may
    have taken TLS off without a word.
    """
    origin_scheme, _, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(origin_scheme)
    if default is None or (origin_scheme == "http" and scheme in ("https", "wss")):
        return False
    return authority.lower().removesuffix(default) == host.lower().removesuffix(default)


def _name_in(host: str) -> str:
    """Return the name in a Host header, without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
