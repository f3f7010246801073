"""The first contact of a node with its servers: says in one line why they cannot be used, and the way out.

A NATS client tries for ever where it may, and says of most that is wrong that it found no server. So each
server is asked once before: by what it says first, its INFO line, and by one connection that is given up.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.errors import BrokerError
from dnworker.events.brokers.jetstream.servers import Servers, written

if TYPE_CHECKING:
    from nats.aio.client import Client, ErrorCallback

OLDEST = (2, 11)
"""The first version of the server whose keys and values can expire one by one."""
WAIT_SECONDS = 5.0
"""For each step with each server."""
CLOSE_SECONDS = 0.5
LONGEST_INFO = 65_536
"""Bytes of an INFO line, which names all servers of a cluster."""
PERMISSIONS = "examples/cluster/permissions.conf"
SIGN_IN = ("user", "token", "user_credentials", "nkeys_seed")
"""The options of which one is there where there is something to sign in with."""
OFF_FOR_ACCOUNT = 10039
"""The code of JetStream's error where it is on, but not for the account."""


class ServerInfo(msgspec.Struct, kw_only=True):
    """What a server says of itself before one signs in."""

    version: str = ""
    auth_required: bool = False
    tls_required: bool = False
    tls_verify: bool = False

    @property
    def is_too_old(self) -> bool:
        """Whether it lacks what a cluster needs."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return found is None or (int(found[1]), int(found[2])) < OLDEST


class _Unfit(Exception):
    """Why one server cannot be used, with the way out."""


class _Refused(Exception):
    """What a server says, or the system, where a connection does not come about."""


async def check_servers(servers: Servers, options: Mapping[str, Any]) -> None:
    """Return once one of the servers can be used.

    Args:
        servers: where they are.
        options: what `nats.connect` is given: with what to sign in (`SIGN_IN`, `password`), `tls`,
            `inbox_prefix`.

    Raises:
        BrokerError: none can be used; the text has the reason of each.
    """
    reasons: list[str] = []
    for host, port in servers.hosts:
        place = written(host, port)
        try:
            info = await _hello(host, port, place)
            _check_info(info, place, wants_tls=servers.wants_tls)
            await _try(servers, options, info, (host, port))
        except _Unfit as exc:
            reasons.append(str(exc))
        else:
            return
    raise BrokerError("; ".join(dict.fromkeys(reasons)), code="DN801")


async def read_info(host: str, port: int) -> ServerInfo:
    """Return what a server says first.

    Raises:
        OSError: nothing answers there; a TimeoutError too.
        ValueError: what answers is no NATS server.
    """
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port, limit=LONGEST_INFO)
        try:
            line = await reader.readline()
        finally:
            writer.close()
    verb, _, info = line.partition(b" ")
    if verb != b"INFO":
        raise ValueError(verb)
    return msgspec.json.decode(info, type=ServerInfo)


async def _hello(host: str, port: int, place: str) -> ServerInfo:
    try:
        return await read_info(host, port)
    except TimeoutError:
        why = f"nothing answered within {WAIT_SECONDS:g} s"
    except socket.gaierror:
        why = "the name of the host is not known"
    except OSError as exc:
        # asyncio joins several addresses of one host to one error without a number: none took the connection
        why = os.strerror(exc.errno).lower() if exc.errno is not None else "connection refused"
    except ValueError:  # also a line that is too long, or no JSON
        raise _Unfit(
            f"what answers at {place} is no NATS server; its port is 4222 where none is set"
        ) from None
    raise _Unfit(f"no server answers at {place} ({why}); start one, such as with: nats-server --jetstream")


def _check_info(info: ServerInfo, place: str, *, wants_tls: bool) -> None:
    if info.is_too_old:
        raise _Unfit(
            f"the server at {place} is NATS {info.version[:32] or 'of an unknown version'}, and "
            f"{OLDEST[0]}.{OLDEST[1]} or later is needed; install it from https://nats.io/download"
        )
    if wants_tls and not info.tls_required:  # the client would go on in plain text, with the password
        raise _Unfit(
            f"the server at {place} does not ask for TLS, so a password would be sent as plain text; give it "
            "a tls block with certificates, or write nats:// where the network is your own"
        )


async def _try(
    servers: Servers, options: Mapping[str, Any], info: ServerInfo, address: tuple[str, int]
) -> None:
    """Sign in at one server, and look whether JetStream is there."""
    from nats.aio.client import Client

    place = written(*address)
    said: list[str] = []

    async def note(exc: Exception) -> None:
        said.append(str(exc))

    client = Client()
    try:
        await _sign_in(client, f"{'tls' if servers.wants_tls else 'nats'}://{place}", note, options)
        await _check_jetstream(client, place, said)
    except ssl.SSLError as exc:
        raise _Unfit(_tls_problem(exc, place)) from exc
    except _Refused as exc:
        raise _Unfit(_sign_in_problem(exc, info, options, place)) from exc
    finally:
        with suppress(TimeoutError):  # what is left of a TLS handshake that failed is never closed
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()


async def _sign_in(client: Client, url: str, note: ErrorCallback, options: Mapping[str, Any]) -> None:
    import nats

    try:
        async with asyncio.timeout(3 * WAIT_SECONDS):
            await client.connect(
                url,
                error_cb=note,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=WAIT_SECONDS,  # type: ignore[arg-type]  # it is given to wait_for
                name="dnworker first contact",
                **options,
            )
    except ssl.SSLError:
        raise
    except (OSError, nats.errors.Error) as exc:
        raise _Refused(str(exc).removeprefix("nats: ") or type(exc).__name__) from exc
    except Exception as exc:  # nkeys and PyNaCl have errors of their own for a key that is none
        raise _Unfit(
            f"the credentials cannot be used ({type(exc).__name__}); check the file of --creds"
        ) from exc


def _tls_problem(exc: ssl.SSLError, place: str) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server at {place} is not accepted ({exc.verify_message}); name the file "
            "of the CA that signed it: --broker-ca FILE"
        )
    return (
        f"TLS with the server at {place} fails ({exc.reason or 'no reason given'}); where it wants "
        "certificates of clients: --broker-cert FILE --broker-key FILE"
    )


def _sign_in_problem(exc: _Refused, info: ServerInfo, options: Mapping[str, Any], place: str) -> str:
    text = str(exc).lower()
    if "authorization" in text or "authentication" in text:
        if not any(options.get(name) for name in SIGN_IN):
            return (
                f"the server at {place} wants credentials; give --creds FILE, or NATS_USER and NATS_PASSWORD "
                "in the environment"
            )
        expired = "they have expired" if "expired" in text else "is the user known there?"
        return (
            f"the server at {place} refuses the credentials ({expired}); check the file, or user and password"
        )
    if info.tls_required and info.tls_verify:
        return (
            f"the server at {place} wants a certificate that it trusts: --broker-cert FILE --broker-key FILE"
        )
    return f"the server at {place} ended the connection ({text[:200]}); its log says why"


async def _check_jetstream(client: Client, place: str, said: list[str]) -> None:
    import nats
    from nats.js.errors import APIError, ServiceUnavailableError

    try:
        await client.jetstream(timeout=WAIT_SECONDS).account_info()
    except ServiceUnavailableError as exc:
        whose = " for this account" if exc.err_code == OFF_FOR_ACCOUNT else ""
        way = (
            "jetstream: enabled in its account"
            if whose
            else "nats-server --jetstream, or jetstream {} in its file"
        )
        raise _Unfit(f"the server at {place} runs without JetStream{whose}; turn it on: {way}") from exc
    except (APIError, nats.errors.Error) as exc:
        if any("permissions violation" in line for line in said):
            raise _Unfit(
                f"the user may not ask JetStream at {place} ($JS.API.INFO); give it the permissions "
                f"of {PERMISSIONS}"
            ) from exc
        raise _Unfit(
            f"JetStream of the server at {place} does not answer ({str(exc)[:200]}); in a cluster, most of "
            "its servers must run"
        ) from exc
