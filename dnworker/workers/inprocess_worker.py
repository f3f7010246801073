"""`InProcessWorker`: a managed worker whose handlers run on the runtime's own loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.core.stats import HandlerStats
from dnworker.workers.invoker import HandlerClient
from dnworker.workers.loading import LoadError, load_worker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.registry import HandlerRegistry, handlers_of
from dnworker.workers.runner import WorkerRunner
from dnworker.workers.services import Home, Services


class InProcessWorker(ManagedWorker[WorkerRunner]):
    """A worker whose handlers run on the runtime's own loop.

    Args:
        services: the parts of the runtime that it uses.
        home: the capability that it belongs to.
        definition: what the manifest says of it.
        make: gives its handlers at every start, fresh or kept.
    """

    topology = "in-process"

    def __init__(
        self,
        services: Services,
        home: Home,
        definition: WorkerDefinition,
        make: Callable[[], HandlerRegistry],
    ) -> None:
        super().__init__(services, home, definition)
        self._make = make
        self._generation = 1

    @property
    def worker(self) -> HandlerRegistry | None:
        """The handlers that run, or ran last."""
        return self._runner.worker if self._runner is not None else None

    @property
    def client(self) -> HandlerClient | None:
        """What its handlers are given; None before the first start."""
        return self._runner.client if self._runner is not None else None

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._generation

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start."""
        return self._runner.stats if self._runner is not None else {}

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the runtime's clock."""
        if self._runner is None or self.state is not WorkerState.RUNNING:
            return {}
        return self._runner.next_runs

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now.

        Raises:
            Conflict: the worker is not running, or has no such schedule.
        """
        if self._runner is None:
            raise Conflict(f"worker {self.qualified_name!r}: it is {self.state}")
        self._runner.run_schedule(key)

    async def swap(
        self,
        make: Callable[[], HandlerRegistry],
        make_fresh: Callable[[], HandlerRegistry],
        *,
        generation: int,
        restart: bool,
    ) -> None:
        """Run the next generation: swapped in while the worker runs, else by a (re)start.

        Args:
            make: gives the Worker with the new handlers and the state as it is.
            make_fresh: gives it with the state of a start.
            generation: its number.
            restart: whether startup or shutdown handlers changed, so that state must begin anew.
        """
        async with self._lock:
            self._make, self._generation = make_fresh, generation
            if self.state is WorkerState.RUNNING and not restart and self._runner is not None:
                await self._runner.swap(make(), generation=generation)
                self._services.on_change(self, announce=False)
                return
            await self._stop()
            await self._start()

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        handlers = None if self.worker is None else _counts(self.worker)
        return super().detail() | {"handlers": handlers}

    async def _interrupt_start(self) -> None:
        if self._runner is not None:
            await self._runner.stop()

    def _make_runner(self) -> WorkerRunner:
        services = self._services
        return WorkerRunner(
            self._make(),
            services.client(worker=self.name, capability=self.capability),
            event_source=lambda kinds: services.bus.subscribe(
                kinds, watcher=services.history, owner=self.qualified_name
            ),
            lifecycle=self._lifecycle,
            qualified_name=self.qualified_name,
            clock=services.clock,
            recorder=services.history,
            generation=self._generation,
        )


def _counts(registry: HandlerRegistry) -> dict[str, Any]:
    """Return how many handlers there are of each kind (contract 6.5)."""
    keys = [handler.key for handler in handlers_of(registry)]
    count = Counter(key.decorator for key in keys)
    return {
        "startup": count["on_startup"],
        "shutdown": count["on_shutdown"],
        "event_kinds": list(dict.fromkeys(key.trigger for key in keys if key.decorator == "on_event")),
        "schedules": count["every"],
        "tasks": count["task"],
    }


def path_worker(services: Services, home: Home, definition: WorkerDefinition) -> InProcessWorker:
    """Make the worker of a `path:` entry; its file is executed afresh at every start."""

    def make() -> HandlerRegistry:
        if definition.path is None:
            raise LoadError(f"worker {definition.name!r} has no path to load it from")
        return load_worker(home.root, home.name, definition.name, definition.path)

    return InProcessWorker(services, home, definition, make)
