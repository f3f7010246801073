"""`RunTotals`: how many runs of each handler have ended since the start, and how long they took; for metrics.

The counts only grow: a reload, a restart or a new generation of a worker changes nothing of them. Memory is
bounded, whatever workers and handlers are called.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: the upper ends of the buckets of durations; a last bucket has what took longer."""

HANDLERS_COUNTED = 1_000
"""Handlers that are counted by themselves; all further ones are counted together, as `OTHERS`."""

OTHERS = "other", "other"

OUTCOMES = ("ok", "warning", "error", "cancelled")


class RunTotal:
    """The ended runs of one handler.

    Attributes:
        outcomes: how many runs ended in each way.
        slots: how many runs took up to each of `BOUNDS`, and not up to the one before; the last took
            longer. Runs that were cancelled, and tasks, are not among them.
        seconds: how long those took together.
        succeeded_at: monotonic seconds at which the newest run ended that raised nothing; None before that.
    """

    __slots__ = ("outcomes", "seconds", "slots", "succeeded_at")

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.slots = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.succeeded_at: float | None = None

    def copy(self) -> RunTotal:
        """Return a copy, for another thread."""
        made = RunTotal()
        made.outcomes, made.slots, made.seconds = dict(self.outcomes), list(self.slots), self.seconds
        made.succeeded_at = self.succeeded_at
        return made


class RunTotals:
    """The ended runs of all handlers, by worker and handler."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], RunTotal] = {}

    def note(self, invocation: Invocation) -> None:
        """Count the end of a run; every event pays for it."""
        try:
            total = self._handlers[invocation.worker, invocation.handler]
        except KeyError:
            total = self._begin(invocation.worker, invocation.handler)
        outcome, duration = invocation.outcome, invocation.duration
        if outcome not in total.outcomes:  # it runs, after all
            return
        total.outcomes[outcome] += 1
        if duration is not None and (outcome == "ok" or outcome == "warning"):
            total.succeeded_at = invocation.started_at + duration
        if duration is not None and outcome != "cancelled" and invocation.cause != "task":
            total.slots[bisect_left(BOUNDS, duration)] += 1
            total.seconds += duration

    def know(self, worker: str, handler: str) -> None:
        """Count a handler from 0 on, before its first run: a first failure is a rise then."""
        if (worker, handler) not in self._handlers:
            self._begin(worker, handler)

    def _begin(self, worker: str, handler: str) -> RunTotal:
        key = (worker, handler) if len(self._handlers) < HANDLERS_COUNTED else OTHERS
        return self._handlers.setdefault(key, RunTotal())

    def read(self) -> dict[tuple[str, str], RunTotal]:
        """Return copies, by worker and handler, in the order in which they began to run."""
        return {key: total.copy() for key, total in self._handlers.items()}
