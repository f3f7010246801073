"""Reloads a capability when its files change on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import DefaultFilter, awatch

from dnworker.errors import DnworkerError

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.watch")

SETTLE_MS = 300
"""How long files must be still before a reload: editors write in several steps."""


async def watch(runtime: Runtime, stop: asyncio.Event | None = None) -> None:
    """Watch the runtime's capabilities, and reload what changes, until `stop` is set.

    A change within one capability reloads that one; a capability that comes or goes in a searched directory
    reloads all.
    """
    while stop is None or not stop.is_set():
        watched = {
            root for root in [*runtime.capabilities.roots, *runtime.capabilities.directories] if root.is_dir()
        }
        if not watched:
            return
        async for changes in awatch(
            *watched, stop_event=stop, watch_filter=DefaultFilter(), step=SETTLE_MS, recursive=True
        ):
            names = affected(runtime, (Path(path) for _, path in changes))
            for name in [None] if None in names else sorted(n for n in names if n is not None):
                log.info("%s changed on disk; reloading", name or "the set of capabilities")
                try:
                    await runtime.reload(name)
                except (
                    DnworkerError,
                    OSError,
                ) as exc:  # it went while it was looked at; the next change tells
                    log.error("%s could not be reloaded: %s", name or "the set of capabilities", exc)
            if watched != {*runtime.capabilities.roots, *runtime.capabilities.directories}:
                break  # watch what there is now


def affected(runtime: Runtime, paths: Iterable[Path]) -> set[str | None]:
    """Return the names of the capabilities that the paths lie in; None for a path in none of them."""
    roots = {
        capability.root: capability.name for capability in runtime.capabilities.all() if not capability.live
    }
    return {next((name for root, name in roots.items() if path.is_relative_to(root)), None) for path in paths}
