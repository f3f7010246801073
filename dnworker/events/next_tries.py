"""`NextTries`: which events a worker is given again, and when; the history has them.

`engine/retries.py` notes them; traces, tables and the panel show them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

MOST_NOTED = 10_000
"""Tries that are noted; of older ones nobody is told when they come, but they come."""


class NextTry(NamedTuple):
    """When an event is given again to a worker."""

    event_id: str
    worker: str
    handlers: tuple[str, ...]
    """Those that have failed and run again."""
    due: float
    """In seconds of the runtime's monotonic clock."""
    number: int
    """Which of the retries it is, 1 for the first."""
    times: int
    """How many there are at most."""

    def text(self, now: float) -> str:
        """Return it in words, such as `1 handler is tried again in 4 s (2 of 5)`."""
        count = len(self.handlers)
        who = f"{count} handler{'s are' if count != 1 else ' is'} tried again"
        return f"{who} {self.when(now)} ({self.number} of {self.times})"

    def when(self, now: float) -> str:
        """Return when it comes, such as `in 4 s`."""
        left = self.due - now
        return f"in {_seconds(left)}" if left > 0 else "as soon as the worker takes it"


class NextTries:
    """What waits for its next try, by event and worker."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.monotonic
        """Returns the seconds that tries are due by."""
        self._tries: dict[tuple[str, str], NextTry] = {}

    def __len__(self) -> int:
        return len(self._tries)

    def note(self, one: NextTry) -> None:
        """Note a try; of an event that has one already, its handlers join the later one."""
        key = one.event_id, one.worker
        if (before := self._tries.pop(key, None)) is not None:
            handlers = tuple(dict.fromkeys((*before.handlers, *one.handlers)))
            one = max(before, one, key=lambda each: each.due)._replace(handlers=handlers)
        self._tries[key] = one
        if len(self._tries) > MOST_NOTED:
            del self._tries[next(iter(self._tries))]

    def forget(self, event_id: str, worker: str) -> None:
        """Forget a try that has begun."""
        if self._tries:
            self._tries.pop((event_id, worker), None)

    def of_event(self, event_id: str) -> list[NextTry]:
        """Return what is tried again of an event."""
        return [one for one in self._tries.values() if one.event_id == event_id] if self._tries else []

    def of_worker(self, worker: str) -> list[NextTry]:
        """Return what a worker tries again, the soonest first."""
        found = [one for one in self._tries.values() if one.worker == worker] if self._tries else []
        return sorted(found, key=lambda one: one.due)

    def texts(self, event_id: str) -> list[str]:
        """Return in words what is tried again of an event."""
        return [one.text(self.now()) for one in self.of_event(event_id)]


def _seconds(seconds: float) -> str:
    if seconds < 0.9995:
        return f"{max(seconds * 1000, 1):.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
