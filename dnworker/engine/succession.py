"""`replacing`: retires workers while what is loaded changes, and says then what runs in their places.

`capabilities` and `own` use it for every change. Who waits for such a worker, to restart it say, goes on with
its successor, or is refused: an old worker never starts beside the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol

from dnworker.core.listeners import Listeners
from dnworker.engine.capability import Capability
from dnworker.workers.managed import ManagedWorker


class StopsServers(Protocol):
    """Disconnects from MCP servers while what declares them changes."""

    def stopped(self, capability: str | None = None) -> AbstractAsyncContextManager[None]:
        """Disconnect from those of a capability, or from all; connect to what is declared after the body."""


class LeavesServers:
    """Stands where no runtime connects to servers."""

    def stopped(self, capability: str | None = None) -> AbstractAsyncContextManager[None]:
        """Do nothing."""
        del capability
        return nullcontext()


@asynccontextmanager
async def replacing(
    workers: Iterable[ManagedWorker], find: Callable[[ManagedWorker], ManagedWorker | None]
) -> AsyncIterator[None]:
    """Stop workers, and let nobody start them while the body changes what is listed.

    After the body, `find` is asked what is in the place of each: those that are there still may be started
    again, and all others have a successor, or none. That holds, too, where the stop or the body raises. The
    body must not wait for something that may wait for one of these workers.
    """
    retired = [*workers]
    for worker in retired:
        worker.retire()
    try:
        await asyncio.gather(*(worker.halt() for worker in retired))
        yield
    finally:
        for worker in retired:
            worker.settle(find(worker))


def in_place_of(listed: Mapping[str, Capability], worker: ManagedWorker) -> ManagedWorker | None:
    """Return the worker that is listed in the place of one: itself, or that of its name; None without one.

    A capability from disk may have another name after a reload; its directory is the same.
    """
    home = next((one for one in listed.values() if one is worker.home), None)
    if home is None:
        home = next((c for c in listed.values() if not c.live and c.root == worker.home.root), None)
    home = home or listed.get(worker.capability)
    return None if home is None else home.workers.get(worker.name)


class Succession:
    """Replaces workers of what is listed.

    Args:
        listed: the capabilities by name, as they are at any time.
    """

    def __init__(self, listed: Mapping[str, Capability]) -> None:
        self._listed = listed
        self.replaced: Listeners[[Iterable[str]]] = Listeners()
        """Called with the names of workers that were replaced or removed."""

    @asynccontextmanager
    async def of(self, workers: Iterable[ManagedWorker]) -> AsyncIterator[None]:
        """Stop workers, and let what the body lists in their places succeed them."""
        retired = [*workers]
        async with replacing(retired, lambda worker: in_place_of(self._listed, worker)):
            yield
        self.replaced.notify([worker.qualified_name for worker in retired])
