"""`Servers`: where NATS servers are and with what one signs in there, read from a user's text; pure.

The text is `nats://HOST[:PORT][,HOST[:PORT]...]`, or `tls://`, with `USER:PASSWORD@` or `TOKEN@` before the
first host. What is secret is kept apart from the addresses, so that an address can be said anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from dnworker.core.errors import UsageError
from dnworker.core.text import closest

SCHEMES = ("nats", "tls")
DEFAULT_PORT = 4222
LONGEST = 4_096
"""Characters of the text; a cluster of servers has a handful of addresses."""
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_ESCAPE = "in a password, write other characters than letters and digits as %XX"
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,64}")
_LIKELY = re.compile(r"[a-z0-9.]{0,16}")
"""A scheme that may be repeated in an error: it has no place for a password."""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """With what a node signs in; nothing of it is shown by `repr`."""

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        """Return whether there is anything to sign in with."""
        return bool(self.user or self.password or self.token)


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Addresses of the servers of one engine, without what is secret."""

    hosts: tuple[tuple[str, int], ...]
    wants_tls: bool = False
    sign_in: SignIn = field(default_factory=SignIn, repr=False)

    def urls_with(self, *, is_tls: bool) -> list[str]:
        """Return the address of each server as NATS clients take it."""
        scheme = "tls" if is_tls or self.wants_tls else "nats"
        return [f"{scheme}://{written(host, port)}" for host, port in self.hosts]

    def __str__(self) -> str:
        """Return the addresses on one line, without what is secret."""
        return ",".join(self.urls_with(is_tls=False))


def written(host: str, port: int) -> str:
    """Return `HOST:PORT`, with the brackets that an IPv6 address has."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_servers(text: str, option: str = "--broker") -> Servers:
    """Return the servers that a text names.

    Args:
        option: what the text was given to, for errors.

    Raises:
        UsageError: it is no such text; the error has nothing that may be secret.
    """
    if len(text) > LONGEST:
        raise UsageError(
            f"{option}: {len(text):,} characters; an address has at most {LONGEST:,}", code="DN802"
        )
    scheme = _scheme_of(text, option)
    hosts: list[tuple[str, int]] = []
    sign_in = SignIn()
    for part in text.strip().split(","):
        given, separator, rest = part.strip().partition("://")
        if not separator:
            rest = given
            if "@" in rest:  # it is the rest of a password with a comma more often than one of its own
                raise UsageError(
                    f"{option}: user and password stand before the first host; {_ESCAPE}", code="DN804"
                )
        elif given.lower() != scheme:
            raise UsageError(
                f"{option}: the servers are given as nats:// and tls:// at once; take one of both",
                code="DN802",
            )
        host, signed = _parse_one(rest, option, is_open="@" not in text)
        if signed and sign_in and signed != sign_in:
            raise UsageError(
                f"{option}: the servers have different passwords; all nodes sign in as one user", code="DN804"
            )
        sign_in = signed or sign_in
        hosts.append(host)
    return Servers(hosts=tuple(dict.fromkeys(hosts)), wants_tls=scheme == "tls", sign_in=sign_in)


def check_namespace(text: str, option: str = "--namespace") -> str:
    """Return a namespace that the names of streams and subjects can have.

    Raises:
        UsageError: it is none.
    """
    if not _NAMESPACE.fullmatch(text):
        raise UsageError(
            f"{option} {text[:64]!r}: lower-case letters, digits, - and _ are wanted, 48 at most, "
            "with a letter or digit first, such as prod-eu",
            code="DN803",
        )
    return text


def sign_in_of(environment: Mapping[str, str]) -> SignIn:
    """Return what the variables of NATS's own tools say: `NATS_USER`, `NATS_PASSWORD`, `NATS_TOKEN`."""
    return SignIn(
        user=environment.get("NATS_USER") or None,
        password=environment.get("NATS_PASSWORD") or None,
        token=environment.get("NATS_TOKEN") or None,
    )


def secrets_in(text: str) -> list[str]:
    """Return what a text of servers has before each `@`, as it is written there."""
    parts = (part.rpartition("://")[2] for part in text.split(","))
    return [secret for part in parts if (secret := part.rpartition("@")[0])]


def _scheme_of(text: str, option: str) -> str:
    scheme, separator, _ = text.strip().partition("://")
    scheme = scheme.lower()
    if separator and scheme in SCHEMES:
        return scheme
    if not separator:
        host = text.strip() if _HOST.fullmatch(text.strip()) else "localhost"
        raise UsageError(
            f"{option}: an address begins with nats:// or tls://, such as nats://{host}", code="DN802"
        )
    shown = f"{scheme}://" if _LIKELY.fullmatch(scheme) else "this scheme"
    near = closest(scheme, list(SCHEMES))
    guess = f"; did you mean {near}://?" if near else "; nats:// and tls:// (NATS with JetStream) are known"
    raise UsageError(f"{option} {shown}: no broker of this kind is known{guess}", code="DN802")


def _parse_one(rest: str, option: str, *, is_open: bool) -> tuple[tuple[str, int], SignIn]:
    """Return the host and port of one address without its scheme, and what stands before its `@`.

    Args:
        is_open: whether the text has no password, of which a wrong comma or slash could make a host.
    """
    before, _, place = rest.rpartition("@")
    shown = repr(place[:64]) if is_open else "an address"

    def refuse(why: str) -> NoReturn:
        hint = "" if is_open else f"; {_ESCAPE}"
        raise UsageError(
            f"{option}: {why}; nats://HOST:PORT is wanted, several separated by commas{hint}", code="DN802"
        )

    if "@" in before:
        refuse("there is more than one @")
    if place.rstrip("/") != place.partition("/")[0] or set("?#\\ ") & set(place):
        refuse(f"{shown} has a path, question mark or space")
    host, port = "", None
    try:
        found = urlsplit(f"nats://{place}")
        host, port = found.hostname or "", found.port
    except ValueError:
        refuse(f"{shown} has no port between 1 and 65535")
    if not host:
        refuse("an address names no host")
    if port == 0:
        refuse(f"{shown} has no port between 1 and 65535")
    user, colon, password = before.partition(":")
    if not before:
        signed = SignIn()
    elif colon:
        signed = SignIn(user=unquote(user), password=unquote(password))
    else:
        signed = SignIn(token=unquote(user))
    return (host, port or DEFAULT_PORT), signed
