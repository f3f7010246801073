"""`HandlerStats`: counts and durations of a handler; kept by runners, shown by the panel."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from dnworker.core.handler_error import HandlerError
    from dnworker.core.invocation import Invocation

DURATIONS_KEPT = 500
"""Runs that the quantiles are computed of: enough for a meaningful 95th percentile."""

RUNS_KEPT = 20
"""Runs of a schedule that are kept."""


class Quantiles(NamedTuple):
    """Seconds that the latest runs took; `longest` is over all runs."""

    p50: float
    p95: float
    longest: float


class HandlerStats(msgspec.Struct):
    """The counts, errors and durations of one handler so far."""

    calls: int = 0
    errors: int = 0
    in_flight: int = 0
    warnings: int = 0
    """Runs that raised nothing, and in which a mistake was noticed."""
    last_error: HandlerError | None = None
    last_failed_event: str | None = None
    """The id of the event that it failed on last; None if its last failure had no event."""
    is_failing: bool = False
    """Whether the run that ended last failed, or a task that it started."""
    missed: int = 0
    """Runs of a schedule that were skipped: the loop was held, the run before took too long, or
    a durable runtime was not there."""
    longest: float = 0.0
    before: tuple[int, int] = (0, 0)
    """Calls and errors at the time at which the present generation took over."""
    runs: deque[tuple[float, float | None, str]] | None = None
    """The latest runs by its schedule: when each began, in seconds of the monotonic clock, its duration,
    and its outcome; None before the first has ended."""
    _durations: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=DURATIONS_KEPT))

    def began(self) -> None:
        """Count a run that is under way."""
        self.calls += 1
        self.in_flight += 1

    def ended(self, invocation: Invocation) -> None:
        """Count the end of a run."""
        self.in_flight -= 1
        failed = invocation.error is not None
        if invocation.outcome != "cancelled":  # a cancelled run says nothing about the handler
            self.is_failing = failed
        self.warnings += invocation.outcome == "warning"
        if failed:
            self.failed(invocation, invocation.error)
        duration = invocation.duration
        if invocation.cause == "schedule":
            if self.runs is None:
                self.runs = deque(maxlen=RUNS_KEPT)
            self.runs.append((invocation.started_at, duration, invocation.outcome))
        if duration is None:
            return
        self._durations.append(duration)
        if duration > self.longest:
            self.longest = duration

    def failed(self, invocation: Invocation, error: HandlerError | None) -> None:
        """Count an error of a run, or of a task that it started."""
        self.errors += 1
        self.is_failing = True
        self.last_error = error
        self.last_failed_event = None if invocation.event is None else invocation.event.event_id

    def note_generation(self) -> None:
        """Note that another generation of handlers runs from now on; the counts go on."""
        self.before = self.calls, self.errors

    @property
    def durations(self) -> Iterable[float]:
        """Seconds that the latest runs took."""
        return self._durations

    def quantiles(self) -> Quantiles | None:
        """Return how long runs take; None before the first has ended."""
        if not self._durations:
            return None
        ordered = sorted(self._durations)
        last = len(ordered) - 1
        return Quantiles(ordered[last // 2], ordered[round(last * 0.95)], self.longest)
