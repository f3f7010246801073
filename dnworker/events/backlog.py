"""`Backlog`: events published between a process's spawn and its first stream (contract 13.14).

Managed workers that are processes keep one; the event stream of the server claims it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from dnworker.core.envelope import EventEnvelope
from dnworker.events.bus import DeliveryWatcher, EventBus, Subscription

KEPT_PER_KIND = 1_000
KINDS_KEPT = 1_000
"""Events of a kind, and kinds, that a backlog keeps."""


class Backlog:
    """Keeps the newest events of every kind until the worker names the kinds that it wants.

    The bound is per kind: a flood of events that the worker does not want pushes out none that it wants.
    """

    def __init__(self, bus: EventBus, kept: int = KEPT_PER_KIND, *, owner: str | None = None) -> None:
        self._bus = bus
        self._kept = kept
        self._events: dict[str, deque[EventEnvelope]] = {}
        self._lost: dict[str, int] = {}
        self._owner = owner
        self._release = bus.tap(self._note, owner)

    def claim(
        self,
        kinds: Collection[str] | None,
        limit: int,
        watcher: DeliveryWatcher | None = None,
    ) -> tuple[Subscription, int]:
        """Return a subscription that begins with the kept events, and the number of events that it lost."""
        self.close()
        wanted = [kind for kind in self._events if kinds is None or kind in kinds]
        queued = sorted((e for kind in wanted for e in self._events[kind]), key=lambda e: e.seq)
        lost = sum(n for kind, n in self._lost.items() if kinds is None or kind in kinds)
        if watcher is not None:
            for envelope in queued:
                watcher.expect(envelope)
        return self._bus.subscribe(
            kinds, limit=limit, queued=queued, watcher=watcher, owner=self._owner
        ), lost

    def close(self) -> None:
        """Keep nothing more; may be called again."""
        self._release()

    def _note(self, envelope: EventEnvelope) -> None:
        events = self._events.get(envelope.kind)
        if events is None:
            if len(self._events) >= KINDS_KEPT:
                self._lost[envelope.kind] = self._lost.get(envelope.kind, 0) + 1
                return
            events = self._events[envelope.kind] = deque(maxlen=self._kept)
        if len(events) == self._kept:
            self._lost[envelope.kind] = self._lost.get(envelope.kind, 0) + 1
        events.append(envelope)
