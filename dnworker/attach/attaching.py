"""`attach`: connects the workers of this runtime to the events of another one."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnworker.attach.attachment import Attachment
from dnworker.attach.handshake import Greeting, connection_to, greet, is_attached_to
from dnworker.core.errors import UsageError

if TYPE_CHECKING:
    from dnworker.client.http import HttpConnection
    from dnworker.engine.engine import Engine


async def attach(
    engine: Engine,
    url: str,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
    live: bool = False,
    counterparts: Mapping[str, str] | None = None,
) -> Attachment:
    """Follow the events of the runtime at `url` with the workers of `engine`.

    Args:
        engine: of this process; it runs.
        url: http, https or unix address of the other runtime.
        token: its bearer token; by default that of the file, then of `DREADNODE_RUNTIME_TOKEN`, which
            goes only to this machine and to the address that the environment names.
        token_file: a file with the token.
        tls: how its certificate is checked; by default as `client_context` says.
        live: whether the clients of the workers are that runtime's; by default they write down what they
            would do, and change nothing there.
        counterparts: names of deployed workers, `capability:worker` or the worker alone, by those of workers
            here, `capability:worker`, where they differ.

    Raises:
        UsageError: the address, the token, the protocol version; attached already, or to itself; nothing
            is compared with counterparts.
        RuntimeUnavailable: no runtime answers there.
    """
    _check_free(engine)
    connection = connection_to(url, token=token, token_file=token_file, tls=tls)
    try:
        greeting = await greet(connection)
        _check_other(engine, connection, greeting)
        _check_free(engine)  # another may have attached meanwhile
        attachment = Attachment(engine, connection, greeting, live=live)
        attachment.compare_with(counterparts or {})
        await _check_no_ring(engine, connection)
        _check_free(engine)
        attachment.begin()
    except BaseException:
        await connection.close()
        raise
    await _stay(engine, connection, attachment)
    return attachment


async def _stay(engine: Engine, connection: HttpConnection, attachment: Attachment) -> None:
    """Detach again where the other runtime has attached to this one at the same moment, and raise."""
    try:
        await _check_no_ring(engine, connection)
    except BaseException:
        await attachment.detach()
        raise


def _check_other(engine: Engine, connection: HttpConnection, greeting: Greeting) -> None:
    if greeting.identity.runtime_id == engine.runtime_id or connection.server_url == engine.url:
        raise UsageError(
            f"{connection.server_url} is this runtime itself; name the address of another one",
            code="DN942",
        )


async def _check_no_ring(engine: Engine, connection: HttpConnection) -> None:
    if await is_attached_to(connection, engine.runtime_id):
        raise UsageError(
            f"{connection.server_url} is attached to this runtime, and each event would go round for ever; "
            "detach it there first",
            code="DN942",
        )


def _check_free(engine: Engine) -> None:
    if not engine.is_started:
        raise UsageError("this runtime does not run; start it before it is attached to another", code="DN942")
    if (other := engine.attachment) is not None:
        raise UsageError(f"this runtime is attached to {other.url}; detach it first", code="DN942")
