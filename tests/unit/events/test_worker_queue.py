"""What waits for a worker process: it arrives once and in order, or it is counted as lost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dnworker.client.event_stream import EventStream
from dnworker.core.envelope import bytes_of_payload
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import Limits
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.worker_queue import WorkerQueue
from dnworker.workers.remote import RemoteInvocations
from dnworker.workers.reports import Delivered, Hello

from .timers import Timers

SMALL = Limits(queue=20_000, held=4_000, held_seconds=60, publish_seconds=30)


class Bench:
    """A queue on virtual time, and what was lost."""

    def __init__(self, limits: Limits = SMALL) -> None:
        self.bus = EventBus()
        self.timers = Timers()
        self.lost: list[tuple[str | None, str, int]] = []
        self.heard: set[str] = set()
        self.queue = WorkerQueue(
            self.bus,
            "demo:w",
            limits,
            lambda *loss: self.lost.append(loss),
            heard=lambda: self.heard,
            timers=self.timers,
        )

    @property
    def count_lost(self) -> int:
        return sum(count for _, _, count in self.lost)

    def publish(self, *numbers: int, kind: str = "a", size: int = 0) -> None:
        for n in numbers:
            self.bus.publish(kind, {"n": n, "x": "x" * size})


@pytest.fixture
def bench():
    return Bench()


def take(reader, count=10_000):
    taken = []
    while len(taken) < count and (envelope := reader.take()) is not None:
        taken.append(envelope)
    return taken


def numbers(envelopes):
    return [e.payload["n"] for e in envelopes if e.seq]


def test_what_was_published_since_the_spawn_comes_first(bench):
    bench.publish(1, 2)
    reader = bench.queue.open(["a"])
    bench.publish(3)
    assert numbers(take(reader)) == [1, 2, 3]
    assert reader.resumed is None


def test_a_named_stream_goes_on_after_the_last_event_that_its_client_has(bench):
    reader = bench.queue.open(["a"], "mine", 0)
    bench.publish(1, 2, 3)
    seen = take(reader)
    reader.leave(clean=False)
    bench.publish(4)
    again = bench.queue.open(["a"], "mine", seen[1].seq)
    assert (again.resumed.after_seq, again.resumed.resent, again.resumed.lost) == (seen[1].seq, 1, 0)
    later = take(again)
    assert numbers(later) == [3, 4]
    assert not any(e.replay for e in later)


def test_a_client_that_names_no_stream_gets_marked_copies_of_what_may_have_arrived(bench):
    reader = bench.queue.open(["a"])
    bench.publish(1, 2, 3)
    reader.acknowledge(take(reader)[0].seq)
    reader.leave(clean=False)
    bench.publish(4)
    again = bench.queue.open(["a"])
    assert [(e.payload["n"], e.replay) for e in take(again)] == [(2, True), (3, True), (4, False)]


def test_every_copy_is_marked_where_a_socket_breaks_before_all_copies_are_sent_again(bench):
    reader = bench.queue.open(["a"])
    bench.publish(1, 2, 3, 4)
    take(reader)
    reader.leave(clean=False)
    again = bench.queue.open(["a"])
    take(again, 2)
    again.leave(clean=False)
    bench.publish(5)
    last = take(bench.queue.open(["a"]))
    assert [(e.payload["n"], e.replay) for e in last] == [
        *((n, True) for n in (1, 2, 3, 4)),
        (5, False),
    ]


def test_a_stream_of_other_kinds_is_another_one(bench):
    reader = bench.queue.open(["a"])
    bench.publish(1)
    reader.leave(clean=False)
    other = bench.queue.open(["b"])
    bench.publish(2, kind="b")
    assert (numbers(take(other)), other.resumed) == ([2], None)


def held_back(bus, *numbers):
    """Publish events that are held back from workers, and return what the gate got."""
    held = []

    class Gate:
        def holds(self, envelope, size, only=None):
            held.append((envelope, size, only))
            return True

    bus.gate = Gate()
    token = current_invocation.set(Invocation("demo:w", "on_a", "event", None))
    try:
        for n in numbers:
            bus.publish("a", {"n": n})
    finally:
        current_invocation.reset(token)
        bus.gate = None
    return held


def test_held_events_arrive_once_and_in_order_after_newer_ones(bench):
    published = []
    bench.bus.tap(lambda envelope: published.append((envelope.seq, envelope.event_id)))
    inside = bench.bus.subscribe(["a"], owner="demo:inside")
    reader, client = bench.queue.open(["a"], "mine", 0), EventStream(["a"])
    client.begin()
    held = held_back(bench.bus, 1, 2, 3)
    bench.publish(4)
    (newer,) = take(reader)
    reader.acknowledge(newer.seq)
    assert client.is_new(replace(newer))
    for one in held:
        bench.bus.release(*one)
    bench.publish(5)
    given = [envelope for envelope in take(reader) if client.is_new(envelope)]
    assert numbers(given) == [1, 2, 3, 5]
    assert newer.seq < given[0].seq < given[1].seq < given[2].seq < given[3].seq  # as `once.py` wants it
    assert [e.event_id for e in given] == [id_ for _, id_ in (*published[:3], published[4])]
    reader.acknowledge(newer.seq)
    assert bench.queue.size > 0  # that is not known to have arrived which was sent later
    reader.leave(clean=False)
    again = bench.queue.open(["a"], "mine", given[1].seq)
    assert numbers(take(again)) == [3, 5]
    again.acknowledge(given[-1].seq)
    assert bench.queue.size == 0
    assert [e.seq for e in inside.queued()] == [published[n][0] for n in (3, 0, 1, 2, 4)]


def test_held_events_that_the_backlog_takes_come_in_the_order_of_their_delivery(bench):
    held = held_back(bench.bus, 1, 2)
    bench.publish(3)
    for one in held:
        bench.bus.release(*one)
    assert numbers(take(bench.queue.open(["a"]))) == [3, 1, 2]


def test_what_is_for_one_worker_keeps_its_number_where_it_is_not_held(bench):
    reader = bench.queue.open(["a"])
    event = bench.bus.publish("a", {"n": 1}, only="demo:w")
    assert [e.seq for e in take(reader)] == [event.seq] == [bench.bus.latest_seq]


async def test_a_socket_that_is_half_dead_is_let_go_when_its_client_returns(bench):
    ended = []
    old = bench.queue.open(["a"], "mine", 0)
    old.on_end = lambda: ended.append(True)
    waiting = asyncio.create_task(old.next())
    await asyncio.sleep(0)
    new = bench.queue.open(["a"], "mine", 0)
    assert await waiting is None
    old.leave(clean=False)
    bench.publish(1)
    assert (ended, numbers(take(old)), numbers(take(new))) == ([True], [], [1])


def test_a_client_that_leaves_cleanly_loses_nothing(bench):
    reader = bench.queue.open(["a"])
    bench.publish(1)
    reader.leave(clean=True)
    bench.timers.advance(100)
    assert (bench.lost, bench.queue.size) == ([], 0)


def test_a_stream_that_does_not_come_back_loses_what_it_has_and_what_comes(bench):
    reader = bench.queue.open(["a"], "mine", 0)
    bench.publish(1)
    reader.leave(clean=False)
    bench.timers.advance(60)
    bench.publish(2)
    assert [why for _, why, _ in bench.lost] == [bench.queue.why_given_up] * 2
    back = bench.queue.open(["a"], "mine", 0)
    bench.publish(3)
    assert (back.resumed.lost, numbers(take(back))) == (2, [3])


def test_a_process_that_ends_by_itself_loses_what_had_not_arrived(bench):
    reader = bench.queue.open(["a"])
    bench.publish(1, 2, 3)
    reader.acknowledge(take(reader)[0].seq)
    bench.queue.close("it has ended")
    assert bench.lost == [(event_id, "it has ended", 1) for event_id, _, _ in bench.lost]
    assert bench.count_lost == 2
    assert (bench.timers.pending, bool(bench.bus.pressure)) == (0, False)


def test_a_process_that_ends_before_it_subscribes_loses_what_its_handlers_were_to_get(bench):
    bench.publish(1, 2)
    bench.publish(3, kind="b")
    bench.heard = {"a"}
    bench.queue.close("it has ended")
    assert bench.count_lost == 2
    assert (bench.timers.pending, bool(bench.bus.pressure)) == (0, False)


def test_a_process_that_ends_and_never_said_what_it_wants_loses_nothing(bench):
    bench.publish(1, 2)
    bench.queue.close("it has ended")
    assert bench.lost == []


def test_a_process_that_is_stopped_counts_nothing_as_lost(bench):
    bench.queue.open(["a"])
    bench.publish(1)
    bench.queue.close()
    assert bench.lost == []


async def test_publishers_wait_while_it_is_full_and_go_on_in_their_order(bench):
    reader = bench.queue.open(["a"])
    order = []

    async def publish(n):
        await bench.bus.pressure.room("a")
        bench.publish(n, size=1_000)
        order.append(n)

    publishers = [asyncio.create_task(publish(n)) for n in range(100)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert bench.bus.pressure
    assert bench.queue.size < 23_000
    seen = []
    while len(seen) < 100:
        for envelope in take(reader):
            seen.append(envelope.payload["n"])
            reader.acknowledge(envelope.seq)
        for _ in range(50):
            await asyncio.sleep(0)
        assert bench.queue.size < 23_000
    assert seen == order == list(range(100))
    assert (bench.lost, bool(bench.bus.pressure)) == ([], False)
    await asyncio.gather(*publishers)


async def test_only_publishers_of_its_kinds_wait(bench):
    bench.queue.open(["a"])
    bench.publish(*range(20), size=1_000)
    async with asyncio.timeout(60):
        await bench.bus.pressure.room("b")
        await bench.bus.pressure.room("a", None, "demo:other")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bench.bus.pressure.room("a")
    assert bench.bus.pressure.waiting == 0


async def test_publishers_wait_as_long_as_the_process_takes_something(bench):
    reader = bench.queue.open(["a"])
    bench.publish(*range(40), size=1_000)  # too many at once to be slowed down: some are lost
    waiting = asyncio.create_task(bench.bus.pressure.room("a"))
    await asyncio.sleep(0)
    for envelope in take(reader, 3):
        bench.timers.advance(29)
        reader.acknowledge(envelope.seq)
        await asyncio.sleep(0)
        assert not waiting.done()
    bench.timers.advance(31)
    await asyncio.wait_for(waiting, 60)


def test_what_cannot_be_slowed_down_has_a_reserve_and_is_lost_beyond(bench):
    reader = bench.queue.open(["a"])
    bench.publish(*range(30), size=1_000)
    assert 20_000 * 1.25 <= bench.queue.size <= 20_000 * 1.25 + 1_500
    seen = take(reader)
    assert seen[-1].payload["lost"] == bench.count_lost == 30 - len(numbers(seen))
    assert seen[-1].kind == "transport.events_cut"


async def test_publishers_go_on_when_the_process_ends(bench):
    bench.queue.open(["a"])
    bench.publish(*range(20), size=1_000)
    waiting = [asyncio.create_task(bench.bus.pressure.room("a")) for _ in range(5)]
    await asyncio.sleep(0)
    bench.queue.close()
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    assert bench.bus.pressure.waiting == 0


async def test_a_publisher_that_gives_up_lets_the_next_one_go_on(bench):
    reader = bench.queue.open(["a"])
    bench.publish(*range(20), size=1_000)
    first, second = (asyncio.create_task(bench.bus.pressure.room("a")) for _ in range(2))
    await asyncio.sleep(0)
    for envelope in take(reader, 5):
        reader.acknowledge(envelope.seq)
    first.cancel()
    async with asyncio.timeout(60):
        await second


def test_a_stream_that_is_stuck_takes_no_room_from_another(bench):
    bench.queue.open(["a"])
    other = bench.queue.open(["b"])
    bench.publish(*range(40), size=1_000)
    lost = bench.count_lost
    bench.publish(1, 2, kind="b", size=1_000)
    assert (bench.count_lost, numbers(take(other))) == (lost, [1, 2])


def test_too_many_broken_streams_are_given_up_the_oldest_first(bench):
    for n in range(70):
        bench.queue.open(["a"], f"s{n}", 0).leave(clean=False)
    bench.publish(1)
    back = bench.queue.open(["a"], "s0", 7).resumed
    assert (back.after_seq, back.resent, back.lost) == (7, 0, 1)  # it is told, and others have the event
    assert bench.lost == []
    assert bench.queue.open(["a"], "s69", 0).resumed is not None


STEPS = st.lists(
    st.sampled_from(
        ["publish", "publish", "big", "take", "take", "ack", "cut", "half", "open", "wait", "long"]
    ),
    max_size=80,
)


@pytest.mark.parametrize("is_named", [True, False], ids=["our client", "any client"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 1_000))
def test_each_event_is_handed_out_once_in_order_or_counted_as_lost(is_named, steps, seed):
    chance = random.Random(seed)
    bench = Bench()
    published = 0
    reader = None
    frames: list = []  # sent, and still in the sockets
    seen: list[int] = []
    newest = 0

    def receive(count):
        nonlocal newest
        for envelope in frames[:count]:
            if envelope.seq and envelope.seq <= newest:
                assert not is_named or not envelope.replay
                assert is_named or envelope.replay  # a client can tell
            elif envelope.seq:
                newest = envelope.seq
                seen.append(envelope.payload["n"])
        del frames[:count]
        return newest

    def reopen():
        nonlocal reader
        frames.clear()
        name = "mine" if is_named else None
        reader = bench.queue.open(["a"], name, newest if is_named else None)

    def flush():
        frames.extend(take(reader))
        reader.acknowledge(receive(len(frames)))

    for step in steps:
        match step:
            case "publish" | "big":
                bench.publish(published, size=3_000 if step == "big" else 0)
                published += 1
            case "take" if reader is not None:
                frames.extend(take(reader, chance.randint(1, 5)))
            case "ack" if reader is not None:
                reader.acknowledge(receive(chance.randint(0, len(frames))))
            case "cut" if reader is not None:
                receive(chance.randint(0, len(frames)))
                frames.clear()
                reader.leave(clean=False)
                reader = None
            case "half" if reader is not None and is_named:  # the runtime has not noticed
                receive(chance.randint(0, len(frames)))
                reopen()
            case "open" if reader is None:
                reopen()
            case "wait":
                bench.timers.advance(5)
            case "long":
                bench.timers.advance(61)
    if reader is None:
        reopen()
    flush()
    assert seen == sorted(set(seen))
    assert len(seen) + bench.count_lost >= published
    # What was sent and never acknowledged before a stream was given up may have arrived, and counts as lost.
    assert len(set(seen)) <= published
    if not bench.lost:
        assert seen == list(range(published))
    assert bench.queue.size == 0
    bench.queue.close()
    assert bench.timers.pending == 0


def test_the_bus_knows_what_waits_for_all_processes(bench):
    bench.publish(1, 2)
    assert (bench.bus.queues.held > 0, bench.bus.queues.used) == (True, 0)
    reader = bench.queue.open(["a"])
    assert (bench.bus.queues.held, bench.bus.queues.used) == (0, bench.queue.size)
    assert bench.queue.size > 0
    take(reader)
    reader.acknowledge(bench.bus.latest_seq)
    assert bench.bus.queues.used == 0


def test_the_bus_counts_what_was_dropped_also_after_the_process_has_ended(bench):
    bench.publish(*range(10), size=1_000)
    bench.queue.open(["a"])
    held_dropped = bench.bus.queues.held_dropped
    bench.publish(*range(50), size=1_000)
    dropped = bench.bus.queues.dropped
    assert (held_dropped > 0, dropped > 0) == (True, True)
    assert held_dropped + dropped == bench.count_lost
    bench.queue.close()
    queues = bench.bus.queues
    assert (queues.used, queues.held, queues.dropped) == (0, 0, dropped)


def test_a_copy_that_is_sent_again_keeps_its_payload_as_bytes(bench):
    reader = bench.queue.open(["a"])
    bench.publish(7)
    take(reader)
    reader.leave(clean=False)
    (again,) = (e for e in take(bench.queue.open(["a"])) if e.seq)
    assert again.replay
    assert again.payload == {"n": 7, "x": ""}
    assert bytes_of_payload(again) > 0


def test_what_comes_for_streams_that_are_forgotten_is_lost_by_name(bench):
    for n in range(70):
        bench.queue.open([f"k{n}"], f"s{n}", 0).leave(clean=False)
    event = bench.bus.publish("k0")
    bench.publish(1, kind="k69")
    assert bench.lost == [(event.event_id, bench.queue.why_abandoned, 1)]
    assert bench.queue.open(["k0"], "s0", 0).resumed.lost == 1
    bench.publish(2, kind="k0")
    assert bench.count_lost == 1


def test_a_forgotten_stream_of_all_kinds_loses_all_that_no_other_gets(bench):
    bench.queue.open(None, "all", 0).leave(clean=False)
    for n in range(70):
        bench.queue.open(["a"], f"s{n}", 0).leave(clean=False)
    lost, _ = bench.bus.publish("b"), bench.bus.publish("a")
    assert [event_id for event_id, _, _ in bench.lost] == [lost.event_id]
    reader = bench.queue.open(None, "all", 0)
    assert reader.resumed.lost == 2
    bench.publish(1, kind="b")
    assert (bench.count_lost, numbers(take(reader))) == (1, [1])
    bench.queue.close()
    bench.publish(2, kind="b")
    assert bench.count_lost == 1


def test_what_was_cut_is_told_once_and_only_of_the_kinds_that_are_taken(bench):
    bench.publish(*range(10), kind="a", size=1_000)
    bench.publish(*range(10), kind="b", size=1_000)
    for kinds in (["a"], ["a"], ["a", "b"], None, None):
        bench.queue.open(kinds)
    ids = [event_id for event_id, _, _ in bench.lost]
    assert len(ids) == len(set(ids)) == bench.bus.queues.held_dropped > 10
    assert all(count == 1 for _, _, count in bench.lost)


class Handling:
    """A process that reports: its handlers, and which events these have begun."""

    def __init__(self, bench, kinds=("a",)) -> None:
        self.history = History()
        bench.bus.tap(self.history.note_event)
        self.remote = RemoteInvocations(self.history, "demo:w")
        self.remote.take(Hello([("on_event", kind, "h") for kind in kinds]))
        self.bench = bench
        self.kinds = kinds
        bench.heard = {*kinds}

    def open(self, name=None, kinds=None):
        return self.bench.queue.open(kinds or self.kinds, name, 0, self.remote.stream)

    def begin(self, envelope):
        self.remote.take(Delivered(envelope.event_id))

    def die(self):
        self.bench.queue.close("it has ended", *self.remote.left())
        self.remote.close()


def test_what_the_stream_of_the_handlers_has_left_goes_to_the_one_that_replaces_it(bench):
    process = Handling(bench)
    first = process.open("first")
    bench.publish(1, 2, 3, 4)
    begun, arrived, sent = take(first, 3)
    process.begin(begun)
    first.acknowledge(arrived.seq)
    first.leave(clean=False)
    bench.publish(5)
    second = process.open("second")
    assert [(e.payload["n"], e.replay) for e in take(second)] == [(3, True), (4, False), (5, False)]
    quiet = [process.history.is_quiet(e.event_id) for e in (arrived, sent)]
    assert quiet == [True, False]
    bench.timers.advance(61)
    assert bench.lost == []
    process.die()
    lost = [event_id for event_id, _, _ in bench.lost]
    assert (len(lost), lost[0], sent.event_id in lost) == (4, arrived.event_id, True)
    assert process.history.is_idle()


def test_two_streams_of_the_handlers_lose_an_event_once(bench):
    process = Handling(bench)
    process.open("first")
    process.open("second")
    bench.publish(1, 2)
    process.die()
    assert bench.count_lost == len(set(bench.lost)) == 2
    assert process.history.is_idle()


def test_an_event_that_one_of_two_streams_has_brought_is_not_lost_with_the_other(bench):
    process = Handling(bench)
    first, second = process.open("first"), process.open("second")
    bench.publish(1)
    process.begin(take(second)[0])
    first.leave(clean=False)
    bench.timers.advance(61)
    assert bench.lost == []


def test_handlers_of_other_kinds_take_nothing_from_a_stream_that_broke(bench):
    process = Handling(bench, ["a", "b"])
    process.open("one", ["a"]).leave(clean=False)
    bench.publish(1)
    assert numbers(take(process.open("other", ["b"]))) == []
    assert numbers(take(process.open("one", ["a"]))) == [1]
    assert bench.lost == []


def test_a_process_that_closes_its_stream_and_then_ends_by_itself_loses_what_it_had_not_begun(bench):
    process = Handling(bench)
    reader = process.open("first")
    bench.publish(1, 2, 3)
    begun, late, _ = take(reader)
    reader.acknowledge(late.seq)
    process.begin(begun)
    reader.leave(clean=True)
    assert process.history.is_idle()
    process.begin(late)
    process.die()
    assert bench.count_lost == 1


def test_a_process_that_ends_loses_what_is_held_for_handlers_beside_other_streams(bench):
    process = Handling(bench)
    bench.publish(1)
    bench.queue.open(["b"], "mine", 0)
    process.die()
    assert bench.count_lost == 1
