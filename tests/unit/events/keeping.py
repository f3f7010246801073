"""A broker of a test that redelivers: it keeps events in memory, over all runs of a worker."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope
from dnworker.events.brokers.base import NOW, BrokerCapabilities, Outcome
from dnworker.events.brokers.memory import MemoryBroker


class KeepingBroker(MemoryBroker):
    """Gives each worker what it has not handled; one consumer a worker."""

    name: ClassVar[str] = "keeping"
    capabilities: ClassVar[BrokerCapabilities] = BrokerCapabilities(redelivers=True)

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[EventEnvelope] = []
        self.kinds: dict[str, dict[str | None, int]] = {}
        self.handled: dict[str, set[str]] = {}
        self.given: dict[str, dict[str, int]] = {}
        self._open: dict[str, KeepingConsumer] = {}

    @property
    def latest_seq(self) -> int:
        return self.kept[-1].seq if self.kept else 0

    def publish(self, envelope: EventEnvelope, *args: Any, **options: Any) -> None:
        self.kept.append(envelope)
        super().publish(envelope, *args, **options)
        for consumer in self._open.values():
            consumer.take_in(envelope)

    def subscribe(self, worker: str, kinds: Any, *, start: int = NOW, watcher: Any = None) -> KeepingConsumer:
        assert worker not in self._open
        self.listen(worker, kinds, start)
        consumer = self._open[worker] = KeepingConsumer(self, worker)
        for envelope in self.kept:
            consumer.take_in(replace(envelope, replay=True))
        return consumer

    def expect(self, worker: str) -> int:
        return self.latest_seq

    def listen(self, worker: str, kinds: Any, start: int) -> None:
        since = self.latest_seq if start == NOW else start
        before = self.kinds.get(worker, {})
        self.kinds[worker] = {
            kind: before.get(kind, before.get(None, since)) for kind in ([None] if kinds is None else kinds)
        }

    def wants(self, worker: str, envelope: EventEnvelope) -> bool:
        kinds = self.kinds[worker]
        since = kinds.get(envelope.kind, kinds.get(None))
        is_handled = envelope.event_id in self.handled.get(worker, ())
        return since is not None and envelope.seq > since and not is_handled

    def consumer(self, worker: str) -> Any:
        return self._open.get(worker)

    def listened(self, worker: str) -> list[str]:
        return [kind for kind in self.kinds.get(worker, ()) if kind is not None]


class KeepingConsumer:
    """What one run of a worker was given, and what it made of it."""

    counts_ends = True
    session_id = None
    goes_by_seq = False

    def __init__(self, broker: KeepingBroker, worker: str) -> None:
        self.owner = worker
        self.broker = broker
        self.queue: list[EventEnvelope] = []
        self.running: dict[str, list[str]] = {}
        self.ended: dict[str, list[str]] = {}
        self.was_handed_out: set[str] = set()
        self.released: list[tuple[str, float]] = []
        self.is_closed = False

    def take_in(self, envelope: EventEnvelope) -> None:
        if self.broker.wants(self.owner, envelope):
            self.queue.append(envelope)

    def __len__(self) -> int:
        return len(self.queue)

    def take(self) -> EventEnvelope | None:
        if self.is_closed or not self.queue:
            return None
        envelope = self.queue.pop(0)
        given = self.broker.given.setdefault(self.owner, {})
        given[envelope.event_id] = given.get(envelope.event_id, 0) + 1
        return envelope

    def number(self, envelope: EventEnvelope) -> int:
        return self.broker.given[self.owner][envelope.event_id]

    def handled_by(self, event_id: str) -> list[str]:
        return self.ended.get(event_id, [])

    def retarget(self, kinds: Any, start: int = NOW, **options: bool) -> None:
        before = dict(self.broker.kinds[self.owner])
        self.broker.listen(self.owner, kinds, start)
        queued = {envelope.event_id for envelope in self.queue}
        given = self.broker.given.get(self.owner, {})
        for envelope in self.broker.kept:
            is_new = envelope.kind not in before and None not in before
            if is_new and envelope.event_id not in queued and envelope.event_id not in given:
                self.take_in(envelope)
        self.queue = [envelope for envelope in self.queue if self.broker.wants(self.owner, envelope)]
        self.queue.sort(key=lambda envelope: envelope.seq)

    def note_begin(self, event_id: str, handler: str) -> None:
        self.running.setdefault(event_id, []).append(handler)

    def note_end(self, event_id: str, outcome: Outcome) -> None:
        self.running[event_id].remove(outcome.handler)
        if outcome.error is None:
            self.ended.setdefault(event_id, []).append(outcome.handler)
        self._settle(event_id)

    def handed_out(self, event_id: str) -> None:
        assert not self.is_closed
        self.was_handed_out.add(event_id)
        self._settle(event_id)

    def _settle(self, event_id: str) -> None:
        if event_id in self.was_handed_out and not self.running.get(event_id):
            self.broker.handled.setdefault(self.owner, set()).add(event_id)

    def release(self, event_id: str, delay: float = 0.0) -> None:
        self.released.append((event_id, delay))
        self.queue.append(next(one for one in self.broker.kept if one.event_id == event_id))

    def close(self) -> None:
        self.is_closed = True
        del self.broker._open[self.owner]
