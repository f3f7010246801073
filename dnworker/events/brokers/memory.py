"""`MemoryBroker`: keeps nothing over the end of the process; the default."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from typing import ClassVar

from msgspec.structs import replace

from dnworker.core.clock import Clock, RealClock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import NotFound
from dnworker.core.listeners import Listeners
from dnworker.events.brokers.base import (
    NOW,
    Accepted,
    BrokerCapabilities,
    Consumer,
    CursorInfo,
    DeliveryWatcher,
    Entry,
    Lease,
    Outlet,
)
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.brokers.memory_consumer import MemoryConsumer, Unhandled
from dnworker.events.brokers.watches import Watches

IDS_KEPT = 100_000
"""Ids of idempotent events that are remembered."""


class MemoryBroker:
    """Delivers an event at once; what a worker has not handled when it ends is gone.

    Keys, values and leases last as long as the process, and so does what workers have not handled whose ends
    are counted.
    """

    name: ClassVar[str] = "memory"
    capabilities: ClassVar[BrokerCapabilities] = BrokerCapabilities()
    consumer_type: ClassVar[type[MemoryConsumer]] = MemoryConsumer
    journal = None
    messages = None
    reports = None
    partitions = None
    latest_seq = 0
    start = NOW
    failure: str | None = None

    def __init__(self) -> None:
        self._outlet: Outlet
        self._clock: Clock = RealClock()
        self.left: Listeners[[LeftEvents]] = Listeners()
        self._idempotent: dict[str, EventEnvelope] = {}
        self._values: dict[str, tuple[Entry, float | None]] = {}
        self._revision = 0
        self._leases: dict[str, Lease] = {}
        self._watches = Watches()
        # Workers whose ends are counted: their newest consumers, and what those have left.
        self._counted: set[str] = set()
        self._consumers: dict[str, MemoryConsumer] = {}
        self._left: dict[str, list[Unhandled]] = {}

    def attach(self, outlet: Outlet, clock: Clock) -> None:
        """Deliver to `outlet`."""
        self._outlet, self._clock = outlet, clock

    async def open(self, run: str) -> None:
        """Begin; there is nothing to open."""

    async def close(self) -> None:
        """End; there is nothing to write."""

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None = None,
        is_held: bool = False,
        *,
        cause: str | None = None,
        is_idempotent: bool = False,
    ) -> asyncio.Future[Accepted] | None:
        """Deliver an event at once."""
        if is_idempotent:
            if (first := self._idempotent.get(envelope.event_id)) is not None:
                accepted = asyncio.get_running_loop().create_future()
                accepted.set_result(Accepted(first, is_new=False))
                return accepted
            self._idempotent[envelope.event_id] = envelope
            if len(self._idempotent) > IDS_KEPT:
                del self._idempotent[next(iter(self._idempotent))]
        self._outlet.deliver(envelope, size, only, is_held)
        return None

    def let_go(self, held: Collection[int]) -> None:
        """Do nothing: no consumer has what is held back."""

    def subscribe(
        self,
        worker: str,
        kinds: Collection[str] | None,
        *,
        start: int | None = None,
        watcher: DeliveryWatcher | None = None,
    ) -> Consumer:
        """Return what is published for a worker from now on, whatever `start` says: nothing is kept."""
        wanted, is_counted = None if kinds is None else frozenset(kinds), worker in self._counted
        consumer = self._consumers[worker] = self.consumer_type(
            self._outlet, self, self._clock, worker, wanted, watcher, counts_ends=is_counted
        )
        consumer.begin_with(self._left.pop(worker, ()))
        self._outlet.remember(consumer)
        return consumer

    def consumer(self, worker: str) -> Consumer | None:
        """Return the newest consumer of a worker whose ends are counted."""
        consumer = self._consumers.get(worker)
        return consumer if consumer is not None and consumer.counts_ends else None

    def count_ends(self, worker: str, *, is_wanted: bool = True) -> None:
        """Keep what a worker has not handled, from now on; or no longer, from its next consumer on."""
        if is_wanted:
            self._counted.add(worker)
            if (consumer := self._consumers.get(worker)) is not None:
                consumer.counts_ends = True
        else:
            self._counted.discard(worker)
            self._left.pop(worker, None)

    def keep(self, worker: str, left: Iterable[Unhandled]) -> None:
        """Keep what a consumer leaves to the worker's next one; called by the consumer."""
        if worker in self._counted:
            self._left.setdefault(worker, []).extend(left)

    def expect(self, worker: str) -> int:
        """Return the newest `seq`: nothing before it is kept."""
        return self.latest_seq

    def listened(self, worker: str) -> Collection[str]:
        """Return none: who is not here listens to nothing."""
        return ()

    def knows(self, worker: str) -> bool:
        """Return False: no worker has a cursor."""
        return False

    async def cursors(self) -> list[CursorInfo]:
        """Return nothing: no worker has a cursor."""
        return []

    async def reset(self, worker: str, start: int) -> None:
        """Refuse it: no worker has a cursor."""
        raise NotFound(
            f"{worker!r} has no cursor: this runtime keeps none; start it with --durable", code="DN708"
        )

    async def drop(self, worker: str) -> None:
        """Refuse it: no worker has a cursor."""
        await self.reset(worker, NOW)

    async def replay(
        self, session_id: str | None, after_seq: int, *, limit: int = 1_000
    ) -> list[EventEnvelope]:
        """Return what the outlet keeps of a scope."""
        return self._outlet.kept(session_id, after_seq)[:limit]

    async def dropped_to(self) -> int:
        """Return 0: what the outlet keeps of a scope, it says itself."""
        return 0

    # -- leases ----------------------------------------------------------------------------------------

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it."""
        now, before = self._clock.monotonic(), self._leases.get(name)
        if before is not None and before.until > now and before.holder != holder:
            return None
        is_held = before is not None and before.holder == holder and before.until > now
        fence = 1 if before is None else before.fence + (not is_held)
        lease = self._leases[name] = Lease(name=name, holder=holder, fence=fence, until=now + seconds)
        return lease

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold it longer; None where another has it."""
        held, now = self._leases.get(lease.name), self._clock.monotonic()
        if held is None or held.fence != lease.fence:
            return None
        renewed = self._leases[lease.name] = replace(held, until=now + seconds)
        return renewed

    async def settled(self, worker: str, seconds: float) -> bool:
        """Return whether it is kept how far a worker is; waits for that, at most so many seconds."""
        return True

    async def give_back(self, lease: Lease) -> None:
        """End it now; one that another has is left alone."""
        held = self._leases.get(lease.name)
        if held is not None and held.fence == lease.fence:
            self._leases[lease.name] = replace(held, until=self._clock.monotonic())

    # -- keys and values -------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return a value."""
        found = self._values.get(key)
        if found is None:
            return None
        entry, until = found
        if until is not None and until <= self._clock.monotonic():
            del self._values[key]
            return None
        return entry

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value; with a `revision` only where that is the present one, 0 for none."""
        before = await self.get(key)
        present = 0 if before is None else before.revision
        if revision is not None and revision != present:
            return None
        self._revision += 1
        entry = Entry(key=key, value=value, revision=self._revision)
        self._values[key] = entry, None if seconds is None else self._clock.monotonic() + seconds
        self._watches.note(key)
        return entry

    async def delete(self, key: str) -> None:
        """Remove a value."""
        if self._values.pop(key, None) is not None:
            self._watches.note(key)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order."""
        every = sorted(self._values)
        found = every[bisect_left(every, prefix) :]
        return [key for key in found if key.startswith(prefix) and await self.get(key) is not None]

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all values whose keys begin so, by their keys."""
        found = [await self.get(key) for key in await self.keys(prefix)]
        return [entry for entry in found if entry is not None]

    def watch(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after values change whose keys begin so."""
        return self._watches.add(prefix, changed)
