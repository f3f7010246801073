"""`Access`: who may start or stop a managed worker: one at a time, and nobody once it was replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from dnworker.core.errors import Conflict


class Accessed(Protocol):
    """A worker that others start and stop."""

    @property
    def qualified_name(self) -> str:
        """`capability:worker`."""


W = TypeVar("W", bound=Accessed)


class Retired(Conflict):
    """A worker was replaced or removed; `successor` is what runs in its place, if anything does."""

    code = "DN316"

    def __init__(self, worker: str, successor: Any) -> None:
        self.successor = successor
        why = "has been replaced" if successor is not None else "is no longer there, or the runtime stops"
        super().__init__(f"worker {worker!r} {why}")


class GaveWay(Exception):
    """A start was left out, because somebody waits to stop the worker."""


class Access(Generic[W]):
    """The lock of one worker, with two rules: starts give way to stops, and a retired worker is not started.

    Args:
        worker: whose it is.
    """

    def __init__(self, worker: W) -> None:
        self._worker = worker
        self._lock = asyncio.Lock()
        self._stops = 0
        """How many wait to stop it."""
        self._retirements = 0
        self._succession: asyncio.Future[W | None] | None = None
        """Set while, and after, somebody replaces the worker; gives what is in its place."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the lock, once nobody is about to replace the worker.

        Raises:
            Retired: it was replaced or removed.
        """
        while True:
            async with self._lock:
                if self._succession is None:
                    yield
                    return
            if (listed := await self.successor()) is not self._worker:
                raise Retired(self._worker.qualified_name, listed)

    @asynccontextmanager
    async def stopping(self) -> AsyncIterator[None]:
        """Hold the lock to stop the worker; starts that wait for it, or come next in a restart, give way."""
        self._stops += 1
        try:
            async with self._lock:
                yield
        finally:
            self._stops -= 1

    def give_way(self) -> None:
        """Check that nobody waits to stop the worker.

        Raises:
            GaveWay: somebody does.
        """
        if self._stops:
            raise GaveWay

    @property
    def is_taken(self) -> bool:
        """Whether somebody starts or stops the worker at the moment."""
        return self._lock.locked()

    @property
    def is_retired(self) -> bool:
        """Whether it was replaced or removed, or is about to be."""
        return self._succession is not None

    async def successor(self) -> W | None:
        """Return what is in the worker's place, once that is known: itself, another, or nothing."""
        return self._worker if self._succession is None else await asyncio.shield(self._succession)

    def retire(self) -> None:
        """Let nobody start the worker, not even who waits to do so already; `settle` must follow."""
        if self._succession is None or self._succession.done():
            self._succession = asyncio.get_running_loop().create_future()
        self._retirements += 1

    def settle(self, listed: W | None) -> None:
        """Say what is in its place by now, after `retire`: who waits goes on with that."""
        self._retirements -= 1
        if self._retirements or self._succession is None:
            return  # somebody else replaces it, too, and says so at last
        succession = self._succession
        if listed is self._worker:
            self._succession = None
        succession.set_result(listed)

    def reinstate(self) -> None:
        """Let it be started again after it was retired, and is back in its place."""
        if not self._retirements:
            self._succession = None
