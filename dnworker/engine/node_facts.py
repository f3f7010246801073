"""`Facts`: what this node has and does, counted of its workers; `nodes` writes it into the node's record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from dnworker._version import __version__
from dnworker.core.clock import Clock
from dnworker.core.lifecycle import ALIVE
from dnworker.engine.node_records import (
    CAPABILITIES_TOLD,
    Held,
    HeldWorker,
    NodeCapability,
    NodeRecord,
    bounded,
    host_and_pid,
)
from dnworker.workers.managed import ManagedWorker


class Facts:
    """Counts what the workers of this runtime do.

    Args:
        workers: returns all that are declared.
        clock: says what time it is, for people.
        lags: returns how late the loop turned, in seconds, the newest last; None where nothing was measured.
        url: returns where the API is.
        fence: returns the fencing number of a worker that runs here; None where nothing decides who runs it.
        capabilities: returns what is loaded from disk.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[ManagedWorker]],
        clock: Clock,
        lags: Callable[[], Sequence[float | None]],
        url: Callable[[], str | None],
        fence: Callable[[str], int | None] = lambda _: None,
        capabilities: Callable[[], Iterable[NodeCapability]] = tuple,
    ) -> None:
        self._workers = workers
        self._clock = clock
        self._lags = lags
        self.url = url
        self._fence, self._capabilities = fence, capabilities

    def held(self) -> Iterable[Held]:
        """Return all workers that run here."""
        names = [one.qualified_name for one in self._workers() if one.state in ALIVE]
        return [Held(name, self._fence(name)) for name in names]

    def states(self) -> dict[str, str]:
        """Return the state of each worker."""
        return {one.qualified_name: str(one.state) for one in self._workers()}

    def record(
        self,
        held: Iterable[Held],
        *,
        name: str,
        instance: str,
        labels: list[str],
        since: float,
        failure: str | None,
    ) -> NodeRecord:
        """Return the record of this node as of now."""
        known = {one.qualified_name: one for one in self._workers()}
        counted = [_count(known[one.worker], one) for one in held if one.worker in known]
        host, pid = host_and_pid()
        return NodeRecord(
            name=name,
            instance=instance,
            version=__version__,
            labels=labels,
            host=host,
            pid=pid,
            since=since,
            at=self._clock.now().timestamp(),
            url=self.url(),
            workers=bounded(counted),
            capabilities=sorted(self._capabilities(), key=lambda one: one.name)[:CAPABILITIES_TOLD],
            held=len(counted),
            backlog=sum(one.backlog for one in counted),
            pending=sum(one.pending for one in counted),
            lag_ms=self._lag(),
            failure=failure,
        )

    def _lag(self) -> float | None:
        """Return the newest lag in ms; that of the bucket before where this one has none yet."""
        lag = next((one for one in reversed(self._lags()[-2:]) if one is not None), None)
        return None if lag is None or not math.isfinite(lag) else round(lag * 1000, 1)


def _count(worker: ManagedWorker, held: Held) -> HeldWorker:
    of_events = [one for key, one in worker.stats.items() if key.decorator == "on_event"]
    pending = sum(one.in_flight for one in of_events)
    return HeldWorker(
        worker=worker.qualified_name,
        state=str(worker.state),
        fence=held.fence,
        backlog=worker.waiting,
        pending=pending,
        handled=max(0, sum(one.calls for one in of_events) - pending),
        failed=sum(one.errors for one in of_events),
        members=worker.definition.members,
    )
