"""Whatever happens in whatever order: no accepted event is lost, and none comes again that is known to be handled."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.events.brokers.base import Outcome
from dnworker.events.brokers.kept import consumer as consumer_module

from ...conformance.stage import Stage, handle, staged
from .sqlite_brokers import making

WORKERS = ("demo:a", "demo:b")

steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 30)),
        st.tuples(st.just("publish"), st.integers(1, 30)),
        st.tuples(st.just("subscribe"), st.sampled_from(WORKERS)),
        st.tuples(st.just("subscribe"), st.sampled_from(WORKERS)),
        st.tuples(st.just("hold"), st.integers(1, 5)),
        st.tuples(st.just("let go"), st.integers(0, 5)),
        st.tuples(st.just("add a kind"), st.sampled_from(WORKERS)),
        st.tuples(st.just("handle"), st.integers(1, 40)),
        st.tuples(st.just("handle"), st.integers(1, 40)),
        st.tuples(st.just("begin"), st.integers(1, 5)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("give back"), st.sampled_from((0, 10))),
        st.tuples(st.just("wait"), st.just(20)),
        st.tuples(st.just("close"), st.sampled_from(WORKERS)),
        st.tuples(st.just("on disk"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    min_size=15,
    max_size=40,
)


class Checked:
    """A stage whose history is kept, and checked at each step."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.consumers: dict[str, object] = {}
        self.running: dict[str, list] = {worker: [] for worker in WORKERS}
        self.since: dict[str, int] = {}
        self.accepted: list[int] = []
        self.kind_of: dict[int, str] = {}
        self.held: list = []
        """What a storm holds, and has not let go."""
        self.by_itself: dict[str, set[int]] = {worker: set() for worker in WORKERS}
        """What may come after later events."""
        self.adds: dict[str, bool] = dict.fromkeys(WORKERS, False)
        """Who listens to the kind that is added, from the beginning."""
        self.handled: dict[str, set[int]] = {worker: set() for worker in WORKERS}
        self.known: dict[str, set[int]] = {worker: set() for worker in WORKERS}
        """What the broker knows to be handled; of that, what surely is on disk."""
        self.on_disk: dict[str, set[int]] = {worker: set() for worker in WORKERS}
        self.numbers: dict[str, dict[int, int]] = {worker: {} for worker in WORKERS}
        self.given_back: dict[str, set[int]] = {worker: set() for worker in WORKERS}
        self.newest: dict[str, int] = dict.fromkeys(WORKERS, 0)

    async def publish(self, count: int) -> None:
        for kind in ("demo.go", "demo.added") if count % 3 == 0 else ("demo.go",):
            self.note_accepted(await self.stage.publish_all(count, kind))

    def note_accepted(self, events: list) -> None:
        self.accepted += [event.seq for event in events]
        self.kind_of |= {event.seq: event.kind for event in events}

    async def hold(self, count: int) -> None:
        held = [await self.stage.publish(is_held=True) for _ in range(count)]
        self.note_accepted(held)
        self.held += held
        for seqs in self.by_itself.values():
            seqs.update(event.seq for event in held)

    async def let_go(self, place: int) -> None:
        if len(self.held) > place:
            event = self.held.pop(place)
            for consumer in self.consumers.values():
                consumer.put(event, 100)

    async def subscribe(self, worker: str) -> None:
        if worker not in self.consumers:
            self.since.setdefault(worker, self.stage.broker.latest_seq)
            self.consumers[worker] = self.stage.broker.subscribe(
                worker, self.kinds(worker), start=0 if self.adds[worker] else None
            )
            self.newest[worker] = 0

    def kinds(self, worker: str) -> list[str]:
        return ["demo.go", "demo.added"] if self.adds[worker] else ["demo.go"]

    async def add_a_kind(self, worker: str) -> None:
        """Add a kind from the beginning, to a worker that is here or to its next consumer."""
        if worker not in self.since or self.adds[worker]:
            return
        self.adds[worker] = True
        self.by_itself[worker].update(
            self.accepted
        )  # what it was given before comes after what is of the kind
        if worker in self.consumers:
            self.newest[worker] = 0
            self.consumers[worker].retarget(self.kinds(worker), 0)

    def is_for(self, worker: str, seq: int) -> bool:
        """Return whether an event is for a worker."""
        if self.kind_of[seq] == "demo.added":
            return self.adds[worker]
        return seq > self.since[worker]

    def take(self, worker: str):
        """Take the next event of a worker, if one is queued, and check that it is one to come."""
        envelope = self.consumers[worker].take()
        if envelope is None:
            return None
        seq, number = envelope.seq, self.consumers[worker].number(envelope)
        assert seq in self.accepted
        assert self.is_for(worker, seq)
        assert seq not in self.known[worker], "handled, as the broker knows, and here again"
        assert number > self.numbers[worker].get(seq, 0), "its number does not rise"
        self.numbers[worker][seq] = number
        if seq not in self.given_back[worker] | self.by_itself[worker]:
            assert seq > self.newest[worker], "not in order"
            self.newest[worker] = seq
        return envelope

    async def handle(self, count: int) -> None:
        for worker, consumer in self.consumers.items():
            for _ in range(count):
                if (envelope := self.take(worker)) is None:
                    await settled(consumer)
                    if (envelope := self.take(worker)) is None:
                        break
                handle(consumer, envelope)
                self.note_handled(worker, envelope)

    def note_handled(self, worker: str, envelope) -> None:
        self.handled[worker].add(envelope.seq)
        self.known[worker].add(envelope.seq)
        self.given_back[worker].discard(envelope.seq)

    async def begin(self, count: int) -> None:
        for worker, consumer in self.consumers.items():
            for _ in range(count):
                if (envelope := self.take(worker)) is not None:
                    consumer.note_begin(envelope.event_id, "on_go")
                    self.running[worker].append(envelope)

    async def end(self, place: int) -> None:
        for worker, running in self.running.items():
            if worker in self.consumers and len(running) > place:
                envelope = running.pop(place)
                self.consumers[worker].handed_out(envelope.event_id)
                self.consumers[worker].note_end(envelope.event_id, Outcome("on_go"))
                self.note_handled(worker, envelope)

    async def give_back(self, delay: int) -> None:
        for worker, running in self.running.items():
            if worker in self.consumers and running:
                envelope = running.pop()
                self.consumers[worker].release(envelope.event_id, delay)
                self.consumers[worker].note_end(envelope.event_id, Outcome("on_go"))
                self.given_back[worker].add(envelope.seq)

    async def wait(self, seconds: int) -> None:
        await self.stage.clock.advance(seconds)

    async def close(self, worker: str) -> None:
        if (consumer := self.consumers.pop(worker, None)) is not None:
            consumer.close()
            self.running[worker].clear()

    async def on_disk_now(self, _: int) -> None:
        await self.stage.broker.write(*self.stage.broker._cursors.values())
        self.on_disk = {worker: set(seqs) for worker, seqs in self.known.items()}

    async def kill(self, _: int) -> None:
        await self.stage.kill()
        self.known = {worker: set(seqs) for worker, seqs in self.on_disk.items()}
        self.forget_all()
        for worker in self.since.keys() - self.stage.broker._cursors.keys():  # subscribed at the last moment
            assert self.accepted[-1:] <= [self.since.pop(worker)], "an event was accepted after that"
            self.adds[worker] = False

    async def restart(self, _: int) -> None:
        self.on_disk = {worker: set(seqs) for worker, seqs in self.known.items()}
        await self.stage.restart()
        self.forget_all()

    def forget_all(self) -> None:
        self.held.clear()
        for worker in WORKERS:
            self.running[worker].clear()
        self.consumers.clear()

    async def check_all_are_handled(self) -> None:
        """Handle what is left, and check that each worker has handled all that was for it."""
        while self.held:
            await self.let_go(0)
        for worker in WORKERS:
            if worker in self.since:
                await self.subscribe(worker)
                for event in self.running[worker]:
                    self.consumers[worker].release(event.event_id)
                    self.consumers[worker].note_end(event.event_id, Outcome("on_go"))
                    self.given_back[worker].add(event.seq)
                self.running[worker].clear()
        await self.wait(60)
        for worker in self.since:
            wanted = {seq for seq in self.accepted if self.is_for(worker, seq)}
            while not wanted <= self.handled[worker]:
                await self.handle(50)
                await asyncio.sleep(0)


async def settled(consumer) -> None:
    """Return when the consumer has read what it is about to read."""
    while consumer._filling is not None and not consumer._queue:
        await asyncio.sleep(0)


ACTS = {
    "publish": Checked.publish,
    "subscribe": Checked.subscribe,
    "hold": Checked.hold,
    "let go": Checked.let_go,
    "add a kind": Checked.add_a_kind,
    "handle": Checked.handle,
    "begin": Checked.begin,
    "end": Checked.end,
    "give back": Checked.give_back,
    "wait": Checked.wait,
    "close": Checked.close,
    "on disk": Checked.on_disk_now,
    "kill": Checked.kill,
    "restart": Checked.restart,
}


@settings(max_examples=40)
@given(steps)
def test_every_accepted_event_is_handled_and_none_again_that_is_known_to_be(history):
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with staged(making(), Path(directory) / "kept") as stage:
                checked = Checked(stage)
                for act, argument in history:
                    await ACTS[act](checked, argument)
                async with asyncio.timeout(20):
                    await checked.check_all_are_handled()

    most, consumer_module.MOST_EVENTS = consumer_module.MOST_EVENTS, 8
    try:
        asyncio.run(run())
    finally:
        consumer_module.MOST_EVENTS = most
