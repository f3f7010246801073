"""`attach`: connects the workers of this runtime to the events of another one."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from dnworker.attach.attachment import Attachment

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


async def attach(
    engine: Engine,
    url: str,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
    live: bool = False,
) -> Attachment:
    """Follow the events of the runtime at `url` with the workers of `engine`.

    Args:
        engine: of this process; it runs.
        url: http, https or unix address of the other runtime.
        token: its bearer token; by default that of the file, then of `DREADNODE_RUNTIME_TOKEN`.
        token_file: a file with the token.
        tls: how its certificate is checked; by default as `client_context` says.
        live: whether the clients of the workers are that runtime's; by default they write down what they
            would do, and change nothing there.

    Raises:
        UsageError: the address, the token, the protocol version; attached already, or to itself.
        RuntimeUnavailable: no runtime answers there.
    """
    raise NotImplementedError
