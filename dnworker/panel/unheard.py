"""`Unheard`: why no handler ran for an event, by the name of who would have; the list of runs says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.core.handlers import HandlerKey
    from dnworker.engine.engine import Engine
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

STATES = {
    WorkerState.GATED_OFF: "is gated off",
    WorkerState.STANDBY: "stands by for another node",
    WorkerState.STOPPED: "is stopped",
    WorkerState.ERROR: "is in error",
    WorkerState.STOPPING: "stops",
    WorkerState.STARTING: "was starting",
    WorkerState.LOADING: "was starting",
}


class NotRunning:
    """By kind, who would have run and why not, as it was at one look."""

    def __init__(self) -> None:
        self._by_kind: dict[str, tuple[str, int]] = {}

    def add(self, text: str, kinds: Iterable[str]) -> None:
        """Add a worker, as `ops:alerts is gated off`, with the kinds it listens to."""
        for kind in kinds:
            first, count = self._by_kind.get(kind, (text, 0))
            self._by_kind[kind] = (first, count + 1)

    def why(self, kind: str) -> str | None:
        """Return who would have run and why not, such as `ops:alerts is gated off`; None if nobody would."""
        first, count = self._by_kind.get(kind, (None, 0))
        return f"{first}, and {count - 1} more" if count > 1 else first


def _kinds_of(keys: Iterable[HandlerKey]) -> frozenset[str]:
    return frozenset(key[1] for key in keys if key[0] == "on_event")


class Unheard:
    """Looks for the workers that listen to a kind and do not run.

    Args:
        engine: has the workers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def look(self, pace: Pace) -> NotRunning:
        """Look at each worker once; `NotRunning.why` then answers for any number of kinds."""
        found = NotRunning()
        await self._engine.flow.read_sources()
        for worker in self._engine.workers():
            if (listens := self._listens(worker)) is not None:
                text, kinds = listens
                found.add(f"{worker.qualified_name} {text}", kinds)
            await pace.rest()
        return found

    def _listens(self, worker: ManagedWorker) -> tuple[str, Iterable[str]] | None:
        """Return why a worker does not run, or did not, and the kinds it would have heard."""
        if worker.state is WorkerState.RUNNING:
            if worker.stats:
                return "did not listen then", _kinds_of(worker.stats)
            if isinstance(worker, InProcessWorker):
                return None
            return "runs without reporting", self._written(worker)
        if worker.stats:
            return STATES[worker.state], _kinds_of(worker.stats)
        registry = worker.worker if isinstance(worker, InProcessWorker) else None
        keys = [handler.key for handler in handlers_of(registry)] if registry is not None else []
        return STATES[worker.state], _kinds_of(keys) | self._written(worker)

    def _written(self, worker: ManagedWorker) -> frozenset[str]:
        """Return the kinds that the source of a worker that never ran listens to."""
        return self._engine.flow.heard_by_source(worker.qualified_name)
