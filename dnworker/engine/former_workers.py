"""`FormerWorkers`: what may be left of workers that a node does not run any more; for `holdings`."""

from __future__ import annotations

from collections.abc import Iterable

from dnworker.core.lease_time import LeaseClock
from dnworker.engine.hold_times import UNLISTED_FOR
from dnworker.workers.managed import ManagedWorker


class FormerWorkers:
    """Remembers workers by name until nothing of them runs, also those that were replaced or removed.

    Args:
        clock: of leases.
    """

    def __init__(self, clock: LeaseClock) -> None:
        self._clock = clock
        self.listed: dict[str, ManagedWorker] = {}
        """Those that are declared, by name, as they were noted last."""
        self._known: dict[str, list[ManagedWorker]] = {}
        self._down: dict[str, float] = {}

    def forget(self) -> None:
        """Know nothing, as at a start."""
        self.listed, self._known, self._down = {}, {}, {}

    def note(self, listed: Iterable[ManagedWorker]) -> dict[str, ManagedWorker]:
        """Take note of all workers that are declared; returns them by name."""
        self.listed = now = {worker.qualified_name: worker for worker in listed}
        for name, worker in now.items():
            known = self._known.setdefault(name, [])
            if worker not in known:
                known.append(worker)
        for name, known in [*self._known.items()]:
            known[:] = [one for one in known if one is now.get(name) or not one.is_at_rest]
            if not known:
                del self._known[name]
        return now

    def run_on(self, name: str, listed: ManagedWorker | None) -> bool:
        """Return whether anything runs on of a worker that was stopped, replaced or removed."""
        is_left = any(one is not listed and not one.is_at_rest for one in self._known.get(name, ()))
        return is_left or (listed is not None and listed.is_running_on)

    def is_gone(self, name: str) -> bool:
        """Return whether a worker is down for so long that nobody is about to start it."""
        now = self._clock.monotonic()
        return now >= self._down.setdefault(name, now) + UNLISTED_FOR

    def note_up(self, name: str) -> None:
        """Take note that a worker is not down."""
        self._down.pop(name, None)
