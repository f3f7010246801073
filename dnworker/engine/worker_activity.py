"""`activity_of`: what a worker has done since its last start, in numbers; `dnworker ps` shows it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.text import shorten
from dnworker.engine.totals import Totals

if TYPE_CHECKING:
    from dnworker.workers.managed import ManagedWorker

LONGEST_ERROR = 300


class WorkerActivity(msgspec.Struct, kw_only=True):
    """What one worker has done since its last start."""

    worker: str
    """Its qualified name."""
    state: str
    since: datetime | None
    """Since when it is in this state."""
    handled: int
    """Runs of handlers of events that have ended."""
    failed: int
    """Errors of all its handlers, those of schedules among them."""
    running: int
    """Runs that are under way."""
    waiting: int
    """Events in its queue."""
    last_error: str | None = None
    """What a handler raised last, with its place."""
    last_failed_event: str | None = None
    """The id of the event on which that handler failed last."""


def activity_of(worker: ManagedWorker, totals: Totals) -> WorkerActivity:
    """Return what a worker has done."""
    stats = worker.stats.items()
    of_events = [one for key, one in stats if key.decorator == "on_event"]
    pending = sum(one.in_flight for one in of_events)
    failing = [(key, one) for key, one in stats if one.last_error is not None]
    failing.sort(key=lambda pair: pair[1].is_failing)  # one that fails now counts more than one that did
    key, last = failing[-1] if failing else (None, None)
    return WorkerActivity(
        worker=worker.qualified_name,
        state=str(worker.state),
        since=totals.since(worker.qualified_name, worker.state),
        handled=max(0, sum(one.calls for one in of_events) - pending),
        failed=sum(one.errors for _, one in stats),
        running=sum(one.in_flight for _, one in stats),
        waiting=worker.waiting,
        last_error=None
        if key is None or last is None
        else shorten(f"{key.name}: {last.last_error}", LONGEST_ERROR),
        last_failed_event=None if last is None else last.last_failed_event,
    )
