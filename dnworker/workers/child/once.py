"""Hands each event once, and at once, to workers of the reference's SDK; `sitecustomize` installs it.

After its socket broke, the SDK does not say which event it had last. Our runtime sends again what may not
have arrived, and what did arrive is dropped here: within one iterator of `RuntimeClient.subscribe`, no event
comes whose `seq` is not higher than that of the one before.

Around every handler the SDK asks the runtime to group its sessions, by a request whose answer is always that
there are no groups here. A thousand events at once are a thousand requests, which take its HTTP library
minutes: they are left out (contract 13.16). It uses the standard library only: the environment is not ours.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

MODULE = "dreadnode.app.client.runtime_client"
RECONNECTED, RESUMED = "transport.reconnected", "transport.resumed"


def wrap(client_class: Any) -> None:
    """Have every client of this class give each event once."""
    subscribe = client_class.subscribe

    @functools.wraps(subscribe)
    async def once(client: Any, *kinds: str) -> AsyncIterator[Any]:
        events = subscribe(client, *kinds)
        newest, has_reconnected = 0, False
        try:
            async for event in events:
                if event.kind == RECONNECTED and not event.seq:
                    has_reconnected = True
                elif has_reconnected:
                    has_reconnected = False
                    if event.kind != RESUMED:
                        newest = 0  # a stream that begins anew, perhaps of another runtime
                if event.seq:
                    if event.seq <= newest:
                        continue
                    newest = event.seq
                yield event
        finally:
            await events.aclose()

    client_class.subscribe = once


def leave_out_groups(client_class: Any) -> None:
    """Have clients of the runtime that started this process ask it for no groups: it has none."""
    session_group = client_class.session_group
    ours = os.environ.get("DREADNODE_RUNTIME_URL", "").rstrip("/")

    @functools.wraps(session_group)
    def group(client: Any, *args: Any, **fields: Any) -> Any:
        if getattr(client, "server_url", None) == ours:
            return contextlib.nullcontext()
        return session_group(client, *args, **fields)

    client_class.session_group = group


def install(when_imported: Callable[[str, Callable[[Any], None]], object]) -> None:
    """Wait for the SDK's client module, and wrap its client when it comes."""
    when_imported(MODULE, wrap_module)


def wrap_module(module: Any) -> None:
    """Wrap what there is of the client."""
    client = getattr(module, "RuntimeClient", None)
    if hasattr(client, "subscribe"):
        wrap(client)
    if hasattr(client, "session_group"):
        leave_out_groups(client)
