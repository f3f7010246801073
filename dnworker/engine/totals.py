"""`Totals`: what a runtime counts of its workers and of events that were not accepted; metrics show it."""

from __future__ import annotations

from dnworker.core.lifecycle import WorkerState
from dnworker.workers.services import Changed

WORKERS_COUNTED = 1_000
"""Workers that are counted by themselves; all further ones are counted together, as `other`."""

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

    def note_state(self, worker: Changed) -> None:
        """Count a worker's step into another state."""
        if worker.state is WorkerState.STARTING:
            self.starts.add(worker.qualified_name)
            if worker.starts_again:
                self.restarts.add(worker.qualified_name)
        elif worker.state is WorkerState.ERROR:
            self.failures.add(worker.qualified_name)

    def note_refused(self) -> None:
        """Count an event that was not accepted."""
        self.refused += 1
