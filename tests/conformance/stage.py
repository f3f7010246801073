"""`Stage`: one broker with a stand-in for the bus, and a clock that stands still."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dnworker.core.clock import VirtualClock
from dnworker.core.envelope import EventEnvelope, pack
from dnworker.events.brokers.base import Accepted, Broker, Consumer, Outcome, Subscriber

Make = Callable[[Path], Broker]
"""Makes a broker that keeps what it keeps in a directory."""


class FakeOutlet:
    """Delivers as the bus does, and remembers what."""

    def __init__(self) -> None:
        self.delivered: list[EventEnvelope] = []
        self.subscribers: list[Subscriber] = []
        self.on_deliver: Callable[[EventEnvelope], None] = lambda envelope: None

    def deliver(
        self, envelope: EventEnvelope, size: int, only: str | None = None, is_held: bool = False
    ) -> None:
        self.delivered.append(envelope)
        self.on_deliver(envelope)
        for subscriber in [*self.subscribers]:
            is_wanted = subscriber.kinds is None or envelope.kind in subscriber.kinds
            if is_wanted and not is_held and only in (None, subscriber.owner):
                subscriber.put(envelope, size)

    def kept(self, session_id: str | None, after_seq: int) -> list[EventEnvelope]:
        """Return what the bus keeps in memory, marked as it does."""
        kept = [one for one in self.delivered if one.session_id == session_id and one.seq > after_seq]
        return [replace(one, replay=True) for one in kept]

    def remember(self, subscriber: Subscriber) -> None:
        self.subscribers.append(subscriber)

    def forget(self, subscriber: Subscriber) -> None:
        if subscriber in self.subscribers:
            self.subscribers.remove(subscriber)


class Watcher:
    """Counts as the history does, and checks that nothing is told twice."""

    def __init__(self) -> None:
        self.expected: set[str] = set()
        self.ever: list[str] = []
        self.reading = 0

    def expect(self, envelope: EventEnvelope) -> None:
        assert envelope.event_id not in self.ever, "expected twice"
        self.ever.append(envelope.event_id)
        self.expected.add(envelope.event_id)

    def delivered(self, envelope: EventEnvelope) -> None:
        assert envelope.event_id in self.expected, "delivered without having been expected, or twice"
        self.expected.discard(envelope.event_id)

    def note_reading(self, change: int) -> None:
        self.reading += change
        assert self.reading in (0, 1), "one consumer reads once"


class Stage:
    """A broker that is open."""

    def __init__(self, make: Make, directory: Path, clock: VirtualClock | None = None) -> None:
        self._make = make
        self._directory = directory
        self._abandoned: list[Broker] = []
        self.clock = clock or VirtualClock()
        self.outlet = FakeOutlet()
        self.broker = make(directory)
        self._seq = 0

    async def open(self) -> None:
        """Open the broker."""
        self.broker.attach(self.outlet, self.clock)
        await self.broker.open("run")
        self._seq = self.broker.latest_seq

    async def restart(self) -> None:
        """Close the broker, and open it anew."""
        await self.broker.close()
        self.outlet, self.broker = FakeOutlet(), self._make(self._directory)
        await self.open()

    async def kill(self) -> None:
        """Go on with what is on disk at this moment, as after a SIGKILL."""
        if self.broker.capabilities.is_shared:
            await self.broker.abandon()
            self.outlet, self.broker = FakeOutlet(), self._make(self._directory)
            await self.open()
            return
        self._abandoned.append(self.broker)
        image = self._directory.with_name(f"{self._directory.name}-{len(self._abandoned)}")
        # While the writer is in a transaction: files that are copied one after the other are of one moment then.
        await self.broker.do(lambda connection: shutil.copytree(self._directory, image))
        self._directory = image
        self.outlet, self.broker = FakeOutlet(), self._make(image)
        await self.open()

    async def advance(self, seconds: float) -> None:
        """Let time pass, once what was written is known here: a value ends that long after it was."""
        await self.broker.keys("")
        await self.clock.advance(seconds)

    async def close(self) -> None:
        """End everything."""
        for broker in (*self._abandoned, self.broker):
            await broker.close()

    # -- events ----------------------------------------------------------------------------------------

    def begin_publish(
        self,
        kind: str = "demo.go",
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        event_id: str | None = None,
        only: str | None = None,
        is_held: bool = False,
        is_idempotent: bool = False,
    ) -> tuple[EventEnvelope, asyncio.Future[Accepted] | None]:
        """Publish as the bus does; return the event, and what tells that it is accepted."""
        self._seq += 1
        packed, size = pack(payload)
        named = {} if event_id is None else {"event_id": event_id}
        envelope = EventEnvelope(
            seq=self._seq,
            kind=kind,
            payload=packed,
            session_id=session_id,
            timestamp=self.clock.now(),
            **named,
        )
        return envelope, self.broker.publish(envelope, size, only, is_held, is_idempotent=is_idempotent)

    async def publish(self, kind: str = "demo.go", payload: Any = None, **options: Any) -> EventEnvelope:
        """Publish an event, and return it once it is accepted."""
        envelope, accepted = self.begin_publish(kind, payload, **options)
        return envelope if accepted is None else (await accepted).envelope

    async def publish_all(self, count: int, kind: str = "demo.go") -> list[EventEnvelope]:
        """Publish events with payloads that number them from 0."""
        begun = [self.begin_publish(kind, {"n": n}) for n in range(count)]
        return [envelope if accepted is None else (await accepted).envelope for envelope, accepted in begun]


@asynccontextmanager
async def staged(make: Make, directory: Path) -> AsyncIterator[Stage]:
    """Keep a stage open."""
    directory.mkdir(parents=True, exist_ok=True)
    stage = Stage(make, directory)
    await stage.open()
    try:
        yield stage
    finally:
        await stage.close()


def handle(consumer: Consumer, envelope: EventEnvelope, *, error: str | None = None) -> None:
    """Handle an event with one handler."""
    consumer.note_begin(envelope.event_id, "on_go")
    consumer.handed_out(envelope.event_id)
    consumer.note_end(envelope.event_id, Outcome("on_go", error))


async def next_of(consumer: Consumer, count: int = 1) -> list[EventEnvelope]:
    """Return the next events, without handling them."""
    return [await anext(consumer) for _ in range(count)]


async def handle_next(consumer: Consumer, count: int = 1) -> list[EventEnvelope]:
    """Handle the next events, and return them."""
    taken = []
    for _ in range(count):
        envelope = await anext(consumer)
        handle(consumer, envelope)
        taken.append(envelope)
    return taken


async def queued_in(consumer: Consumer, count: int) -> list[EventEnvelope]:
    """Return what is queued as soon as it is so many events."""
    while len(consumer) < count:
        await asyncio.sleep(0.001)
    return consumer.queued()


def numbers(envelopes: list[EventEnvelope]) -> list[int]:
    """Return the numbers in the payloads of events."""
    return [envelope.payload["n"] for envelope in envelopes]
