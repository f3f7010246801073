"""`Sampler`: which traces are sent: a share of them, and no more than so many spans a second."""

from __future__ import annotations

import time

from dnworker.telemetry.settings import Sampling

_WHOLE = 1 << 64


class Sampler:
    """Decides where a trace begins; what belongs to a trace that is sent goes with it, on credit of a second.

    Attributes:
        dropped: spans that were left out for their rate.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._least = int(sampling.ratio * _WHOLE)
        self._takes_all = sampling.ratio >= 1
        self._is_parent_based = sampling.is_parent_based
        self._rate = sampling.per_second
        self._left = float(sampling.per_second)  # below 0: what a trace has used of the next second
        self._filled_at = time.monotonic()
        self._next_at = 0.0  # before which no trace may begin, while nothing is left
        self.dropped = 0

    def begins(self, trace_id: str, parent_is_sampled: bool | None = None) -> bool:
        """Return whether a trace that begins here is sent, and take a span for it; every event pays."""
        if self._is_parent_based and parent_is_sampled is not None:
            if not parent_is_sampled:
                return False
        elif not self._takes_all and int(trace_id[16:], 16) >= self._least:
            return False
        if self._left < 1 and self.is_used_up():
            return False
        self._left -= 1
        return True

    def is_used_up(self) -> bool:
        """Return whether no trace may begin now, which counts as a span left out; every event pays for it."""
        if self._left >= 1:
            return False
        now = time.monotonic()
        if now < self._next_at or not self._fill(1, now):
            self.dropped += 1
            return True
        return False

    def goes_on(self) -> bool:
        """Return whether a further span of a trace that is sent is sent, too."""
        if self._left <= -self._rate and not self._fill(1 - self._rate, time.monotonic()):
            self.dropped += 1
            return False
        self._left -= 1
        return True

    def _fill(self, least: float, now: float) -> bool:
        """Add what came free since the last time; return whether that is enough."""
        self._left = min(float(self._rate), self._left + (now - self._filled_at) * self._rate)
        self._filled_at = now
        self._next_at = now + (1 - self._left) / self._rate
        return self._left >= least
