"""Runs coroutines on a virtual clock, as a runtime does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from dnworker.core.clock import VirtualClock, current_clock, turn_loop


@dataclass(frozen=True)
class Event:
    """What a handler gets."""

    event_id: int
    session_id: str = "s"


@dataclass
class Stage:
    """A clock, and the handlers that run by it."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def give(self, handler: Callable[..., Awaitable[Any]], event: Event) -> asyncio.Task[Any]:
        """Start a handler for an event."""
        task = asyncio.create_task(handler(event, None), name=f"event {event.event_id}")
        self.tasks.append(task)
        return task

    async def advance(self, seconds: float) -> None:
        """Let time go by."""
        await self.clock.advance(seconds)

    async def stop(self) -> None:
        """Cancel every handler in one step and wait for them, as a worker that stops does."""
        running = [task for task in self.tasks if not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scene on a loop of its own; nothing of it may be left."""

    async def run() -> None:
        stage = Stage()
        current_clock.set(stage.clock)
        await scene(stage)
        await stage.stop()
        await turn_loop()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        with contextlib.suppress(IndexError):
            raise AssertionError(f"left behind: {left.pop()}")

    asyncio.run(run())
