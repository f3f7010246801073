"""`Reloads`: reads capabilities from disk again, one reload at a time; the engine's `reload` uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dnworker.engine.capabilities import CapabilityCollection
from dnworker.engine.progress import Progress
from dnworker.events.bus import EventBus


class Reloads:
    """Runs each reload in a task of its own, so a handler that asks for one may be stopped by it.

    Args:
        capabilities: what is reloaded.
        progress: notes when a reload begins and ends.
        bus: where `capabilities.reloaded` is published.
        on_done: called after each reload.
    """

    def __init__(
        self,
        capabilities: CapabilityCollection,
        progress: Progress,
        bus: EventBus,
        on_done: Callable[[], None],
    ) -> None:
        self._capabilities = capabilities
        self._progress = progress
        self._bus = bus
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._scope: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether a reload is under way."""
        return self._task is not None and not self._task.done()

    async def reload(self, capability: str | None = None) -> None:
        """Reload one capability, or all; a request for the same during a reload waits for that one.

        Any other request waits for its turn.

        Raises:
            NotFound: there is no such capability.
        """
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
        await asyncio.shield(self._task)

    async def cancel(self) -> None:
        """End the reload that is under way, if one is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _reload(self, capability: str | None) -> None:
        self._progress.reload_begins()
        scope: dict[str, Any] = {} if capability is None else {"capability": capability}
        try:
            if capability is None:
                count = await self._capabilities.reload()
            else:
                count = await self._capabilities.reload_one(capability)
        finally:
            self._progress.reload_ends()
        self._bus.publish("capabilities.reloaded", {"capability_count": count, **scope})
        self._on_done()
