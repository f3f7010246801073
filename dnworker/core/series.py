"""`Series`: ended calls of the last 15 minutes by buckets of 15 s; the history keeps one, the panel reads it.

Counting costs an ended call a few integer operations, and memory is bounded whatever happens.

    series.whole.counts()              [(calls, failed)], 60 buckets, oldest first; the last one is under way
    series.of_worker("cap:bridge")     the same for one worker: the sum of its handlers
    series.of_handler("cap:bridge", "on_turn")
    series.quantiles()                 [Spread(p50, p95) or None], in seconds
    series.lag()                       [p99 or None], in seconds: how late the loop turned

All take `now`, in seconds of the monotonic clock, and end with the bucket that it is in.
"""

from __future__ import annotations

import random
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from dnworker.core.listeners import Listeners
from dnworker.core.run_totals import RunTotals

if TYPE_CHECKING:
    from dnworker.core.invocation import Invocation

STEP = 15
"""Seconds of a bucket."""

BUCKETS = 60
"""Buckets that are kept: 15 minutes."""

SAMPLES = 256
"""Durations of a bucket that are kept: all of them up to so many, then a fair sample of all."""

LOOKED_AT = 2_000
"""Values of several buckets that quantiles are computed of."""

HANDLERS_KEPT = 5_000
"""Handlers whose calls are counted by bucket; of more, those that were silent for longest go."""


class Count(NamedTuple):
    """Calls that ended, and how many of these failed."""

    calls: int
    failed: int


class Spread(NamedTuple):
    """How long calls took, in seconds."""

    p50: float
    p95: float


def bucket_of(moment: float) -> int:
    """Return the number of the bucket that a moment of the monotonic clock, in seconds, is in."""
    return int(moment // STEP)


class Buckets:
    """Calls and failed calls of the newest 60 buckets of one thing."""

    __slots__ = ("_failed", "calls", "newest")

    def __init__(self) -> None:
        self.newest = 0
        """The number of the newest bucket in which anything was counted."""
        self.calls = [0] * BUCKETS
        """By the number of the bucket, modulo 60; counted up after `reach`."""
        self._failed: list[int] | None = None  # most never fail

    def add(self, bucket: int) -> None:
        """Count a call, of a bucket that was reached."""
        self.calls[bucket % BUCKETS] += 1

    def note_failed(self, bucket: int) -> None:
        """Count one of the calls as failed."""
        if self._failed is None:
            self._failed = [0] * BUCKETS
        self._failed[bucket % BUCKETS] += 1

    def reach(self, bucket: int) -> bool:
        """Clear the buckets between the newest and this one; False for one that is not kept any more."""
        newest = self.newest
        if bucket < newest:
            return bucket > newest - BUCKETS
        for number in range(max(newest + 1, bucket - BUCKETS + 1), bucket + 1):
            self.calls[number % BUCKETS] = 0
            if self._failed is not None:
                self._failed[number % BUCKETS] = 0
        self.newest = bucket
        return True

    def include(self, other: Buckets) -> None:
        """Count what another has counted, too."""
        self.reach(max(self.newest, other.newest))
        for number in range(self.newest - BUCKETS + 1, other.newest + 1):
            self.calls[number % BUCKETS] += other.calls[number % BUCKETS]
            if other._failed is not None:
                self._failed = self._failed or [0] * BUCKETS
                self._failed[number % BUCKETS] += other._failed[number % BUCKETS]

    def counts(self, now: float | None = None) -> list[Count]:
        """Return the 60 buckets up to `now`, oldest first."""
        last = bucket_of(time.monotonic() if now is None else now)
        calls, failed, newest = self.calls, self._failed, self.newest
        return [
            Count(calls[n % BUCKETS], 0 if failed is None else failed[n % BUCKETS])
            if newest - BUCKETS < n <= newest
            else _NOTHING
            for n in range(last - BUCKETS + 1, last + 1)
        ]

    def total(self, now: float | None = None) -> Count:
        """Return all calls of the 15 minutes up to `now`."""
        last = bucket_of(time.monotonic() if now is None else now)
        if self.newest <= last - BUCKETS:
            return _NOTHING
        if self.newest == last:  # every slot is one of these
            return Count(sum(self.calls), 0 if self._failed is None else sum(self._failed))
        return add_up(self.counts(now))


class Samples:
    """Values by bucket, of which each keeps a fair sample."""

    __slots__ = ("_count", "_counts", "_latest", "_newest", "_random", "_values")

    def __init__(self) -> None:
        self._newest = 0
        # How many values the newest bucket had, and below those that it keeps: all that a value needs.
        self._count = 0
        self._values: list[array[float]] = [array("d") for _ in range(BUCKETS)]
        self._latest = self._values[0]
        self._counts = [0] * BUCKETS
        self._random = random.Random(0).random  # noqa: S311  the user's own generator stays as it was seeded

    def add(self, bucket: int, value: float) -> None:
        """Take a value; one of a bucket that is not kept any more is left out."""
        if bucket > self._newest:
            self._reach(bucket)
        elif bucket < self._newest:
            self._add_late(bucket, value)
            return
        self._count = count = self._count + 1
        if count <= SAMPLES:
            self._latest.append(value)
        elif (at := int(self._random() * count)) < SAMPLES:
            self._latest[at] = value

    def _add_late(self, bucket: int, value: float) -> None:
        if bucket <= self._newest - BUCKETS:
            return
        slot = bucket % BUCKETS
        self._counts[slot] = count = self._counts[slot] + 1
        if count <= SAMPLES:
            self._values[slot].append(value)
        elif (at := int(self._random() * count)) < SAMPLES:
            self._values[slot][at] = value

    def _reach(self, bucket: int) -> None:
        self._counts[self._newest % BUCKETS] = self._count
        for number in range(max(self._newest + 1, bucket - BUCKETS + 1), bucket + 1):
            self._values[number % BUCKETS] = array("d")
            self._counts[number % BUCKETS] = 0
        self._newest, self._count, self._latest = bucket, 0, self._values[bucket % BUCKETS]

    def of(self, bucket: int) -> tuple[array[float], int]:
        """Return what is kept of a bucket, and how many values it had."""
        if not self._newest - BUCKETS < bucket <= self._newest:
            return array("d"), 0
        count = self._count if bucket == self._newest else self._counts[bucket % BUCKETS]
        return self._values[bucket % BUCKETS], count


class Series:
    """The calls of all handlers, what each handler has of them, their durations, and the lag of the loop."""

    def __init__(self) -> None:
        self.whole = Buckets()
        self.totals = RunTotals()
        """All calls since the start."""
        self._handlers: dict[str, dict[str, Buckets]] = {}
        self._handler_count = 0
        self.failed: Listeners[[Invocation]] = Listeners()
        """Called with each call that failed."""
        self._durations = Samples()
        self._lags = Samples()
        self._spreads: dict[int, tuple[int, Spread | None]] = {}

    # -- what is noted ---------------------------------------------------------------------------------

    def note(self, invocation: Invocation) -> None:
        """Count the end of a call. One that was cancelled says nothing; how long a task ran, neither."""
        self.totals.note(invocation)
        duration, outcome = invocation.duration, invocation.outcome
        if duration is None or outcome == "cancelled":
            return
        bucket = int((invocation.started_at + duration) // STEP)
        slot, whole = bucket % BUCKETS, self.whole
        try:
            handler = self._handlers[invocation.worker][invocation.handler]
        except KeyError:
            handler = self._begin(invocation.worker, invocation.handler)
        # Written out, and without calls where none is needed: every event pays for these lines.
        if bucket == whole.newest or whole.reach(bucket):
            whole.calls[slot] += 1
        if bucket == handler.newest or handler.reach(bucket):
            handler.calls[slot] += 1
        if invocation.cause != "task":
            self._durations.add(bucket, duration)
        if outcome == "error":
            for one in (whole, handler):
                if bucket > one.newest - BUCKETS:
                    one.note_failed(bucket)
            self.failed.notify(invocation)

    def note_lag(self, since: float, until: float) -> None:
        """Note that the loop should have turned at one moment, in monotonic seconds, and did at another."""
        lag = max(0.0, until - since)
        for bucket in range(max(bucket_of(since), bucket_of(until) - BUCKETS + 1), bucket_of(until) + 1):
            self._lags.add(bucket, lag)

    def _begin(self, worker: str, handler: str) -> Buckets:
        if self._handler_count >= HANDLERS_KEPT:
            self._forget_half()
        self._handler_count += 1
        made = self._handlers.setdefault(worker, {})[handler] = Buckets()
        return made

    def _forget_half(self) -> None:
        """Forget the half of the handlers that were silent for longest."""
        silent = sorted(
            (one.newest, w, h) for w, all_of in self._handlers.items() for h, one in all_of.items()
        )
        for _, worker, handler in silent[: len(silent) // 2]:
            del self._handlers[worker][handler]
            if not self._handlers[worker]:
                del self._handlers[worker]
        self._handler_count -= len(silent) // 2

    # -- what is read ----------------------------------------------------------------------------------

    def of_worker(self, worker: str, now: float | None = None) -> list[Count]:
        """Return calls and failed calls of a worker by bucket, oldest first; all 0 for one nobody knows."""
        handlers = self._handlers.get(worker, {})
        if len(handlers) == 1:
            return next(iter(handlers.values())).counts(now)
        each = [handler.counts(now) for handler in handlers.values()]
        return [add_up(bucket) for bucket in zip(*each, strict=True)] if each else [_NOTHING] * BUCKETS

    def of_handler(self, worker: str, handler: str, now: float | None = None) -> list[Count]:
        """Return the same of one handler."""
        return self._of(worker, handler).counts(now)

    def total_of(self, worker: str, handler: str, now: float | None = None) -> Count:
        """Return all calls of a handler in the 15 minutes up to `now`."""
        return self._of(worker, handler).total(now)

    def _of(self, worker: str, handler: str) -> Buckets:
        return self._handlers.get(worker, {}).get(handler) or Buckets()

    def quantiles(self, now: float | None = None) -> list[Spread | None]:
        """Return how long calls took by bucket, oldest first; None for a bucket in which none ended."""
        kept = _kept(now)
        self._spreads = {bucket: found for bucket, found in self._spreads.items() if bucket in kept}
        return [self._spread_of(bucket) for bucket in kept]

    def _spread_of(self, bucket: int) -> Spread | None:
        """Return the quantiles of a bucket, computed anew where more calls have ended in it."""
        values, count = self._durations.of(bucket)
        known = self._spreads.get(bucket)
        if known is None or known[0] != count:
            known = self._spreads[bucket] = count, spread([(values, count)])
        return known[1]

    def spread(self, buckets: Iterable[int]) -> Spread | None:
        """Return how long calls took in some buckets together, by their numbers."""
        return spread([self._durations.of(bucket) for bucket in buckets])

    def lag(self, now: float | None = None) -> list[float | None]:
        """Return the p99 of the lag of the loop by bucket, oldest first; None where nothing was measured."""
        values = (self._lags.of(bucket)[0] for bucket in _kept(now))
        return [sorted(some)[round((len(some) - 1) * 0.99)] if some else None for some in values]


_NOTHING = Count(0, 0)


def add_up(counts: Iterable[Count]) -> Count:
    """Return counts together."""
    calls = failed = 0
    for one, of_these in counts:
        calls += one
        failed += of_these
    return Count(calls, failed)


def spread(samples: Iterable[tuple[array[float], int]]) -> Spread | None:
    """Return the quantiles of samples, each of so many values as were counted; None without any."""
    weighed = sorted(_weighed(samples))
    if not weighed:
        return None
    sums = list(accumulate(weight for _, weight in weighed))
    p50, p95 = (
        weighed[min(bisect_left(sums, sums[-1] * share), len(weighed) - 1)][0] for share in (0.5, 0.95)
    )
    return Spread(p50, p95)


def _weighed(samples: Iterable[tuple[array[float], int]]) -> Iterator[tuple[float, float]]:
    """Go through the values with their weights; of very many, through some: it must not take long."""
    some = [(values, count) for values, count in samples if values]
    step = 1 + sum(len(values) for values, _ in some) // LOOKED_AT
    for values, count in some:
        taken = values[::step]
        for value in taken:
            yield value, count / len(taken)


def _kept(now: float | None) -> range:
    last = bucket_of(time.monotonic() if now is None else now)
    return range(last - BUCKETS + 1, last + 1)
