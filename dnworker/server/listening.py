"""`Listening`: where a server listens, and whom it believes; `EmbeddedServer` opens it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.text import shorten

UNIX = "unix"
"""How whoever connects over the unix socket is named among the trusted proxies."""

UDS_MODE = 0o600
LARGEST_PORT = 65_535
LONGEST_UDS = 107
"""Bytes of a socket's path that the system takes (unix(7): 108, with a zero at the end)."""

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TlsFiles(msgspec.Struct, frozen=True):
    """The files of TLS, all PEM.

    Attributes:
        cert: the certificate, and those that lead to its authority.
        key: its private key; the same file by default.
        client_ca: authorities; clients must show a certificate of one.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


class Listening(msgspec.Struct, frozen=True):
    """Where a server listens, and whom it believes.

    Attributes:
        host: the address of TCP.
        port: of TCP; 0 picks a free one.
        uds: a unix socket, in the place of TCP.
        uds_mode: of its file.
        tls: for TCP; None speaks plain HTTP.
        trusted_proxies: whose `X-Forwarded-*` headers count: addresses, networks, and `unix`.
        allowed_hosts: names beside its own that requests may be sent to.
        inherited: file descriptors of sockets that listen already, in the place of all others.
    """

    host: str = "127.0.0.1"
    port: int = 0
    uds: Path | None = None
    uds_mode: int = UDS_MODE
    tls: TlsFiles | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    inherited: tuple[int, ...] = ()

    @property
    def is_open_to_readers(self) -> bool:
        """Whether what is sent may go over a network as plain text, as far as this can know."""
        is_plain_tcp = self.tls is None and self.uds is None and not self.inherited
        return is_plain_tcp and not self.trusted_proxies and not _is_loopback(self.host)


def make_listening(
    host: str,
    port: int,
    *,
    uds: str | os.PathLike[str] | None = None,
    uds_mode: int | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    tls_client_ca: str | os.PathLike[str] | None = None,
    trusted_proxies: Collection[str] = (),
    allowed_hosts: Collection[str] = (),
) -> Listening:
    """Return where a server listens, checked as far as that goes without opening anything.

    Raises:
        UsageError: what is given does not go together, or is no address, name or mode.
    """
    if not 0 <= port <= LARGEST_PORT:
        raise UsageError(f"--port {port} does not exist; ports are 0 to {LARGEST_PORT}", code="DN908")
    if tls_cert is None and (tls_key is not None or tls_client_ca is not None):
        raise UsageError("a TLS key or client authorities need a certificate: --tls-cert FILE", code="DN926")
    if tls_cert is not None and uds is not None:
        raise UsageError(
            "--tls-cert is for TCP, and --uds has none: leave one of them out; the proxy before the socket "
            "speaks TLS",
            code="DN926",
        )
    tls = None
    if tls_cert is not None:
        ca = None if tls_client_ca is None else Path(tls_client_ca)
        tls = TlsFiles(Path(tls_cert), Path(tls_cert if tls_key is None else tls_key), ca)
    return Listening(
        host=host,
        port=port,
        uds=None if uds is None else _socket_path(Path(uds)),
        uds_mode=_mode(uds_mode),
        tls=tls,
        trusted_proxies=tuple(_proxy(one) for one in _each(trusted_proxies, "trusted_proxies")),
        allowed_hosts=tuple(_host_name(one) for one in _each(allowed_hosts, "allowed_hosts")),
    )


def _each(given: Collection[str], name: str) -> Collection[str]:
    if isinstance(given, str):  # else each of its characters would be taken for one
        raise UsageError(f"{name} is a list of texts, such as [{given!r}]", code="DN928")
    return given


def _socket_path(path: Path) -> Path:
    """Return a socket's path, absolute: the process may go to another directory."""
    absolute = path.absolute()
    size = len(os.fsencode(absolute))
    if size > LONGEST_UDS:
        raise UsageError(
            f"--uds {shorten(str(path), 60)}: the path is {size} bytes long, and a socket's has at most "
            f"{LONGEST_UDS}; name a shorter one, such as /run/dnworker.sock",
            code="DN925",
        )
    return absolute


def _mode(mode: int | None) -> int:
    if mode is None:
        return UDS_MODE
    if not 0 < mode <= 0o777 or not mode & 0o200:
        raise UsageError(
            f"--uds-mode {mode:04o}: write the mode of a file that its owner may write, such as 0660",
            code="DN925",
        )
    return mode


def _proxy(text: str) -> str:
    """Return a trusted proxy as it is compared: `unix`, or a network."""
    if text == UNIX:
        return text
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as exc:
        raise UsageError(
            f"--trusted-proxy {shorten(text, 60)!r} is no address; write one (10.0.0.7), a network "
            f"(10.0.0.0/24), or unix",
            code="DN928",
        ) from exc


def _host_name(text: str) -> str:
    """Return a name that is served, in lower case and without a last dot."""
    lower = text.lower()
    if not _NAME.fullmatch(lower) and parse_address(lower) is None:
        raise UsageError(
            f"--allowed-host {shorten(text, 60)!r} is no host's name; write it without scheme, port and "
            "wildcard, such as workers.example.com",
            code="DN928",
        )
    return lower.rstrip(".").strip("[]")


def parse_address(text: str) -> Address | None:
    """Return an IP address, with or without brackets; None for what is none. IPv4 in IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _is_loopback(host: str) -> bool:
    found = parse_address(host)
    return host == "localhost" or (found is not None and found.is_loopback)
