"""However kinds come and go: what was accepted while one was named is handled in the end, and nothing else."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnworker.events.brokers.base import Outcome
from dnworker.events.brokers.kept import consumer as consumer_module
from dnworker.events.brokers.kept import leaving

from ...conformance.stage import Stage, handle, staged
from .sqlite_brokers import making

KINDS = ("demo.a", "demo.b", "demo.c")
WORKER = "demo:w"

names = st.sets(st.sampled_from(KINDS))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 30)),
        st.tuples(st.just("publish"), st.integers(1, 30)),
        st.tuples(st.just("name"), names),
        st.tuples(st.just("name"), names),
        st.tuples(st.just("handle"), st.integers(1, 40)),
        st.tuples(st.just("begin"), st.integers(1, 5)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("give_back"), st.sampled_from((0, 10))),
        st.tuples(st.just("wait"), st.just(20)),
        st.tuples(st.just("close"), st.just(0)),
        st.tuples(st.just("kill"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    min_size=10,
    max_size=40,
)


class Checked:
    """A worker whose kinds come and go, and what it is owed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.consumer = None
        self.named: frozenset[str] = frozenset()
        self.owed: set[int] = set()
        self.handled: set[int] = set()
        self.known: set[int] = set()
        """What no kill can have made the broker forget."""
        self.numbers: dict[int, int] = {}
        self.running: list = []
        stage.broker.left.add(self.note_left)

    def note_left(self, left) -> None:
        assert left.is_kept, "nothing is let go"

    async def publish(self, count: int) -> None:
        for kind in KINDS:
            for event in await self.stage.publish_all(count, kind):
                if kind in self.named:
                    self.owed.add(event.seq)

    async def name(self, kinds: set[str]) -> None:
        if self.consumer is None:
            self.consumer = self.stage.broker.subscribe(WORKER, kinds)
        else:
            self.consumer.retarget(kinds)
        self.named = frozenset(kinds)
        await self.stage.broker.write(self.stage.broker._cursors[WORKER])

    def take(self):
        """Take the next event, if one is queued, and check that it is owed."""
        if self.consumer is None or (envelope := self.consumer.take()) is None:
            return None
        seq, number = envelope.seq, self.consumer.number(envelope)
        assert envelope.kind in self.named, "of a kind that is not named"
        assert seq in self.owed, "published while its kind was not named"
        assert seq not in self.known, "handled, and here again"
        assert number > self.numbers.get(seq, 0), "its number does not rise"
        self.numbers[seq] = number
        return envelope

    async def handle(self, count: int) -> None:
        for _ in range(count):
            if (envelope := self.take()) is None:
                await self.settled()
                if (envelope := self.take()) is None:
                    return
            handle(self.consumer, envelope)
            self.note_handled(envelope)

    async def settled(self) -> None:
        while self.consumer is not None and self.consumer._filling is not None and not self.consumer._queue:
            await asyncio.sleep(0)

    def note_handled(self, envelope) -> None:
        self.handled.add(envelope.seq)
        self.known.add(envelope.seq)

    async def begin(self, count: int) -> None:
        for _ in range(count):
            if (envelope := self.take()) is not None:
                self.consumer.note_begin(envelope.event_id, "on_go")
                self.running.append(envelope)

    async def end(self, place: int) -> None:
        if self.consumer is not None and len(self.running) > place:
            envelope = self.running.pop(place)
            self.consumer.handed_out(envelope.event_id)
            self.consumer.note_end(envelope.event_id, Outcome("on_go"))
            self.note_handled(envelope)

    async def give_back(self, delay: int) -> None:
        if self.consumer is not None and self.running:
            envelope = self.running.pop()
            self.consumer.release(envelope.event_id, delay)
            self.consumer.note_end(envelope.event_id, Outcome("on_go", "ValueError: no"))

    async def wait(self, seconds: int) -> None:
        await self.stage.clock.advance(seconds)

    async def close(self, _: int) -> None:
        if self.consumer is not None:
            self.consumer.close()
        self.forget()

    async def kill(self, _: int) -> None:
        await self.stage.kill()
        self.known.clear()
        self.begin_anew()

    async def restart(self, _: int) -> None:
        await self.stage.restart()
        self.begin_anew()

    def begin_anew(self) -> None:
        self.stage.broker.left.add(self.note_left)
        self.forget()

    def forget(self) -> None:
        self.consumer = None
        self.running.clear()

    async def check_all_are_handled(self) -> None:
        """Name all kinds, and check that all is handled that is owed."""
        for envelope in [*self.running]:
            await self.give_back(0)
            del envelope
        await self.name({*KINDS})
        await self.wait(60)
        async with asyncio.timeout(20):
            while not self.owed <= self.handled:
                await self.handle(50)
                await asyncio.sleep(0)
        await self.settled()
        assert self.take() is None
        (info,) = await self.stage.broker.cursors()
        assert (info.pending, info.former) == (0, {})


async def run(history: list) -> None:
    """Run a history over a file that is new."""
    with tempfile.TemporaryDirectory() as directory:
        async with staged(making(), Path(directory) / "kept") as stage:
            checked = Checked(stage)
            for step, value in history:
                await getattr(checked, step)(value)
            await checked.check_all_are_handled()


TO_AND_FRO = [
    ("name", {*KINDS}),
    ("publish", 1),
    ("kill", 0),
    ("name", {"demo.c"}),
    ("name", {"demo.a", "demo.b"}),
]
"""What is queued of a kind is left, comes by itself once it is named again, and is read by a page, too."""

AT_ONCE = [
    ("name", {"demo.b"}),
    ("publish", 1),
    ("kill", 0),
    ("name", {*KINDS}),
    ("close", 0),
    ("name", {"demo.a"}),
    ("close", 0),
]
"""A kind is named again before it is known of which kind an event is that waits."""


@settings(max_examples=15, deadline=None)
@example(TO_AND_FRO, 1_000)
@example(AT_ONCE, 1_000)
@given(steps, st.sampled_from((4, 1_000)))
def test_what_was_accepted_while_a_kind_was_named_is_handled_however_kinds_come_and_go(history, most):
    before = consumer_module.MOST_EVENTS, leaving.SAID_AFTER
    consumer_module.MOST_EVENTS, leaving.SAID_AFTER = most, 0.0
    try:
        asyncio.run(run(history))
    finally:
        consumer_module.MOST_EVENTS, leaving.SAID_AFTER = before
