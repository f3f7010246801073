"""`greet`: what is at an address, before anything is attached to it; each refusal is one line."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from dnworker.attach.facts import RuntimeKind
from dnworker.client.address import checked_url
from dnworker.client.http import HttpConnection
from dnworker.client.tokens import is_meant_for, token_in, way_to_token
from dnworker.client.unreachable import unreachable
from dnworker.core.errors import Invalid, RuntimeUnavailable, UsageError
from dnworker.core.text import shorten

READY_SECONDS = 15.0
"""Seconds until a runtime there must be ready."""

ANSWER_SECONDS, ANSWER_BYTES = 15.0, 64_000_000
"""Seconds until it must have answered a request, and bytes of an answer."""

API_MAJOR = "1"
"""The first part of the version of the API that is spoken here."""


@dataclass(frozen=True)
class Identity:
    """By what one run of a runtime is told from its next one."""

    runtime_id: str | None
    started: tuple[tuple[str, float], ...]
    """When it reached the stages of its start, in seconds of its own."""


@dataclass(frozen=True)
class Greeting:
    """What a runtime says of itself."""

    kind: RuntimeKind
    identity: Identity
    version: str
    has_envelopes: bool
    """Whether it gives recorded events as a whole, so that none is missed after a lost connection."""
    latest_seq: int
    """The number of its newest event, where it says so; else 0."""
    latest_id: str | None = None
    """The id of that event, by which another run that counts as far is told from this one."""


def connection_to(
    url: str,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> HttpConnection:
    """Return a connection to the runtime at an address; nothing is sent yet.

    Raises:
        UsageError: the address is none, or the file of the token cannot be read.
    """
    try:
        address = checked_url(url, "the URL to attach to")
    except Invalid as exc:
        raise UsageError(str(exc), code="DN940") from exc
    if "@" in urlsplit(address).netloc:
        raise UsageError(
            "the URL to attach to has a user or a password, which no runtime asks for; leave it out, and "
            "give the token with --token-file FILE",
            code="DN940",
        )
    if token is None and token_file is not None:
        token = token_in(token_file, "--token-file")
    return HttpConnection(address, auth_token=token, tls=tls, environment_token=is_meant_for(address))


async def read_json(connection: HttpConnection, path: str, query: dict[str, Any] | None = None) -> Any:
    """Return the JSON of an answer, which is bounded in bytes and time.

    Raises:
        TimeoutError, RuntimeUnavailable: it takes too long, or is too large.
        httpx.HTTPError, msgspec.MsgspecError: it is a refusal, does not come, or is no JSON.
    """
    raw = await connection.read(path, query or {}, most=ANSWER_BYTES, seconds=ANSWER_SECONDS)
    return msgspec.json.decode(raw)


async def greet(connection: HttpConnection) -> Greeting:
    """Return what a runtime says of itself.

    Raises:
        RuntimeUnavailable: none answers there.
        UsageError: what answers is no runtime, refuses the token, or speaks another version of the API.
    """
    url = connection.server_url
    try:
        async with asyncio.timeout(READY_SECONDS):
            await connection.start()
    except TimeoutError:
        raise RuntimeUnavailable(f"the runtime at {url} was not ready within {READY_SECONDS:g} s") from None
    health = await _get(connection, "/api/health")
    version = health.get("version") if isinstance(health, dict) else None
    if not isinstance(version, str):
        raise UsageError(_no_runtime(url, "/api/health", health), code="DN941")
    if version.partition(".")[0] != API_MAJOR:
        raise UsageError(
            f"{url} speaks version {shorten(version, 20)} of the API, and this dnworker version {API_MAJOR}; "
            "attach with a dnworker of that version",
            code="DN941",
        )
    info = await _get(connection, "/api/runtime")
    if not isinstance(info, dict) or not isinstance(info.get("capabilities"), list):
        raise UsageError(_no_runtime(url, "/api/runtime", info), code="DN941")
    is_ours = "limits" in info
    latest = await _latest(connection) if is_ours else None
    return Greeting(
        kind="dnworker" if is_ours else "reference",
        identity=_identity(health, info),
        version=shorten(str(info.get("version")), 40),
        has_envelopes=latest is not None,
        latest_seq=0 if latest is None else latest[0],
        latest_id=None if latest is None else latest[1],
    )


async def is_attached_to(connection: HttpConnection, runtime_id: str) -> bool:
    """Return whether a runtime gets the events of the named one: each would get its own back, without an end.

    Raises:
        UsageError, RuntimeUnavailable: as of `greet`.
    """
    info = await _get(connection, "/api/runtime")
    return isinstance(info, dict) and info.get("attached_to") == runtime_id


async def identity_of(connection: HttpConnection) -> Identity:
    """Return which run of which runtime answers now.

    Raises:
        UsageError, RuntimeUnavailable: as of `greet`.
    """
    return _identity(await _get(connection, "/api/health"), await _get(connection, "/api/runtime"))


def _identity(health: object, info: object) -> Identity:
    runtime_id = info.get("runtime_id") if isinstance(info, dict) else None
    # A runtime of ours has an id of its own in each run, and reaches its stages again with each reload.
    started = () if isinstance(info, dict) and "limits" in info else _started(health)
    return Identity(runtime_id if isinstance(runtime_id, str) else None, started)


async def _latest(connection: HttpConnection) -> tuple[int, str | None] | None:
    """Return number and id of the newest event; None of a runtime that gives no recorded events.

    Raises:
        UsageError, RuntimeUnavailable: as of `greet`.
    """
    try:
        answer = await _get(connection, "/api/history/envelopes", {"last": 1, "limit": 1, "noise": "true"})
    except _Lacking:
        return None
    latest = answer.get("latest_seq") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(latest, int):
        return None
    found = answer.get("envelopes")
    newest = found[-1] if isinstance(found, list) and found and isinstance(found[-1], dict) else {}
    event_id = newest.get("event_id")
    return latest, event_id if newest.get("seq") == latest and isinstance(event_id, str) else None


class _Lacking(UsageError):
    """The runtime has no such endpoint."""


async def _get(connection: HttpConnection, path: str, query: dict[str, Any] | None = None) -> Any:
    url = connection.server_url
    try:
        return await read_json(connection, path, query)
    except TimeoutError:
        raise RuntimeUnavailable(f"{url}{path} has not answered within {ANSWER_SECONDS:g} s") from None
    except httpx.HTTPStatusError as exc:
        raise _refused(url, path, exc) from exc
    except httpx.TransportError as exc:
        raise unreachable(url, exc) from exc
    except msgspec.MsgspecError as exc:
        raise UsageError(_no_runtime(url, path, "no JSON"), code="DN941") from exc


def _refused(url: str, path: str, exc: httpx.HTTPStatusError) -> Exception:
    status = exc.response.status_code
    if status == 401:
        refused = f"{url} does not accept the token; name the file of its own with --token-file FILE"
        had_one = "authorization" in exc.request.headers
        return UsageError(refused if had_one else way_to_token(url), code="DN904")
    if status == 403:
        return UsageError(
            f"{url} lets this token not read {path}; attach with a token of its operator", code="DN905"
        )
    if status in (404, 405):
        return _Lacking(_no_runtime(url, path, f"status {status}"), code="DN941")
    return UsageError(shorten(f"{url} refuses {path}: {exc}", 300), code="DN941")


def _no_runtime(url: str, path: str, answer: object) -> str:
    said = shorten(repr(answer) if not isinstance(answer, str) else answer, 60)
    return (
        f"{url} is no runtime of dnworker or the SDK: {path} answers {said}; is it another server's address?"
    )


def _started(health: object) -> tuple[tuple[str, float], ...]:
    timings = health.get("timings") if isinstance(health, dict) else None
    if not isinstance(timings, dict):
        return ()
    return tuple(sorted((str(k), float(v)) for k, v in timings.items() if isinstance(v, int | float)))
