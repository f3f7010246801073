"""`LiveWorkers`: the workers of one notebook that are made of cells; used by `transactions` and magics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.live.processes import ProcessWorker, until_connected
from dnworker_jupyter.live.records import Handler
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell


class LiveWorkers:
    """The workers of one notebook that are made of cells, by name."""

    def __init__(self) -> None:
        self.programs: dict[str, Cell] = {}
        """The cells of workers that are programs, by the worker's name."""
        self._workers: dict[str, LiveWorker] = {}

    def __iter__(self) -> Iterator[LiveWorker]:
        return iter([*self._workers.values()])

    def __contains__(self, name: str) -> bool:
        return name in self._workers

    def get(self, name: str) -> LiveWorker | None:
        """Return the worker of a name, if there is one."""
        return self._workers.get(name)

    def names(self) -> list[str]:
        """Return the names, in the order in which the workers were made."""
        return [*self._workers]

    def running(self, managed: ManagedWorker) -> LiveWorker | None:
        """Return the worker whose handlers a managed worker runs; None when no cells made it."""
        live = self._workers.get(managed.name)
        return live if live is not None and live.managed is managed else None

    async def until_connected(self, workers: Iterable[ManagedWorker]) -> None:
        """Return when those that are processes of cells with handlers listen to events.

        Raises:
            WorkerFailed: a process ended before, or took too long.
        """
        for managed in workers:
            if not isinstance(managed, ProcessWorker) or self.running(managed) is None:
                continue
            if managed.state is WorkerState.RUNNING:  # which does not say that it listens
                await until_connected(managed)

    def add(self, live: LiveWorker) -> None:
        """Add a worker; one of that name that is there already is replaced."""
        self._workers[live.name] = live

    def remove(self, live: LiveWorker) -> None:
        """Forget a worker."""
        self._workers.pop(live.name, None)

    def kinds(self) -> set[str]:
        """Return the kinds that handlers of cells listen to."""
        return {handler.key.trigger for handler in self._event_handlers()}

    def sources(self, kind: str) -> list[str]:
        """Return the source text of the handlers of a kind."""
        return [handler.source for handler in self._event_handlers() if handler.key.trigger == kind]

    def _event_handlers(self) -> Iterator[Handler]:
        for live in self:
            for handler, _ in live.handlers():
                if handler.key.decorator == "on_event":
                    yield handler
