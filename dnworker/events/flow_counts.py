"""`PublishedCounts` counts who publishes which kind; `Rings` keep counts of the last fifteen minutes.

The engine's `flow.py` has both for the flow map. An event pays for one addition.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from typing import Generic, TypeVar, cast

from dnworker.core.envelope import EventEnvelope, is_noise, is_reserved
from dnworker.core.invocation import current_invocation
from dnworker.events.causes import publisher

QUARTER, QUARTERS = 15.0, 60
"""Seconds that are counted together, and how many of those are kept."""

MOST = 4_000
"""Pairs of publisher and kind that are counted at a time; further ones are not."""

MOST_HANDLED = 20_000
"""Pairs of worker and trigger, and those of failed runs, that are counted; further ones are not."""

AT_ONCE = 200
"""Rings that are summed up before the loop may turn."""

PROGRAM, SESSIONS, RUNTIME = "Program", "Sessions", "Runtime"
"""What publishes where nobody else is known to: the program of the runtime, or the runtime."""

_current = current_invocation.get

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class PublishedCounts:
    """How many events each publisher has published of each kind so far; `totals` only grow.

    The publisher is a worker or an agent, what `published_by` says, or None; `publisher_of` names it.
    """

    def __init__(self) -> None:
        self.totals: dict[tuple[str | None, str], int] = {}
        self.beyond = 0
        """Events of further pairs, which are not in `totals`."""

    def note_event(self, envelope: EventEnvelope) -> None:
        """Count an event by who publishes it."""
        invocation = _current()  # every event pays for these lines
        key = publisher() if invocation is None else invocation.worker, envelope.kind
        try:
            self.totals[key] += 1
        except KeyError:
            if len(self.totals) < MOST:
                self.totals[key] = 1
            else:
                self.beyond += 1


def publisher_of(name: str | None, kind: str) -> str:
    """Return how a publisher is called: agents are `Sessions`, and who is not known goes by the kind."""
    if name is not None:
        return SESSIONS if name.startswith("agent ") else name
    if is_reserved(kind):
        return RUNTIME if is_noise(kind) else SESSIONS
    return PROGRAM


class Ring:
    """How much a total that only grows has grown in each of the last quarters of a minute."""

    __slots__ = ("_grown", "_newest", "total")

    def __init__(self, quarter: int, total: int = 0) -> None:
        self.total = total
        self._newest = quarter
        self._grown = array("L", bytes(array("L").itemsize * QUARTERS))

    def note(self, quarter: int, total: int) -> None:
        """Note the total at a time in a quarter that is not before the newest; a smaller one began anew."""
        for passed in range(self._newest + 1, min(quarter, self._newest + QUARTERS) + 1):
            self._grown[passed % QUARTERS] = 0
        self._newest = max(self._newest, quarter)
        self._grown[quarter % QUARTERS] += total - self.total if total >= self.total else total
        self.total = total

    def series(self, quarter: int, quarters: int = QUARTERS) -> list[int]:
        """Return the growth of each of so many quarters up to this one, oldest first."""
        return [
            self._grown[one % QUARTERS] if self._newest - QUARTERS < one <= self._newest else 0
            for one in range(quarter - quarters + 1, quarter + 1)
        ]

    def sum(self, quarter: int, quarters: int) -> int:
        """Return the growth of so many quarters up to this one together."""
        first, last = max(quarter - quarters, self._newest - QUARTERS) + 1, min(quarter, self._newest)
        if first > last:
            return 0
        if last - first == QUARTERS - 1:
            return sum(self._grown)
        start, end = first % QUARTERS, last % QUARTERS + 1
        if start < end:
            return sum(self._grown[start:end])
        return sum(self._grown[start:]) + sum(self._grown[:end])


class Rings(Generic[K]):
    """The growth of at most so many totals, by key; `clock` gives seconds that only grow.

    What is noted counts for the quarter in which it is noted: note at least once in each.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._began = clock()
        self._rings: dict[K, Ring] = {}

    @property
    def quarter(self) -> int:
        """The number of the present quarter of a minute."""
        return int(self._clock() / QUARTER)

    def note(self, totals: Iterable[tuple[K, int]]) -> None:
        """Note where totals are now; one that has not grown yet takes no room."""
        quarter = self.quarter
        for key, total in totals:
            ring = self._rings.get(key)
            if ring is None:
                if not total or len(self._rings) >= self._most:
                    continue
                ring = self._rings[key] = Ring(quarter)
            if total != ring.total:
                ring.note(quarter, total)

    def forget(self, is_kept: Callable[[K], bool]) -> None:
        """Forget what has not grown for fifteen minutes, and is not to be kept."""
        quarter = self.quarter
        for key in [key for key in self._rings if not is_kept(key)]:
            if not any(self._rings[key].series(quarter)):
                del self._rings[key]

    def forget_silent(self, totals: dict[K, int]) -> Iterator[None]:
        """Forget what is silent for fifteen minutes, and its total, which begins anew; yields at times."""
        quarter = self.quarter
        for number, (key, ring) in enumerate(list(self._rings.items()), 1):
            if totals.get(key) == ring.total and not ring.sum(quarter, QUARTERS):
                del self._rings[key], totals[key]
            if number % AT_ONCE == 0:
                yield

    def sums(self, minutes: float) -> dict[K, int]:
        """Return by how much each has grown in the last minutes; the present quarter counts in full."""
        return at_once(self.summing(minutes))

    def summing(self, minutes: float) -> Generator[None, None, dict[K, int]]:
        """Yield after some of them, so that the loop may turn; returns what `sums` does."""
        quarter, quarters = self.quarter, quarters_of(minutes)
        sums: dict[K, int] = {}
        for number, (key, ring) in enumerate(list(self._rings.items()), 1):
            sums[key] = ring.sum(quarter, quarters)
            if number % AT_ONCE == 0:
                yield
        return sums

    def passed(self, minutes: float) -> float:
        """Return the minutes of the window that have passed; less than asked for soon after the start."""
        now = self._clock()
        first = max(self._began, (self.quarter - quarters_of(minutes) + 1) * QUARTER)
        return max(now - first, QUARTER / 3) / 60

    def series(self, wanted: Callable[[K], bool]) -> list[int]:
        """Return the growth of all wanted ones in each of the last quarters, oldest first."""
        total, quarter = [0] * QUARTERS, self.quarter
        for key, ring in self._rings.items():
            if wanted(key):
                total = [one + other for one, other in zip(total, ring.series(quarter), strict=True)]
        return total


def at_once(steps: Generator[None, None, R]) -> R:
    """Take all steps, for who holds the loop anyhow; returns what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("R", end.value)


def quarters_of(minutes: float) -> int:
    """Return how many quarters of a minute a window has."""
    return min(QUARTERS, max(1, round(minutes * 60 / QUARTER)))
