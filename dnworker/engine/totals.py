"""`Totals`: what a runtime counts of its workers and of events that were not accepted; metrics show it."""

from __future__ import annotations

from datetime import UTC, datetime

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.services import Changed

WORKERS_COUNTED = 1_000
"""Workers that are counted by themselves; all further ones are counted together, as `other`."""

WORKERS_TIMED = 10_000
"""Workers of which it is remembered since when they are in their state."""

OTHER = "other"


class ByWorker:
    """A count of each worker, which only grows."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, worker: str) -> None:
        """Count one more."""
        self._counts[self.know(worker)] += 1

    def know(self, worker: str) -> str:
        """Count a worker from 0 on; returns the name by which it is counted."""
        name = worker if worker in self._counts or len(self._counts) < WORKERS_COUNTED else OTHER
        self._counts.setdefault(name, 0)
        return name

    def read(self) -> dict[str, int]:
        """Return a copy, by the worker's qualified name."""
        return dict(self._counts)


class Totals:
    """Counts over the whole life of the runtime, whatever is reloaded.

    Attributes:
        starts: how often each worker began to start.
        restarts: how many of these were the restart policy's.
        failures: how often each worker ended in the state `error`.
        retries: how often an event was given to a worker again, as its handler had failed.
        refused: events that the broker did not accept.
    """

    def __init__(self) -> None:
        self.starts, self.restarts, self.failures, self.retries = (
            ByWorker(),
            ByWorker(),
            ByWorker(),
            ByWorker(),
        )
        self.refused = 0
        self._since: dict[str, tuple[WorkerState, datetime]] = {}

    def since(self, worker: str, state: WorkerState) -> datetime | None:
        """Return when a worker came into the state in which it is; None where that was not noted."""
        known = self._since.get(worker)
        return known[1] if known is not None and known[0] is state else None

    def note_state(self, worker: Changed) -> None:
        """Count a worker's step into another state."""
        known = self._since.get(worker.qualified_name)
        if known is None and len(self._since) >= WORKERS_TIMED:
            self._since.pop(next(iter(self._since)))
        if known is None or known[0] is not worker.state:
            self._since[worker.qualified_name] = worker.state, datetime.now(UTC)
        if worker.state is WorkerState.STARTING:
            self.starts.add(worker.qualified_name)
            if worker.starts_again:
                self.restarts.add(worker.qualified_name)
        elif worker.state is WorkerState.ERROR:
            self.failures.add(worker.qualified_name)

    def note_refused(self) -> None:
        """Count an event that was not accepted."""
        self.refused += 1
