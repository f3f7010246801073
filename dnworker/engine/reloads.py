"""`Reloads`: changes what is loaded, one change at a time; the engine reloads, loads and unloads by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dnworker.core.causes import because
from dnworker.core.errors import Conflict
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.engine.progress import Progress
from dnworker.events.bus import EventBus

T = TypeVar("T")

_ANOTHER = object()
"""The scope of a change that is no reload."""


class Reloads:
    """Runs each change in a task of its own, so a handler that asks for one may be stopped by it.

    Args:
        capabilities: what is reloaded.
        progress: notes when a reload begins and ends.
        bus: where `capabilities.reloaded` is published.
        on_change: called when a reload begins, and when it has ended.
    """

    def __init__(
        self,
        capabilities: CapabilityCollection,
        progress: Progress,
        bus: EventBus,
        on_change: Callable[[], None],
    ) -> None:
        self._capabilities = capabilities
        self._progress = progress
        self._bus = bus
        self._on_change = on_change
        self._task: asyncio.Task[Any] | None = None
        self._scope: object = None
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        """Whether a reload is under way."""
        return self._scope is not _ANOTHER and self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether what is loaded changes at the moment."""
        return self._task is not None and not self._task.done()

    async def reload(self, capability: str | None = None) -> None:
        """Reload one capability, or all; a request for the same during a reload waits for that one.

        Any other request waits for its turn.

        Raises:
            NotFound: there is no such capability.
            Conflict: the runtime stops.
        """
        self._check_open()
        if capability is not None:
            self._capabilities.get(capability)
        running, scope = self._task, self._scope
        if running is not None and not running.done():
            if scope == capability:
                await asyncio.shield(running)
                return
            await asyncio.wait({running})
            await self.reload(capability)
            return
        self._scope = capability
        self._task = asyncio.create_task(self._reload(capability), name="dnworker reload")
        self._task.add_done_callback(lambda _: self._on_change())
        self._on_change()
        await asyncio.shield(self._task)

    async def alone(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run another change of what is loaded while no reload and no other such change runs.

        It goes on when its caller is cancelled.

        Raises:
            Conflict: the runtime stops.
            Exception: whatever the change raises.
        """
        while self._task is not None and self.is_busy:
            await asyncio.wait({self._task})
        self._check_open()
        self._scope = _ANOTHER
        task = self._task = asyncio.create_task(change(), name="dnworker change of capabilities")
        return await asyncio.shield(task)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Conflict(
                "the runtime is stopping, or has stopped; nothing is loaded or reloaded", code="DN302"
            )

    def open(self) -> None:
        """Allow changes again after `close`."""
        self._is_closed = False

    async def close(self) -> None:
        """End the change that is under way, if one is, and refuse those that wait or come."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def announce(self, capability: str | None = None) -> None:
        """Publish `capabilities.reloaded`: of one capability, or of all."""
        scope: dict[str, Any] = {} if capability is None else {"capability": capability}
        count = sum(one.failure is None for one in self._capabilities.all())
        self._bus.publish("capabilities.reloaded", {"capability_count": count, **scope})
        self._on_change()

    async def _reload(self, capability: str | None) -> None:
        self._progress.reload_begins()
        try:
            with because("Reloaded"):
                if capability is None:
                    await self._capabilities.reload()
                else:
                    await self._capabilities.reload_one(capability)
        finally:
            self._progress.reload_ends()
        self.announce(capability)
