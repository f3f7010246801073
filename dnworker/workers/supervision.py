"""`Supervision`: keeps `@worker.task` handlers running, with backoff; a part of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from dnworker.core.clock import Clock
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import ALIVE, Lifecycle
from dnworker.core.schedule import STABLE_AFTER, Backoff
from dnworker.workers.invoker import Invoker
from dnworker.workers.registry import HandlerRegistry, Registered, tasks_of

ALL_TASKS_CRASHED = "All tasks crashed"

AT_ONCE = 1.0
"""Seconds within which a task that ends has probably not been meant as one."""


class _Supervised(msgspec.Struct, eq=False):
    """One `@worker.task` and how its restarts stand."""

    handler: Any
    keeper: asyncio.Task[None] | None = None
    running: asyncio.Task[Any] | None = None
    """The run that is under way."""
    backoff: Backoff = msgspec.field(default_factory=Backoff)
    running_since: float | None = None

    def is_exhausted(self, now: float) -> bool:
        stable = self.running_since is not None and now - self.running_since >= STABLE_AFTER
        return self.backoff.exhausted and not stable


class Supervision:
    """Starts each task again when it ends, until all have crashed too often.

    Args:
        invoker: runs them.
        clock: of the backoff and of how long a task has run.
        lifecycle: tasks are started again while the worker is alive.
        on_crashed: called with the reason when all tasks have crashed for good.
    """

    is_on = True
    """Whether tasks run here; else none does."""

    def __init__(
        self, invoker: Invoker, clock: Clock, lifecycle: Lifecycle, on_crashed: Callable[[str], None]
    ) -> None:
        self._invoker = invoker
        self._clock = clock
        self._lifecycle = lifecycle
        self._on_crashed = on_crashed
        self._handlers: dict[HandlerKey, Registered] = {}
        self._supervised: dict[HandlerKey, _Supervised] = {}
        self.due: dict[HandlerKey, float] = {}
        """When each task that ended is started again, in seconds of the monotonic clock."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What supervises; the runs that it has begun are in flight."""
        return [one.keeper for one in self._supervised.values() if one.keeper is not None]

    def bind(self, registry: HandlerRegistry) -> list[asyncio.Task[Any]]:
        """Supervise these tasks, and return what must end; a task of the same function goes on."""
        before, self._handlers = self._handlers, tasks_of(registry) if self.is_on else {}
        replaced = [
            self._supervised.pop(key)
            for key in [*self._supervised]
            if self._handlers.get(key) != before.get(key)
        ]
        ending = [task for one in replaced for task in (one.keeper, one.running) if task is not None]
        self.due = {key: due for key, due in self.due.items() if key in self._handlers}
        return ending

    def start(self) -> None:
        """Start the tasks that do not run yet."""
        for key, found in self._handlers.items():
            if key not in self._supervised:
                supervised = _Supervised(found.function)
                supervised.keeper = self._invoker.spawn(
                    self._supervise(key, supervised), f"keeper of {key.name}"
                )
                self._supervised[key] = supervised

    def clear(self) -> None:
        """Forget the tasks; whoever stops them took them from `tasks` before."""
        self._supervised.clear()
        self.due.clear()

    async def _supervise(self, key: HandlerKey, supervised: _Supervised) -> None:
        invoker = self._invoker
        while self._lifecycle.state in ALIVE:
            started = supervised.running_since = self._clock.monotonic()
            self.due.pop(key, None)
            # In a task of its own: nothing that the handler does to that, such as cancel it, ends this one.
            invocation, name = invoker.begin("task", key), f"{invoker.label} task {key.name}"
            supervised.running = invoker.launch(
                invocation, supervised.handler, (invoker.client,), key, None, name
            )
            await asyncio.wait({supervised.running})
            supervised.running = supervised.running_since = None
            if self._supervised.get(key) is not supervised:
                return  # replaced while it swallowed its cancellation
            now = self._clock.monotonic()
            if invocation.outcome in ("ok", "warning") and now - started < AT_ONCE:
                text = f"{key.name} has returned at once, and a task that ends is started again"
                way = (
                    "let it run in a loop (while True: ...), or use @worker.on_startup for what is done once"
                )
                invoker.hint_once(invocation, "ends", f"{text}: {way}")
            delay = supervised.backoff.ended(now - started)
            if all(other.is_exhausted(now) for other in self._supervised.values()):
                self._on_crashed(ALL_TASKS_CRASHED)
                return
            self.due[key] = now + delay
            await self._clock.sleep(delay)
