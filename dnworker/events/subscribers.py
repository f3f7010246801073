"""`Subscribers`: which subscribers of the bus want which kind."""

from __future__ import annotations

import logging

from dnworker.core.envelope import KINDS_REMEMBERED, EventEnvelope
from dnworker.events.brokers.base import Subscriber

log = logging.getLogger("dnworker.bus")


class Subscribers:
    """Which subscriptions want which kind; cached by kind until a subscription of it comes or goes."""

    def __init__(self) -> None:
        self._all_kinds: dict[Subscriber, None] = {}
        self._by_kind: dict[str, dict[Subscriber, None]] = {}
        self._cache: dict[str, tuple[Subscriber, ...]] = {}

    def of_kind(self, kind: str) -> tuple[Subscriber, ...]:
        """Return those that want a kind."""
        found = self._cache.get(kind)
        if found is None:
            if len(self._cache) >= KINDS_REMEMBERED:
                self._cache.clear()
            found = self._cache[kind] = (*self._by_kind.get(kind, ()), *self._all_kinds)
        return found

    def add(self, subscription: Subscriber) -> None:
        """Give it events of its kinds from now on."""
        if subscription.kinds is None:
            self._all_kinds[subscription] = None
            self._cache.clear()
            return
        for kind in subscription.kinds:
            self._by_kind.setdefault(kind, {})[subscription] = None
            self._cache.pop(kind, None)

    def remove(self, subscription: Subscriber) -> None:
        """Give it nothing more."""
        if subscription.kinds is None:
            self._all_kinds.pop(subscription, None)
            self._cache.clear()
            return
        for kind in subscription.kinds:
            wanting = self._by_kind.get(kind)
            if wanting is not None and wanting.pop(subscription, 0) is None and not wanting:
                del self._by_kind[kind]
            self._cache.pop(kind, None)

    def of_workers(self) -> dict[str, frozenset[str] | None]:
        """Return which kinds each worker wants, by its qualified name; None for every kind."""
        found: dict[str, frozenset[str] | None] = {}
        for kind, wanting in self._by_kind.items():
            for one in wanting:
                if one.owner is not None:
                    found[one.owner] = (found.get(one.owner) or frozenset()) | {kind}
        for one in self._all_kinds:
            if one.owner is not None:
                found[one.owner] = None
        return found


def put(subscriber: Subscriber, envelope: EventEnvelope, size: int) -> None:
    """Give an event to a subscriber; one that fails keeps it from no other."""
    try:
        subscriber.put(envelope, size)
    except Exception:
        note_not_put(subscriber, envelope)


def note_not_put(subscriber: Subscriber, envelope: EventEnvelope) -> None:
    """Log, within an `except`, that a subscriber did not get an event."""
    whom = subscriber.owner or "a client"
    log.exception("an event of kind %s could not be delivered to %s", envelope.kind, whom)
