"""Over a broker that redelivers, a worker process handles every event, whatever becomes of it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.client.event_stream import EventStream
from dnworker.core.clock import RealClock
from dnworker.core.envelope import EventEnvelope, decode_fed, encode, redelivered
from dnworker.core.handlers import HandlerKey
from dnworker.core.limits import Limits
from dnworker.engine.dead_letters import DeadLetters
from dnworker.engine.deliveries import LEAVING_SECONDS, Deliveries
from dnworker.engine.retries import Retries
from dnworker.events import feed as feed_module
from dnworker.events.bus import EventBus
from dnworker.events.fed_queue import FedQueue
from dnworker.events.history import History
from dnworker.workers.remote import RemoteInvocations
from dnworker.workers.reports import Begin, Delivered, End, Hello, Notice

from .keeping import KeepingBroker
from .timers import Timers

WORKER = "demo:w"
SMALL = Limits(queue=20_000, held=4_000, held_seconds=60, publish_seconds=30)


def never(coro: Any, name: str) -> Any:
    """Stand in for the task that waits: a test says when the feed looks."""
    coro.close()
    return Task()


class Task:
    def cancel(self) -> None:
        """There is nothing to cancel."""


class Bench:
    """A bus over such a broker, and one run of a process after the other."""

    def __init__(self, limits: Limits = SMALL) -> None:
        self.broker = KeepingBroker()
        self.bus = EventBus(broker=self.broker)
        self.history = History(1_000_000)
        self.bus.tap(self.history.note_event)
        self.timers = Timers()
        self.limits = limits
        self.lost: list[tuple[str | None, str, int]] = []
        self.is_running = True
        retries = Retries(self.bus, self.history, RealClock(), DeadLetters(), {})
        deliveries = Deliveries(
            self.bus, self.history, lambda worker: self.is_running, retries, self.timers.call_later
        )
        self.history.listen(deliveries.note)
        self.spawn()

    def spawn(self) -> None:
        """Begin a run."""
        self.is_running = True
        self.queue = FedQueue(
            self.bus,
            WORKER,
            self.limits,
            lambda *loss: self.lost.append(loss),
            spawn=never,
            heard=lambda: {key.trigger for key in self.remote.stats},
            watcher=lambda: self.history if self.remote.reports else None,
            timers=self.timers,
        )
        self.remote = RemoteInvocations(self.history, WORKER, 1, self.queue.feed)

    def kill(self) -> None:
        """End the run without a word."""
        self.is_running = False
        self.queue.close("the process ended", *self.remote.left())
        self.remote.close()

    def publish(self, *numbers: int, kind: str = "a", size: int = 0) -> None:
        for n in numbers:
            self.bus.publish(kind, {"n": n, "x": "x" * size})
        self.queue.feed.pump()

    def report(self, *kinds: str) -> None:
        self.remote.take(Hello([HandlerKey("on_event", kind, f"on_{kind}") for kind in kinds]))

    def begin(self, envelope: EventEnvelope, name: str = "") -> None:
        key = HandlerKey("on_event", envelope.kind, f"on_{envelope.kind}")
        self.remote.take(Begin(f"{envelope.event_id[:16]}{name}", key, "event", envelope.event_id))
        self.remote.take(Delivered(envelope.event_id))

    def end(self, envelope: EventEnvelope, outcome: Any = "ok", name: str = "") -> None:
        self.remote.take(End(f"{envelope.event_id[:16]}{name}", outcome, 0.0))

    @property
    def handled(self) -> list[int]:
        done = self.broker.handled.get(WORKER, ())
        return [one.payload["n"] for one in self.broker.kept if one.event_id in done]


@pytest.fixture
def bench():
    return Bench()


def take(reader, count=10_000):
    taken = []
    while len(taken) < count and (envelope := reader.take()) is not None:
        taken.append(envelope)
    return taken


def seen(envelopes):
    return [(e.payload["n"], e.replay) for e in envelopes]


# -- when an event is handled --------------------------------------------------------------------------


def test_what_a_silent_process_was_sent_is_handled_once_it_has_arrived(bench):
    reader = bench.queue.open_kept(["a"])
    bench.publish(1, 2, 3)
    sent = take(reader)
    assert bench.handled == []
    reader.acknowledge(sent[1].seq)
    assert (bench.handled, bench.queue.acknowledges) == ([1, 2], "when sent")


def test_an_event_of_a_process_that_reports_is_handled_when_its_handler_has_ended(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    (sent,) = take(reader)
    reader.acknowledge(sent.seq)
    bench.begin(sent)
    assert (bench.handled, bench.queue.acknowledges) == ([], "when handled")
    bench.end(sent)
    assert bench.handled == [1]


def test_an_event_of_a_client_that_acknowledges_is_handled_when_it_says_so(bench):
    reader = bench.queue.open_kept(["a"], is_explicit=True)
    bench.publish(1, 2)
    first, second = take(reader)
    reader.acknowledge(second.seq)
    assert (bench.handled, bench.queue.acknowledges) == ([], "explicitly")
    reader.stream.ack(second.seq)
    reader.stream.ack(second.seq)  # again: there is no such event any more
    reader.stream.ack(99)
    assert bench.handled == [2]
    reader.stream.ack(first.seq)
    assert bench.handled == [1, 2]
    assert bench.queue.size == 0


def test_an_event_that_a_client_gives_back_comes_again_marked_and_under_a_higher_seq(bench):
    reader, client = bench.queue.open_kept(["a"], is_explicit=True), EventStream(["a"])
    client.begin()
    bench.publish(1, 2)
    first, second = take(reader)
    assert client.is_new(first)
    assert client.is_new(second)
    reader.stream.nak(first.seq, 2.5)
    bench.queue.feed.pump()
    assert bench.broker.consumer(WORKER).released == [(first.event_id, 2.5)]
    (again,) = take(reader)
    assert (again.event_id, again.replay, reader.stream.number(again)) == (first.event_id, True, 2)
    assert client.is_new(again)
    bench.publish(3)
    assert [client.is_new(one) for one in take(reader)] == [True]


@pytest.mark.parametrize("has_arrived", [False, True])
def test_an_event_that_is_given_back_while_the_client_has_it_comes_again_all_the_same(bench, has_arrived):
    reader = bench.queue.open_kept(["a"], is_explicit=True)
    bench.publish(1)
    (first,) = take(reader)
    if has_arrived:
        reader.acknowledge(first.seq)
    bench.broker.consumer(WORKER).release(first.event_id)  # as where its handler has failed
    bench.queue.feed.pump()
    (again,) = take(reader)
    assert (again.event_id, again.replay, reader.stream.number(again)) == (first.event_id, True, 2)
    reader.stream.ack(first.seq)  # of the first time
    assert bench.handled == []
    reader.acknowledge(again.seq)
    reader.stream.ack(again.seq)
    assert (bench.handled, bench.queue.size) == ([1], 0)


def test_an_event_that_is_given_back_before_it_is_sent_is_sent_once(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1, 2)
    (_, second) = bench.broker.kept
    bench.broker.consumer(WORKER).release(second.event_id)
    bench.queue.feed.pump()
    got = take(reader)
    assert seen(got) == [(1, False), (2, True)]
    for envelope in got:
        reader.acknowledge(envelope.seq)
        bench.begin(envelope)
        bench.end(envelope)
    assert (bench.handled, bench.queue.size) == ([1, 2], 0)


# -- when the process ends -----------------------------------------------------------------------------


def test_what_a_killed_process_had_not_handled_comes_again_marked_and_before_newer_events(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1, 2, 3)
    first, second = take(reader, 2)
    bench.begin(first)
    bench.end(first)
    bench.begin(second)
    bench.kill()
    bench.publish(4)
    bench.spawn()
    bench.report("a")
    bench.publish(5)
    again = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(6)
    assert seen(take(again)) == [(2, True), (3, True), (4, True), (5, True), (6, False)]
    assert (bench.handled, bench.lost) == ([1], [])


def test_a_handler_that_runs_when_its_process_dies_has_not_handled_its_event(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    (sent,) = take(reader)
    bench.begin(sent)
    bench.kill()
    assert [one.outcome for one in bench.history.invocations_of(sent.event_id)] == ["cancelled"]
    bench.timers.advance(LEAVING_SECONDS)
    assert bench.handled == []


def test_a_process_that_cancels_its_handlers_and_ends_by_itself_has_not_handled_their_events(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    (sent,) = take(reader)
    bench.begin(sent)
    bench.end(sent, "cancelled")  # by a signal that is not ours: it counts as running yet
    bench.kill()
    bench.timers.advance(LEAVING_SECONDS)
    assert bench.handled == []


def test_a_handler_that_is_cancelled_alone_in_a_process_has_handled_its_event(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    (sent,) = take(reader)
    bench.begin(sent)
    bench.end(sent, "cancelled")
    assert bench.handled == []
    bench.timers.advance(LEAVING_SECONDS)
    assert bench.handled == [1]


def test_a_client_that_leaves_cleanly_and_ends_has_not_handled_what_it_left(bench):
    reader = bench.queue.open_kept(["a"])
    bench.publish(1, 2)
    reader.acknowledge(take(reader, 1)[0].seq)
    reader.leave(clean=True)
    bench.kill()
    bench.spawn()
    assert seen(take(bench.queue.open_kept(["a"]))) == [(2, True)]


def test_a_client_that_closes_a_stream_and_goes_on_wants_its_events_no_more(bench):
    bench.queue.open_kept(["b"])
    reader = bench.queue.open_kept(["a"])
    bench.publish(1)
    reader.leave(clean=True)
    bench.timers.advance(60)
    assert bench.broker.listened(WORKER) == ["b"]
    assert bench.handled == [1]


def test_a_client_that_closes_a_stream_and_goes_on_is_told_what_it_has_not_acknowledged(bench, caplog):
    bench.queue.open_kept(["b"])
    reader = bench.queue.open_kept(["a"], is_explicit=True)
    bench.publish(1, 2, 3)
    for sent in take(reader, 2):
        reader.acknowledge(sent.seq)
    reader.stream.ack(sent.seq)
    reader.leave(clean=True)
    bench.timers.advance(60)
    assert "2 that it had not acknowledged count as handled" in caplog.text


def test_handlers_are_kept_though_their_stream_was_closed_and_the_process_lives_on(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    reader.leave(clean=True)
    bench.timers.advance(120)
    bench.kill()
    assert (bench.handled, bench.broker.listened(WORKER)) == ([], ["a"])


# -- what begins when ----------------------------------------------------------------------------------


def test_a_kind_that_is_named_after_the_spawn_begins_with_the_spawn(bench):
    bench.publish(0)
    bench.spawn()
    bench.publish(1)
    bench.publish(2, kind="b")
    first = bench.queue.open_kept(["a"])
    bench.publish(3, kind="b")
    second = bench.queue.open_kept(["b"])
    assert (seen(take(first)), seen(take(second))) == ([(1, True)], [(2, False), (3, False)])


def test_a_kind_that_is_named_much_later_begins_then(bench):
    bench.queue.open_kept(["a"])
    bench.publish(1, kind="b")
    bench.timers.advance(60)
    late = bench.queue.open_kept(["b"])
    bench.publish(2, kind="b")
    assert seen(take(late)) == [(2, False)]


def test_a_stream_that_opens_after_another_gets_what_its_last_run_has_left(bench):
    first, second = bench.queue.open_kept(["a"]), bench.queue.open_kept(["b"])
    bench.publish(1)
    bench.publish(2, kind="b")
    bench.kill()
    bench.spawn()
    first = bench.queue.open_kept(["a"])
    bench.publish(3, kind="b")
    second = bench.queue.open_kept(["b"])
    bench.publish(4, kind="b")
    assert seen(take(first)) == [(1, True)]
    assert seen(take(second)) == [(2, True), (3, False), (4, False)]


def test_kinds_of_an_earlier_run_that_no_stream_is_for_are_left_after_a_while_with_what_came_of_them(bench):
    bench.queue.open_kept(["b"])
    bench.kill()
    bench.spawn()
    bench.queue.open_kept(["a"])
    bench.publish(1, kind="b")
    assert bench.queue.size > 0
    bench.timers.advance(60)
    assert (bench.broker.listened(WORKER), bench.queue.size, bench.handled) == (["a"], 0, [])
    assert [delay for _, delay in bench.broker.consumer(WORKER).released] == [0.0]


# -- sockets -------------------------------------------------------------------------------------------


def test_a_named_stream_goes_on_after_the_last_event_that_its_client_has(bench):
    reader = bench.queue.open_kept(["a"], "mine", 0)
    bench.publish(1, 2, 3)
    sent = take(reader)
    reader.leave(clean=False)
    bench.publish(4)
    again = bench.queue.open_kept(["a"], "mine", sent[1].seq)
    assert (again.resumed.resent, again.resumed.lost) == (1, 0)
    assert seen(take(again)) == [(3, False), (4, False)]
    assert bench.handled == [1, 2]


def test_a_client_that_acknowledges_and_says_nothing_else_gets_marked_copies_after_a_cut(bench):
    reader = bench.queue.open_kept(["a"], is_explicit=True)
    bench.publish(1, 2, 3)
    sent = take(reader)
    reader.acknowledge(sent[1].seq)
    reader.stream.ack(sent[0].seq)
    reader.leave(clean=False)
    again = bench.queue.open_kept(["a"], is_explicit=True)
    again.stream.ack(sent[1].seq)  # of the broken socket
    assert seen(take(again)) == [(3, True)]
    assert bench.handled == [1, 2]


def test_a_stream_is_waited_for_as_long_as_its_process_runs(bench):
    reader = bench.queue.open_kept(["a"], "mine", 0)
    bench.publish(1)
    reader.leave(clean=False)
    bench.timers.advance(3_600)
    bench.publish(2)
    again = bench.queue.open_kept(["a"], "mine", 0)
    assert (seen(take(again)), bench.lost) == ([(1, False), (2, False)], [])


def test_every_copy_is_marked_where_a_socket_breaks_before_all_copies_are_sent_again(bench):
    reader = bench.queue.open_kept(["a"])
    bench.publish(1, 2)
    take(reader)
    for _ in range(2):
        reader.leave(clean=False)
        reader = bench.queue.open_kept(["a"])
        assert seen(take(reader, 1)) == [(1, True)]
    assert seen(take(reader)) == [(2, True)]


def test_a_client_that_comes_back_late_does_not_get_again_what_it_says_it_has(bench):
    reader = bench.queue.open_kept(["a"], "mine", 0)
    bench.publish(1, 2)
    first, _ = take(reader)
    reader.leave(clean=False)
    bench.timers.advance(60)
    again = bench.queue.open_kept(["a"], "mine", first.seq)
    assert (seen(take(again)), bench.handled) == ([(2, False)], [1])


def test_what_a_broken_stream_has_goes_after_a_while_to_another_that_wants_it(bench):
    reader = bench.queue.open_kept(["a", "b"], "one", 0)
    bench.publish(1, 2)
    take(reader, 1)
    reader.leave(clean=False)
    other = bench.queue.open_kept(["a"], "two", 0)
    bench.publish(3)
    bench.timers.advance(60)
    bench.publish(4)
    got = take(other)
    assert seen(got) == [(3, False), (1, True), (2, False), (4, False)]
    assert [one.seq for one in got] == sorted({one.seq for one in got})
    other.acknowledge(got[-1].seq)
    assert bench.handled == [1, 2, 3, 4]


def test_a_stream_of_handlers_takes_over_from_the_one_that_broke(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], "one", 0, bench.remote.stream)
    bench.publish(1, 2, 3)
    sent = take(reader, 2)
    reader.acknowledge(sent[0].seq)  # the process has it
    reader.leave(clean=False)
    again = bench.queue.open_kept(["a"], "two", 0, bench.remote.stream)
    assert bench.broker.listened(WORKER) == ["a"]
    rest = take(again)
    assert seen(rest) == [(2, True), (3, False)]
    for envelope in (sent[0], *rest):
        bench.begin(envelope)
        bench.end(envelope)
    assert bench.handled == [1, 2, 3]


def test_a_stream_beside_the_handlers_is_filled_by_the_bus_and_loses_nothing_of_theirs(bench):
    bench.report("a")
    handlers = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    beside = bench.queue.open(["a", "b"])
    bench.publish(1)
    bench.publish(2, kind="b")
    assert (seen(take(handlers)), seen(take(beside))) == ([(1, False)], [(1, False), (2, False)])
    bench.kill()
    lost = [bench.history.event(event_id).payload["n"] for event_id, _, _ in bench.lost]
    assert lost == [2]


# -- room ----------------------------------------------------------------------------------------------


def test_a_full_queue_leaves_the_rest_in_the_broker_and_no_publisher_waits(bench):
    reader = bench.queue.open_kept(["a"])
    bench.publish(*range(100), size=1_000)
    assert not bench.bus.pressure
    assert bench.queue.size < SMALL.queue + 2_000
    got = []
    while sent := take(reader):
        got += sent
        reader.acknowledge(sent[-1].seq)
        bench.queue.feed.pump()
    assert [one.payload["n"] for one in got] == [*range(100)]
    assert (bench.handled, bench.lost, bench.queue.size) == ([*range(100)], [], 0)


def test_only_so_many_events_wait_for_a_socket_or_are_unhandled(bench, monkeypatch):
    monkeypatch.setattr(feed_module, "AHEAD", 5)
    monkeypatch.setattr(feed_module, "IN_FLIGHT", 8)
    reader = bench.queue.open_kept(["a"], is_explicit=True)
    bench.publish(*range(20))
    first = take(reader)
    assert len(first) == 5
    reader.acknowledge(first[-1].seq)
    bench.queue.feed.pump()
    assert len(take(reader)) == 3
    reader.stream.ack(first[0].seq)
    bench.queue.feed.pump()
    assert len(take(reader)) == 1


def test_a_process_is_given_no_more_than_so_many_bytes_that_it_has_not_handled(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(*range(100), size=1_000)
    got = []
    while sent := take(reader):
        got += sent
        reader.acknowledge(sent[-1].seq)
        bench.queue.feed.pump()
    assert len(got) < 25
    for one in got:
        bench.begin(one)
        bench.end(one)
    bench.queue.feed.pump()
    assert len(take(reader)) == len(got)


def test_a_process_that_is_about_to_end_is_given_nothing_more(bench):
    reader = bench.queue.open_kept(["a"])
    bench.queue.feed.hold()
    bench.publish(1)
    assert take(reader) == []


def test_a_process_that_stops_reporting_handles_what_arrives(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1, 2, 3)
    sent = take(reader)
    reader.acknowledge(sent[0].seq)
    bench.remote.take(Notice("its output is gone", is_over=True))
    assert bench.handled == [1]
    reader.acknowledge(sent[1].seq)
    assert (bench.handled, bench.queue.acknowledges) == ([1, 2], "when sent")


def test_reports_that_were_lost_keep_no_room(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1, 2)
    reader.acknowledge(take(reader, 1)[0].seq)
    bench.remote.take(Notice("reports were lost", lost=2))
    assert bench.handled == [1]


# -- how often -----------------------------------------------------------------------------------------


def test_the_history_knows_how_often_a_process_was_given_an_event(bench):
    bench.report("a")
    take(bench.queue.open_kept(["a"], watcher=bench.remote.stream))
    bench.publish(1)
    bench.kill()
    bench.spawn()
    bench.report("a")
    (again,) = take(bench.queue.open_kept(["a"], watcher=bench.remote.stream))
    bench.begin(again)
    assert [one.delivery for one in bench.history.invocations_of(again.event_id)] == [2]


def test_an_event_that_is_given_again_knows_how_often():
    event = EventEnvelope(seq=1, kind="a", payload={"n": 1})
    again = redelivered(event, 3)
    assert (event.delivery, again.delivery, again.payload) == (1, 3, {"n": 1})
    assert redelivered(event, 1) is event


def test_a_stream_knows_which_handlers_have_ended_well_with_what_comes_again(bench):
    bench.report("a")
    reader = bench.queue.open_kept(["a"], watcher=bench.remote.stream)
    bench.publish(1)
    (sent,) = take(reader)
    bench.begin(sent)
    bench.end(sent)
    bench.broker.consumer(WORKER).release(sent.event_id)
    bench.queue.feed.pump()
    (again,) = take(reader)
    assert [*reader.stream.handled_by(again)] == ["on_a"]


def test_a_frame_that_says_the_delivery_is_read_with_it():
    event = EventEnvelope(seq=1, kind="a", payload={"n": 1}, replay=True)
    fields = json.loads(encode(event)) | {"delivery": 4, "handled_by": ["on_a"]}
    read = decode_fed(json.dumps(fields))
    assert (read.delivery, read.handled_by, read.payload) == (4, ("on_a",), {"n": 1})
    assert decode_fed(encode(event)).handled_by == ()
    assert decode_fed(encode(event)).delivery == 1


# -- all of it, in any order ---------------------------------------------------------------------------

STEPS = ("publish", "send", "arrive", "begin", "end", "cut", "kill", "ack", "nak", "wait", "close")


@pytest.mark.parametrize("mode", ["when handled", "explicitly", "when sent"])
@given(
    steps=st.lists(st.sampled_from(STEPS), max_size=60), seed=st.integers(0, 1_000), is_named=st.booleans()
)
@settings(max_examples=120, deadline=None)
def test_every_event_is_handled_at_least_once_in_order_and_twice_only_as_a_copy(mode, steps, seed, is_named):
    process = Process(mode, random.Random(seed), is_named=is_named)
    for step in steps:
        getattr(process, step)()
    process.finish()
    assert set(process.published) <= set(process.handled)
    assert process.bench.lost == []
    assert process.bench.queue.size == 0


class Process:
    """A worker's process that does one thing after the other."""

    def __init__(self, mode: str, chance: random.Random, *, is_named: bool) -> None:
        self.bench = Bench()
        self.mode, self.chance = mode, chance
        self.name = "mine" if is_named else None
        self.published: list[int] = []
        self.handled: list[int] = []
        self.had: set[int] = set()
        self.runs = 0
        self.run()

    def run(self) -> None:
        self.in_hand: list[EventEnvelope] = []
        self.begun: list[tuple[EventEnvelope, str]] = []
        self.frames: list[EventEnvelope] = []  # sent, and still in the socket
        self.newest, self.newest_number = 0, -1
        self.client = EventStream(["a"])
        if self.mode == "when handled":
            self.bench.report("a")
        self.open()

    def open(self) -> None:
        self.frames.clear()
        after = self.newest if self.name else None
        watcher = self.bench.remote.stream if self.mode == "when handled" else lambda: None
        self.reader = self.bench.queue.open_kept(
            ["a"], self.name, after, watcher, is_explicit=self.mode == "explicitly"
        )

    def publish(self) -> None:
        n = len(self.published)
        self.published.append(n)
        self.bench.publish(n, size=self.chance.choice((0, 3_000)))

    def send(self) -> None:
        self.bench.queue.feed.pump()
        self.frames += take(self.reader, self.chance.randint(1, 4))
        self.receive(self.chance.randint(0, len(self.frames)))

    def receive(self, count: int) -> None:
        for envelope in self.frames[:count]:
            n = envelope.payload["n"]
            if envelope.seq <= self.newest:
                assert envelope.replay, "what comes twice over the wire is marked"
                continue  # the client drops it: it has it
            assert n not in self.had or envelope.replay
            if not envelope.replay:
                assert n > self.newest_number
                self.newest_number = n
            self.newest = envelope.seq
            self.had.add(n)
            self.in_hand.append(envelope)
            if self.mode == "when sent":
                self.handled.append(n)
        del self.frames[:count]

    def arrive(self) -> None:
        self.reader.acknowledge(self.newest)

    def begin(self) -> None:
        if self.mode == "when handled" and self.in_hand:
            envelope = self.in_hand.pop(0)
            self.runs += 1
            self.bench.begin(envelope, str(self.runs))
            self.begun.append((envelope, str(self.runs)))

    def end(self) -> None:
        if self.begun:
            envelope, name = self.begun.pop(self.chance.randrange(len(self.begun)))
            self.bench.end(envelope, name=name)
            self.handled.append(envelope.payload["n"])

    def ack(self) -> None:
        if self.mode == "explicitly" and self.in_hand:
            envelope = self.in_hand.pop(self.chance.randrange(len(self.in_hand)))
            self.reader.stream.ack(envelope.seq)
            self.handled.append(envelope.payload["n"])

    def nak(self) -> None:
        if self.mode == "explicitly" and self.in_hand:
            self.reader.stream.nak(self.in_hand.pop().seq, 0.0)

    def cut(self) -> None:
        self.reader.leave(clean=False)
        self.open()

    def close(self) -> None:
        self.reader.leave(clean=True)
        self.open()

    def wait(self) -> None:
        self.reader.leave(clean=False)
        self.bench.timers.advance(61)
        self.open()

    def kill(self) -> None:
        self.bench.kill()
        self.bench.spawn()
        self.run()

    def finish(self) -> None:
        for _ in range(200):
            self.send()
            self.receive(len(self.frames))
            self.arrive()
            for act in (self.begin, self.end, self.ack):
                for _ in range(5):
                    act()
