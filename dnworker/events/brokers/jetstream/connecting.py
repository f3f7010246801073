"""`connect`: a connection to a server that has what the broker needs, with its stream and its bucket."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors

from dnworker.core.errors import BrokerError
from dnworker.core.task_ends import end_tasks
from dnworker.events.brokers.jetstream.api import (
    NAME_IN_USE,
    Api,
    Away,
    Refused,
    StreamInfo,
    nanoseconds,
    stream_info,
    utc_now,
    why,
)
from dnworker.events.brokers.jetstream.client import NodeClient
from dnworker.events.brokers.jetstream.first_contact import PERMISSIONS, check_servers
from dnworker.events.brokers.jetstream.names import Names
from dnworker.events.brokers.jetstream.servers import parse_servers

log = logging.getLogger("dnworker.broker")

FORMAT = "1"
"""What is in the metadata of stream and bucket; another number is that of another version of dnworker."""

MAX_AGE = timedelta(days=7)
MAX_BYTES = 1024 * 1024 * 1024
"""Bounds of a stream that nobody set; the server sets the bytes aside at once."""

DUPLICATE_SECONDS = 120.0
"""Seconds for which the server knows what was published, four times as long as publishing is tried."""

MARKER_SECONDS = 60
"""Seconds for which the server keeps a note that a value has ended."""

CONNECT_SECONDS = 10.0
"""Seconds in which one of the servers must take the first connection."""

CLOSE_SECONDS = 5.0
"""Seconds in which the connection must have ended, before it is given up."""

LEADER_SECONDS = 12.0
"""Seconds for which a stream is asked for again that does not answer: servers choose who leads it."""

RECONNECT_SECONDS = 0.5
PING_SECONDS = 5
"""Seconds between attempts to connect again, and between the questions whether the other side is there."""

PENDING_BYTES = 64_000_000
"""Bytes that wait in memory for the connection."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Which server, and how to get in; what is secret is not shown."""

    servers: tuple[str, ...]
    """Addresses such as `nats://host:4222`, of servers that are one cluster."""
    namespace: str = "default"
    node: str = "node"
    """The name of this runtime."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    creds: Path | None = None
    """A file with a user's JWT and key."""
    nkey: Path | None = None
    """A file with the seed of a key."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """With what a server's certificate is checked; by default the authorities of this machine."""
    replicas: int | None = None
    """Servers that keep each event; by default three where the server is one of several, else one."""
    max_age: timedelta = MAX_AGE
    max_bytes: int = MAX_BYTES

    @property
    def connect_options(self) -> dict[str, Any]:
        """What the client is given to get in.

        Answers come to subjects of the namespace, so that no other user may read them.
        """
        options: dict[str, Any] = {
            "inbox_prefix": f"_INBOX.dnw.{self.namespace}",
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "user_credentials": None if self.creds is None else str(self.creds),
            "nkeys_seed": None if self.nkey is None else str(self.nkey),
            "tls": self.tls,
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def wants_tls(self) -> bool:
        """Whether nothing may be sent as plain text."""
        return any(server.startswith("tls://") for server in self.servers)

    @property
    def address(self) -> str:
        """The servers, without what is secret in them."""
        return ", ".join(masked(server) for server in self.servers)


def masked(address: str) -> str:
    """Return an address without its user and password."""
    return re.sub(r"//[^/@]*@", "//***@", address)


class Connected:
    """A connection, and what it is connected to; says in the log when it is lost, and when it is back."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.names = Names(settings.namespace)
        self.client = NodeClient(wants_tls=settings.wants_tls)
        self.api = Api(self.client)
        self.events: StreamInfo
        """The stream of events, as it was when this was connected."""
        self.values: StreamInfo
        """The stream behind the bucket, as it was then."""
        self.failure: str | None = None
        """Why the server is not reached now."""
        self.on_back: list[Callable[[], None]] = []
        """Called when the connection is there again."""
        self.last_error: BaseException | None = None
        self.is_closing = False

    @property
    def replicas(self) -> int:
        """How many servers keep each event."""
        return self.events.replicas

    @property
    def largest(self) -> int:
        """Bytes of headers and data that the server takes at once."""
        return self.client.max_payload

    async def note_error(self, exc: Exception) -> None:
        """Remember what went wrong last; the log has one line when the connection is lost."""
        self.last_error = exc
        log.debug("%s: %s", self.settings.address, why(exc))

    async def note_lost(self) -> None:
        """Say that the connection is lost."""
        self.api.note_lost()
        self.client.forget_unsent()
        if not self.is_closing:
            self.failure = (
                f"{self.settings.address} is away since {utc_now()}; "
                "what is published waits for it up to 30 s, what was given to workers goes on"
            )
            log.error("%s", self.failure)

    async def note_back(self) -> None:
        """Say that it is there again."""
        if self.is_closing:
            return
        self.failure = None
        log.warning("%s is there again", self.settings.address)
        for back in [*self.on_back]:
            back()

    async def note_closed(self) -> None:
        """Say that the client has given up, which it does where it may not get in any more."""
        if not self.is_closing:
            reason = f" ({why(self.last_error)})" if self.last_error else ""
            self.failure = (
                f"{self.settings.address} has ended the connection for good{reason}; "
                "see to the credentials, and restart this node"
            )
            log.error("%s", self.failure)

    async def close(self) -> None:
        """End the connection; what it was given to send is sent where that is possible at once."""
        self.is_closing = True
        if not self.client.is_closed:
            # In a task of its own: a server may stand still, and the client swallows cancellations.
            closing = asyncio.get_running_loop().create_task(
                self._close(), name="dnworker closes a connection"
            )
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
            await end_tasks(closing, within=1)

    async def _close(self) -> None:
        try:
            await self.client.close()
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            log.debug("%s: the connection did not end well: %s", self.settings.address, why(exc))


async def connect(settings: ServerSettings) -> Connected:
    """Return a connection to a server whose stream and bucket are there.

    Raises:
        BrokerError: there is none; names the server and the way out, and nothing secret.
    """
    await check_servers(parse_servers(",".join(settings.servers)), settings.connect_options)
    connected = Connected(settings)
    try:
        await _connect(connected)
        connected.events = await ensure(connected, _events_config(connected), keep="events")
        connected.values = await ensure(connected, _store_config(connected), keep="values")
    except BaseException:
        await connected.close()
        raise
    return connected


async def _connect(connected: Connected) -> None:
    settings = connected.settings
    try:
        await asyncio.wait_for(
            connected.client.connect(
                servers=[*settings.servers],
                name=f"dnworker {settings.namespace} {settings.node}",
                error_cb=connected.note_error,
                disconnected_cb=connected.note_lost,
                reconnected_cb=connected.note_back,
                closed_cb=connected.note_closed,
                connect_timeout=3,
                reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # slept as it is
                max_reconnect_attempts=1,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES,
                skip_subject_validation=True,
                **settings.connect_options,
            ),
            CONNECT_SECONDS,
        )
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as exc:
        cause = connected.last_error if isinstance(exc, nats.errors.NoServersError) else exc
        raise BrokerError(
            f"no NATS server takes a connection at {settings.address} ({why(cause or exc)}); "
            "start one (nats-server -js), or name another",
            code="DN801",
        ) from None
    connected.client.options["max_reconnect_attempts"] = -1  # from now on it never gives up


async def _find_or_make(connected: Connected, config: dict[str, Any]) -> StreamInfo:
    name, api = config["name"], connected.api
    found = await api.info(name)
    if found is not None:
        return found
    try:
        return await _create(connected, config)
    except Refused as exc:
        if exc.number != NAME_IN_USE or (found := await api.info(name)) is None:
            raise
        return found


async def ensure(connected: Connected, config: dict[str, Any], *, keep: str) -> StreamInfo:
    """Return a stream that is there, made now if it was not.

    Args:
        connected: the server.
        config: what it is like, without what is the same for all of ours.
        keep: what it has, for errors.

    Raises:
        BrokerError: the server does not keep it, or it is not ours.
    """
    config = config | {"metadata": {"dnworker": FORMAT}}
    end = asyncio.get_running_loop().time() + LEADER_SECONDS
    while True:
        try:
            found = await _find_or_make(connected, config)
            break
        except BrokerError as exc:
            is_denied = "permissions violation" in str(connected.last_error)
            if not isinstance(exc, Away) or is_denied or asyncio.get_running_loop().time() > end:
                raise BrokerError(
                    f"{connected.settings.address} keeps no {keep} for the namespace "
                    f"{connected.settings.namespace} ({exc}); {_way_out(connected)}",
                    code="DN805",
                ) from None
        await asyncio.sleep(RECONNECT_SECONDS)
    made_by = (found.config.get("metadata") or {}).get("dnworker")
    if made_by != FORMAT:
        raise BrokerError(
            f"the namespace {connected.settings.namespace} at {connected.settings.address} is used by "
            f"{'something else' if made_by is None else f'another version of dnworker (format {made_by})'}; "
            "take another --namespace",
            code="DN803",
        )
    return found


def _way_out(connected: Connected) -> str:
    if "permissions violation" in str(connected.last_error):
        return f"this user lacks permissions of the namespace: those of {PERMISSIONS}"
    return "see to the limits of the server and of the account"


async def _create(connected: Connected, config: dict[str, Any]) -> StreamInfo:
    told = connected.settings.replicas
    is_one_of_several = "cluster" in connected.client._server_info
    if told is not None or not is_one_of_several:
        return await _create_with(connected, config, told or 1)
    try:
        return await _create_with(connected, config, 3)
    except Refused as exc:
        log.warning("%s is kept by one server only: %s", config["name"], exc)
        return await _create_with(connected, config, 1)


async def _create_with(connected: Connected, config: dict[str, Any], replicas: int) -> StreamInfo:
    return stream_info(
        await connected.api.ask(f"STREAM.CREATE.{config['name']}", config | {"num_replicas": replicas})
    )


def _events_config(connected: Connected) -> dict[str, Any]:
    settings, names = connected.settings, connected.names
    return {
        "name": names.events,
        "subjects": [names.all_events],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": nanoseconds(settings.max_age.total_seconds()),
        "max_bytes": settings.max_bytes,
        "duplicate_window": nanoseconds(min(DUPLICATE_SECONDS, settings.max_age.total_seconds())),
    }


def _store_config(connected: Connected) -> dict[str, Any]:
    names = connected.names
    return {
        "name": names.store,
        "subjects": [f"{names.bucket}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": nanoseconds(MARKER_SECONDS),
        "duplicate_window": nanoseconds(DUPLICATE_SECONDS),
    }
