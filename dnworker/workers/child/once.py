"""Hands each event once to workers of the reference's SDK; `sitecustomize` installs it in worker processes.

After its socket broke, the SDK does not say which event it had last. Our runtime sends again what may not
have arrived, and what did arrive is dropped here: within one iterator of `RuntimeClient.subscribe`, no event
comes whose `seq` is not higher than that of the one before. It uses the standard library only: the
environment is not ours.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import AsyncIterator
from importlib.abc import MetaPathFinder
from typing import Any

MODULE = "dreadnode.app.client.runtime_client"
RECONNECTED, RESUMED = "transport.reconnected", "transport.resumed"


class Hook(MetaPathFinder):
    """Waits for the SDK's client module, and wraps its client when it comes."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> Any:
        """Find the real module, and have it wrapped once it is executed."""
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            client = getattr(module, "RuntimeClient", None)
            if hasattr(client, "subscribe"):
                wrap(client)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


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


def install() -> None:
    """Wait for the SDK."""
    sys.meta_path.insert(0, Hook())
