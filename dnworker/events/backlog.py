"""`Backlog`: events published between a process's spawn and its streams (contract 13.14).

The `WorkerQueue` of a worker process keeps one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from dnworker.core.envelope import EventEnvelope
from dnworker.events.bus import EventBus

KINDS_APART = 1_000
"""Kinds of which each gives way only when it takes the most room; all others together count as one more."""

CUT_KEPT = 10_000
"""Events that were cut and are known by their id, and kinds of which each is counted apart."""


class Timers(Protocol):
    """What a queue goes by: an event loop, or a test's."""

    def time(self) -> float:
        """Return the seconds since some moment."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call back after so many seconds."""


class Held(NamedTuple):
    """One event that is kept, its size in bytes, and when it was published."""

    envelope: EventEnvelope
    size: int
    at: float


class Cut(NamedTuple):
    """Events that were not kept for the kinds of a stream: how many, and the ids of the newest of them."""

    events: int
    event_ids: list[str]


class Backlog:
    """Keeps the newest events until the worker names the kinds that it wants.

    It is bounded by bytes and by time. Over its bytes the oldest event of that kind goes which takes the most
    room: a flood of events that the worker does not want pushes out none that it wants. It ends `seconds`
    after the first kinds were taken, except for kinds that the worker has said it handles; others that are
    named later begin then, as with any other subscriber.

    Args:
        bus: where events come from.
        max_bytes: bytes of events that it keeps.
        seconds: how long it keeps one; it may be up to a quarter longer.
        owner: the worker that it is for.
        timers: what times are counted by.
        heard: returns the kinds that the worker has said it handles.
    """

    def __init__(
        self,
        bus: EventBus,
        max_bytes: int,
        seconds: float,
        *,
        owner: str | None = None,
        timers: Timers,
        heard: Callable[[], Collection[str]] = tuple,
    ) -> None:
        # What the bus asks of a subscriber.
        self.kinds: frozenset[str] | None = None
        self.session_id: str | None = None
        self.goes_by_seq = True
        self.owner = owner
        # What is kept, by kind, and what was not.
        self._held: dict[str | None, deque[Held]] = {}
        self._bytes: Counter[str | None] = Counter()
        self._total = 0
        self._taken: set[str] = set()
        self._cut: Counter[str | int] = Counter()
        self._cut_ids: deque[tuple[str, str]] = deque(maxlen=CUT_KEPT)
        # Its bounds.
        self._bus = bus
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._timers = timers
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at: float | None = None
        self._heard = heard
        self._is_closed = False
        bus.remember(self)

    @property
    def size(self) -> int:
        """The bytes of the events that it keeps."""
        return self._total

    def __len__(self) -> int:
        """Return how many events it keeps."""
        return sum(map(len, self._held.values()))

    def held_kinds(self) -> Counter[str]:
        """Return how many events of each kind it keeps."""
        return Counter(one.envelope.kind for held in self._held.values() for one in held)

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Keep an event, and cut others where it must; called by the bus."""
        kind = envelope.kind
        if kind in self._taken:
            return False
        place = kind if kind in self._held or len(self._held) < KINDS_APART else None
        self._held.setdefault(place, deque()).append(Held(envelope, size, self._timers.time()))
        self._bytes[place] += size
        self._total += size
        while self._total > self._max_bytes:
            self._drop(max(self._bytes, key=self._bytes.__getitem__))
        if self._timer is None:
            self._timer = self._timers.call_later(self._seconds / 4, self._expire)
        return True

    def take(self, kinds: Collection[str] | None) -> tuple[list[Held], Cut]:
        """Return the kept events of these kinds, in their order, and what was cut; once for each kind.

        Kinds that nobody has taken are kept for a while longer, for further streams.
        """
        taken: list[Held] = []
        for place, held in [*self._held.items()]:
            mine = [one for one in held if kinds is None or one.envelope.kind in kinds]
            if mine:
                taken += mine
                rest = deque(one for one in held if not (kinds is None or one.envelope.kind in kinds))
                self._keep(place, rest)
        cut = self._take_cut(kinds)
        if kinds is None:
            self.close()
        elif not self._is_closed:
            self._taken.update(kinds)
            if self._ends_at is None:
                self._ends_at = self._timers.time() + self._seconds
                if self._timer is None:
                    self._timer = self._timers.call_later(self._seconds, self._expire)
        return sorted(taken, key=lambda one: one.envelope.seq), cut

    def _take_cut(self, kinds: Collection[str] | None) -> Cut:
        """Return what was cut of these kinds, and forget it: it is told once."""
        if kinds is None:
            cut = Cut(self._cut.total(), [event_id for _, event_id in self._cut_ids])
            self._cut.clear()
            self._cut_ids.clear()
            return cut
        wanted = frozenset(kinds) - self._taken
        keys: set[str | int] = {*wanted, *map(_shared_count, wanted)}
        counts = [self._cut.pop(key, 0) for key in keys]
        ids = [event_id for kind, event_id in self._cut_ids if kind in wanted]
        if ids:
            rest = (one for one in self._cut_ids if one[0] not in wanted)
            self._cut_ids = deque(rest, maxlen=CUT_KEPT)
        return Cut(sum(counts), ids)

    def close(self) -> None:
        """Keep nothing more, and know of nothing that was cut; may be called again."""
        self._is_closed = True
        self._bus.forget(self)
        self._cut.clear()
        self._cut_ids.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        self._bytes.clear()
        self._total = 0

    def _keep(self, place: str | None, rest: deque[Held]) -> None:
        size = sum(one.size for one in rest)
        self._total += size - self._bytes.pop(place, 0)
        if rest:
            self._held[place], self._bytes[place] = rest, size
        else:
            self._held.pop(place, None)

    def _drop(self, place: str | None) -> None:
        """Cut the oldest event of one place."""
        held = self._held[place]
        gone = held.popleft()
        self._bytes[place] -= gone.size
        self._total -= gone.size
        if not held:
            del self._held[place], self._bytes[place]
        kind = gone.envelope.kind
        has_own_count = kind in self._cut or len(self._cut) < CUT_KEPT
        self._cut[kind if has_own_count else _shared_count(kind)] += 1
        self._cut_ids.append((kind, gone.envelope.event_id))

    def _expire(self) -> None:
        """Cut what is too old; runs four times in the time that an event is kept."""
        self._timer = None
        now = self._timers.time()
        if self._ends_at is not None and now >= self._ends_at:
            awaited = frozenset(self._heard()) - self._taken
            if not awaited:
                self.close()
                return
            self._keep_only(awaited)
        for place in [*self._held]:
            while place in self._held and now - self._held[place][0].at >= self._seconds:
                self._drop(place)
        if self._held or self._ends_at is not None:
            self._timer = self._timers.call_later(self._seconds / 4, self._expire)

    def _keep_only(self, kinds: frozenset[str]) -> None:
        """Keep no other kinds from now on, and know of nothing that was cut of them."""
        if self.kinds != kinds:
            self._bus.forget(self)
            self.kinds = kinds
            self._bus.remember(self)
        for place, held in [*self._held.items()]:
            self._keep(place, deque(one for one in held if one.envelope.kind in kinds))
        known: set[str | int] = {*kinds, *map(_shared_count, kinds)}
        self._cut = Counter({key: count for key, count in self._cut.items() if key in known})
        self._cut_ids = deque((cut for cut in self._cut_ids if cut[0] in kinds), maxlen=CUT_KEPT)


def _shared_count(kind: str) -> int:
    """Return the key of the count that a kind shares with others, where there are too many kinds.

    Kinds that share one are counted too high rather than not at all.
    """
    return hash(kind) % CUT_KEPT
