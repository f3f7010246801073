"""When the events and calls of a run were, relative to its first event; `spans` and the panel's list use it.

Events have the time of the clock, which may be virtual or be set, and calls that of the machine, which never
goes back. Both are brought together by what must be true: a call begins after the event that caused it, and a
call publishes while it runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation


class SpanTimes:
    """Times in milliseconds after the first event of a run.

    Args:
        root: the first event.
        now: the present, in seconds of the machine's clock.
        difference: what the clock of events is ahead of the machine's now, in seconds.
    """

    def __init__(
        self, root: EventEnvelope, now: float | None = None, difference: float | None = None
    ) -> None:
        self.root_at = root.timestamp.timestamp()
        self._now = time.monotonic() if now is None else now
        self._difference = time.time() - self._now if difference is None else difference
        self._least, self._most = -math.inf, math.inf

    def learn(self, event: EventEnvelope, calls: Iterable[Invocation]) -> None:
        """Take an event, and the calls that it caused, for what is known of the clocks."""
        at = event.timestamp.timestamp()
        for call in calls:
            self._least = max(self._least, at - call.started_at)
            if call.published:
                first = call.published[0].timestamp.timestamp()
                self._most = min(self._most, first - call.started_at)

    @property
    def _ahead(self) -> float:
        """Seconds that the clock of events is ahead of the machine's."""
        if self._least == -math.inf:
            return self._difference
        return max(self._least, min(self._difference, self._most))

    def of_event(self, event: EventEnvelope, publisher: Invocation | None = None) -> float:
        """Return when an event was published; within the call that published it."""
        at = (event.timestamp.timestamp() - self.root_at) * 1000
        if publisher is None:
            return max(0.0, at)
        started, ended = self.of_call(publisher)
        return min(max(at, started), self.now if ended is None else ended)

    def of_call(self, call: Invocation) -> tuple[float, float | None]:
        """Return when a call began and ended; None as its end while it runs."""
        started = max(0.0, (call.started_at + self._ahead - self.root_at) * 1000)
        return started, None if call.duration is None else started + (call.duration + call.stopped_for) * 1000

    @property
    def now(self) -> float:
        """The present."""
        return max(0.0, (self._now + self._ahead - self.root_at) * 1000)
