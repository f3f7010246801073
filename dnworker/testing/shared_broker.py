"""`SharedBroker`: a broker of several runtimes in one process, for tests of clusters with virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import ClassVar

from msgspec.structs import replace

from dnworker.core.clock import Clock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Conflict, NotStored
from dnworker.core.invocation import published_as, traceparent_here
from dnworker.core.members import Partition, Share
from dnworker.events.brokers.base import (
    Accepted,
    BrokerCapabilities,
    Consumer,
    DeliveryWatcher,
    Entry,
    Lease,
    Outlet,
)
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.memory_consumer import MemoryConsumer
from dnworker.events.brokers.messages import Unreachable

log = logging.getLogger("dnworker.testing")


class SharedStore(MemoryBroker):
    """What the brokers of one cluster share in a test: the order of events, keys, values and leases.

    Args:
        clock: its own clock, by which leases and values end.

    Attributes:
        seq: the number of the newest event.
        brokers: all that are open.
        events: all events that are accepted, in order.
        reports_fail: set it to have the log of reports take nothing, as with a full disk.

    Examples:
        >>> clock = VirtualClock()
        >>> store = SharedStore(clock)
        >>> async with Runtime(port=None, clock=clock, broker=SharedBroker(store), node="a") as one:
        ...     async with Runtime(port=None, clock=clock, broker=SharedBroker(store), node="b") as two:
        ...         event = one.publish("demo.greeted", {"name": "Ada"})
        ...         await turn_loop()
        >>> [event.kind for event in store.events if event.kind == "demo.greeted"]
        ['demo.greeted']
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.seq = 0
        self.brokers: list[SharedBroker] = []
        """All that are open."""
        self.events: list[EventEnvelope] = []
        """All that are accepted, in order."""
        self.known: dict[str, EventEnvelope] = {}
        self.divisions: dict[str, tuple[int, Partition]] = {}
        """How often each worker was divided, and how it is."""
        self.reports_fail = False
        """Whether the log of reports takes nothing, as with a full disk."""


class SharingConsumer(MemoryConsumer):
    """A consumer that takes the events of its own share alone."""

    share = Share()

    def put(self, envelope: EventEnvelope, size: int = 0) -> bool:
        """Queue an event; False where it is another member's."""
        return self.share.has(envelope) and super().put(envelope, size)


class SharedBroker(MemoryBroker):
    """One runtime's part of a `SharedStore`: clusters in one process, with virtual time, for tests.

    Its consumers keep nothing over the end of their runtime. A runtime calls the methods of every broker; a
    test calls `cut_off` and `heal`.

    Args:
        store: what it shares.

    Attributes:
        store: as given.
        is_cut_off: whether it reaches nobody.

    Examples:
        >>> broker = SharedBroker(SharedStore(VirtualClock()))
        >>> broker.is_cut_off
        False
    """

    name: ClassVar[str] = "shared"
    capabilities: ClassVar[BrokerCapabilities] = BrokerCapabilities(is_shared=True, numbers_events=True)
    consumer_type = SharingConsumer

    def __init__(self, store: SharedStore) -> None:
        super().__init__()
        self.store = store
        self.is_cut_off = False
        """Whether it reaches nobody."""
        self._missed: list[Callable[[], object]] = []
        self.partitions: SharedPartitions = SharedPartitions(self)  # type: ignore[assignment]
        self.messages: SharedMessages = SharedMessages(self)  # type: ignore[assignment]
        self.reports: SharedReports = SharedReports(self)  # type: ignore[assignment]

    @property
    def latest_seq(self) -> int:  # type: ignore[override]
        """The `seq` of the newest event."""
        return self.store.seq

    @property
    def failure(self) -> str | None:  # type: ignore[override]
        """That it is cut off; None where it is not."""
        return "it is cut off" if self.is_cut_off else None

    def attach(self, outlet: Outlet, clock: Clock) -> None:
        """Deliver to `outlet`."""
        super().attach(outlet, clock)

    async def open(self, run: str) -> None:
        """Get events and messages from now on."""
        if self not in self.store.brokers:
            self.store.brokers.append(self)

    async def close(self) -> None:
        """Get nothing more; leases stay until they end, as where a runtime is killed."""
        if self in self.store.brokers:
            self.store.brokers.remove(self)
        self.messages.forget()
        self.reports.forget()

    def cut_off(self) -> None:
        """Reach nobody, and be reached by nobody, until `heal`: as where a cable is pulled.

        Examples:
            >>> broker = SharedBroker(SharedStore(VirtualClock()))
            >>> broker.cut_off()
            >>> broker.failure
            'it is cut off'
        """
        self.is_cut_off = True

    def heal(self) -> None:
        """Reach the others again; events of the meantime come now.

        Examples:
            >>> broker = SharedBroker(SharedStore(VirtualClock()))
            >>> broker.cut_off()
            >>> broker.heal()
            >>> broker.failure is None
            True
        """
        self.is_cut_off = False
        missed, self._missed = self._missed, []
        for deliver in missed:
            deliver()

    def publish(
        self,
        envelope: EventEnvelope,
        size: int,
        only: str | None = None,
        is_held: bool = False,
        *,
        cause: str | None = None,
        is_idempotent: bool = False,
    ) -> asyncio.Future[Accepted]:
        """Give an event the next number, and deliver it to all brokers on the next turn of the loop."""
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Accepted] = loop.create_future()
        if self.is_cut_off:
            accepted.set_exception(NotStored("the event is not kept: the broker is cut off"))
            return accepted
        if is_idempotent and (first := self.store.known.get(envelope.event_id)) is not None:
            accepted.set_result(Accepted(first, is_new=False))
            return accepted
        self.store.seq += 1
        numbered = replace(envelope, seq=self.store.seq)
        self.store.events.append(numbered)
        self.store.known[numbered.event_id] = numbered
        traceparent = traceparent_here()
        for broker in self.store.brokers:
            context = contextvars.Context()
            loop.call_soon(broker.bring, numbered, size, only, is_held, traceparent, context=context)
        loop.call_soon(_accept, accepted, Accepted(numbered, is_new=True))
        return accepted

    def subscribe(
        self,
        worker: str,
        kinds: Collection[str] | None,
        *,
        start: int | None = None,
        watcher: DeliveryWatcher | None = None,
    ) -> Consumer:
        """Return what is published for a worker from now on, of its share."""
        consumer = super().subscribe(worker, kinds, start=start, watcher=watcher)
        assert isinstance(consumer, SharingConsumer)
        consumer.share = self.partitions.given.get(worker, consumer.share)
        return consumer

    def miss(self, deliver: Callable[[], None]) -> None:
        """Deliver something once this one is reached again."""
        self._missed.append(deliver)

    def bring(
        self, envelope: EventEnvelope, size: int, only: str | None, is_held: bool, traceparent: str | None
    ) -> None:
        """Deliver an event of any broker, or keep it until this one is reached again."""
        if self.is_cut_off:
            self._missed.append(lambda: self._deliver(envelope, size, only, is_held, traceparent))
        elif self in self.store.brokers:
            self._deliver(envelope, size, only, is_held, traceparent)

    def _deliver(
        self, envelope: EventEnvelope, size: int, only: str | None, is_held: bool, traceparent: str | None
    ) -> None:
        with published_as(traceparent):
            self._outlet.deliver(envelope, size, only, is_held)

    async def replay(
        self, session_id: str | None, after_seq: int, *, limit: int = 1_000
    ) -> list[EventEnvelope]:
        """Return accepted events of a scope."""
        found = (one for one in self.store.events if one.session_id == session_id and one.seq > after_seq)
        return [replace(one, replay=True) for one in found][:limit]

    # -- what the store has ----------------------------------------------------------------------------

    def _reach(self) -> SharedStore:
        if self.is_cut_off:
            raise NotStored("the broker is cut off")
        return self.store

    async def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease; None while another has it."""
        return await self._reach().acquire(name, holder, seconds)

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Hold it longer; None where another has it."""
        return await self._reach().renew(lease, seconds)

    async def settled(self, worker: str, seconds: float) -> bool:
        """Return whether it is kept how far a worker is; waits for that, at most so many seconds."""
        return True

    async def give_back(self, lease: Lease) -> None:
        """End it now; one that another has is left alone."""
        await self._reach().give_back(lease)

    async def get(self, key: str) -> Entry | None:
        """Return a value."""
        return await self._reach().get(key)

    async def put(
        self, key: str, value: bytes, *, revision: int | None = None, seconds: float | None = None
    ) -> Entry | None:
        """Write a value; with a `revision` only where that is the present one, 0 for none."""
        return await self._reach().put(key, value, revision=revision, seconds=seconds)

    async def delete(self, key: str) -> None:
        """Remove a value."""
        await self._reach().delete(key)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, in order."""
        return await self._reach().keys(prefix)

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all values whose keys begin so, by their keys."""
        return await self._reach().entries(prefix)

    def watch(self, prefix: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` soon after values change whose keys begin so; while it is cut off, after `heal`."""

        def tell() -> None:
            if not self.is_cut_off:
                changed()
            elif tell not in self._missed:
                self._missed.append(tell)

        return self.store.watch(prefix, tell)


class SharedPartitions:
    """How the workers of a `SharedStore` are divided; nothing waits that would have to be moved."""

    def __init__(self, broker: SharedBroker) -> None:
        self._broker = broker
        self.given: dict[str, Share] = {}

    def _divisions(self) -> dict[str, tuple[int, Partition]]:
        if self._broker.is_cut_off:
            raise NotStored("the broker is cut off")
        return self._broker.store.divisions

    async def share(self, worker: str, index: int) -> Share:
        """Return the share of a member as all have agreed."""
        turn, partition = self._divisions().get(worker, (0, Partition()))
        return Share(index, partition, turn)

    def give(self, member: str, share: Share) -> None:
        """Have the next consumer of a member get a share."""
        self.given[member] = share

    async def divide(self, worker: str, partition: Partition, may: Callable[[], bool]) -> None:
        """Divide a worker anew."""
        divisions = self._divisions()
        turn, _ = divisions.get(worker, (0, partition))
        await asyncio.sleep(0)
        if not may() or divisions.get(worker, (0, partition))[0] != turn:
            raise Conflict(f"a lease of {worker} was lost meanwhile", code="DN810")
        divisions[worker] = turn + 1, partition


class SharedMessages:
    """The messages of a `SharedBroker`."""

    def __init__(self, broker: SharedBroker) -> None:
        self._broker = broker
        self._listeners: dict[object, tuple[str, Callable[[str, bytes], None]]] = {}
        self._served: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}

    def tell(self, subject: str, data: bytes) -> None:
        """Send a message to all who listen."""
        for one in () if self._broker.is_cut_off else self._others():
            asyncio.get_running_loop().call_soon(
                one.messages.hear, subject, data, context=contextvars.Context()
            )

    def listen(self, subject: str, on_message: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call `on_message(subject, data)` with every message from now on."""
        name = object()
        self._listeners[name] = subject, on_message

        def end() -> None:
            self._listeners.pop(name, None)

        return end

    def serve(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[[], None]:
        """Answer the requests of a subject."""
        self._served[subject] = answer

        def end() -> None:
            if self._served.get(subject) is answer:
                del self._served[subject]

        return end

    async def request(self, subject: str, data: bytes, seconds: float) -> bytes:
        """Return the answer of the runtime that serves a subject."""
        for one in () if self._broker.is_cut_off else self._others():
            if (answer := one.messages.answer_of(subject)) is not None:
                context = contextvars.Context()
                task = asyncio.get_running_loop().create_task(_awaited(answer, data), context=context)
                done, _ = await asyncio.wait({task}, timeout=seconds)
                if not done:
                    raise Unreachable(f"no answer to {subject} within {seconds:g} s")
                return task.result()
        raise Unreachable(f"nobody serves {subject}")

    def answer_of(self, subject: str) -> Callable[[bytes], Awaitable[bytes]] | None:
        """Return what answers the requests of a subject here."""
        return self._served.get(subject)

    def hear(self, subject: str, data: bytes) -> None:
        """Give a message to who listens here."""
        for wanted, on_message in [*self._listeners.values()]:
            if wanted == subject or (wanted.endswith(".>") and subject.startswith(wanted[:-1])):
                try:
                    on_message(subject, data)
                except Exception:
                    log.exception("what listens to %s has failed", wanted)

    def forget(self) -> None:
        """Hear and serve nothing more."""
        self._listeners.clear()
        self._served.clear()

    def _others(self) -> Collection[SharedBroker]:
        return [one for one in self._broker.store.brokers if not one.is_cut_off]


class SharedReports:
    """The log of reports of a `SharedBroker`; what comes while it is cut off comes after `heal`."""

    def __init__(self, broker: SharedBroker) -> None:
        self._broker = broker
        self._followers: dict[object, Callable[[bytes], None]] = {}

    async def add(self, data: bytes) -> None:
        """Give a report to all that follow, on the next turn of the loop."""
        if self._broker.is_cut_off or self._broker.store.reports_fail:
            raise NotStored("the report is not kept: the broker is cut off")
        for one in self._broker.store.brokers:
            asyncio.get_running_loop().call_soon(one.reports.hear, data, context=contextvars.Context())
        await asyncio.sleep(0)

    def follow(self, on_report: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `on_report` with every report from now on."""
        name = object()
        self._followers[name] = on_report

        def end() -> None:
            self._followers.pop(name, None)

        return end

    def hear(self, data: bytes) -> None:
        """Give a report to who follows here, or keep it until the broker is reached again."""
        if self._broker.is_cut_off:
            self._broker.miss(lambda: self.hear(data))
            return
        for on_report in [*self._followers.values()]:
            try:
                on_report(data)
            except Exception:
                log.exception("what follows the reports has failed")

    def forget(self) -> None:
        """Give reports to nobody any more."""
        self._followers.clear()


async def _awaited(answer: Callable[[bytes], Awaitable[bytes]], data: bytes) -> bytes:
    return await answer(data)


def _accept(future: asyncio.Future[Accepted], accepted: Accepted) -> None:
    if not future.done():
        future.set_result(accepted)
