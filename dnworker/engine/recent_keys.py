"""`RecentKeys`: what workers did by a key within a day, in the broker's store; for `once` and `dedupe`."""

from __future__ import annotations

import logging

from dnworker.core.clock import Clock
from dnworker.core.keys import KEY_SECONDS
from dnworker.events.brokers.base import Broker, Entry
from dnworker.events.bus import EventBus

log = logging.getLogger("dnworker.keys")

KEYS_KEPT = 100_000
"""Keys of one worker and purpose; of more, the oldest are forgotten."""


class RecentKeys:
    """A value for each key of a worker, for a day.

    Args:
        bus: has the broker that keeps them, so that those of a durable one outlive a kill.
        clock: what the day goes by.
        purpose: what they are for; keys of another purpose are other keys.
    """

    def __init__(self, bus: EventBus, clock: Clock, purpose: str) -> None:
        self._bus = bus
        self._clock = clock
        self._purpose = purpose
        self._broker: Broker | None = None
        self._known: dict[str, dict[str, float]] = {}
        """Of each worker the names in the store, oldest first, and when they are gone at the latest."""
        self._warned: set[str] = set()

    async def get(self, worker: str, key: str) -> Entry | None:
        """Return what is kept for a key."""
        return await self._bus.broker.get(self._name(worker, key))

    async def put(self, worker: str, key: str, value: bytes, *, revision: int | None = None) -> Entry | None:
        """Keep a value for a day, as `Broker.put`; the oldest key goes where there are too many."""
        name = self._name(worker, key)
        entry = await self._bus.broker.put(name, value, revision=revision, seconds=KEY_SECONDS)
        if entry is not None:
            await self._note(worker, name)
        return entry

    def _name(self, worker: str, key: str) -> str:
        return f"{self._purpose}/{worker}/{key}"

    async def _note(self, worker: str, name: str) -> None:
        known, now = await self._names(worker), self._clock.monotonic()
        known.pop(name, None)
        known[name] = now + KEY_SECONDS
        while (oldest := next(iter(known))) != name:
            if known[oldest] > now:
                if len(known) <= KEYS_KEPT:
                    break
                self._warn(worker)
            del known[oldest]
            await self._bus.broker.delete(oldest)

    async def _names(self, worker: str) -> dict[str, float]:
        """Return the names of a worker; those from before this start are taken to be new."""
        broker = self._bus.broker
        if broker is not self._broker:
            self._broker = broker
            self._known.clear()
        if worker not in self._known:
            until = self._clock.monotonic() + KEY_SECONDS
            found = dict.fromkeys(await broker.keys(self._name(worker, "")), until)
            self._known.setdefault(worker, found)
        return self._known[worker]

    def _warn(self, worker: str) -> None:
        if worker not in self._warned:
            self._warned.add(worker)
            log.warning(
                "%s has used more than %s keys of %r within a day; the oldest are forgotten",
                worker or "the operator",
                f"{KEYS_KEPT:,}",
                self._purpose,
            )
