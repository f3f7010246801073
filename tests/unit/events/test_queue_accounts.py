"""Every event for a worker process is handed out, held, left by the process, or lost by its id; exactly one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dnworker.core.handlers import HandlerKey
from dnworker.core.limits import Limits
from dnworker.events import backlog, worker_queue
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.worker_queue import WorkerQueue
from dnworker.workers.remote import RemoteInvocations
from dnworker.workers.reports import Delivered, Hello

from .timers import Timers

KINDS = ("a", "b", "c")
HEARD = ("a", "b")
LIMITS = Limits(queue=12_000, held=4_000, held_seconds=60, publish_seconds=30)
NAMES = st.one_of(st.none(), st.integers(0, 9).map("s{}".format))


class Accounts(RuleBasedStateMachine):
    """One process with handlers of two kinds, whose streams come, break and go.

    The handlers' streams are one consumer: each event of their kinds has one fate. What `client.subscribe`
    of the same process gets is not looked at here, except that it must not disturb this.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(worker_queue, "AWAITED", 3)
        self.patch.setattr(backlog, "KINDS_APART", 2)
        self.bus, self.timers, self.history = EventBus(), Timers(), History()
        self.bus.tap(self.history.note_event)
        self.lost: Counter[str | None] = Counter()
        self.remote = RemoteInvocations(self.history, "demo:w")
        self.queue = WorkerQueue(self.bus, "demo:w", LIMITS, self.lose, heard=self.heard, timers=self.timers)
        self.readers: list = []
        self.sockets: dict = {}  # what was sent, and has not arrived
        self.published: dict[str, str] = {}
        self.arrived: set[str] = set()
        self.begun: set[str] = set()
        self.fed: set[str] = set()
        self.was_fed: set[str] = set()
        self.is_over = False

    def heard(self):
        return {key.trigger for key in self.remote.stats}

    def lose(self, event_id, why, count):
        self.lost[event_id] += count

    @initialize(spans=st.integers(0, 30))
    def spawn(self, spans):
        """Publish before the process says what it handles."""
        for n in range(spans):
            self.publish(KINDS[n % 3], 200)
        self.remote.take(Hello([HandlerKey("on_event", kind, "h") for kind in HEARD]))

    @rule(kind=st.sampled_from(KINDS), size=st.sampled_from([0, 200, 3_000]))
    def publish(self, kind, size):
        event = self.bus.publish(kind, {"x": "x" * size})
        if not self.is_over and kind in HEARD and self.is_wanted(kind):
            self.published[event.event_id] = kind

    def is_wanted(self, kind):
        """Return whether handlers are to get it: they listen, or may do so yet."""
        return kind in self.fed or kind not in self.was_fed

    @precondition(lambda self: not self.is_over)
    @rule(name=NAMES, kinds=st.sampled_from([("a", "b"), ("a",), ("b",), None]), after=st.booleans())
    def open_for_handlers(self, name, kinds, after):
        for reader in [
            r for r in self.readers if r.stream.name == name and r.stream.kinds == (kinds and {*kinds})
        ]:
            self.break_off(reader)
        self.fed |= {*(kinds or HEARD)}
        self.was_fed |= self.fed
        reader = self.queue.open(kinds, name, 0 if after else None, self.remote.stream)
        self.readers = [r for r in self.readers if r.is_reading] + [reader]
        self.sockets[reader] = []

    @precondition(lambda self: not self.is_over)
    @rule(name=NAMES, kinds=st.sampled_from([("c",), ("c", "d")]))
    def open_another(self, name, kinds):
        self.queue.open(kinds, f"other {name}", None).leave(clean=name is None)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 9))
    def send(self, data, count):
        reader = data.draw(st.sampled_from(self.readers))
        for _ in range(count):
            if (envelope := reader.take()) is not None:
                self.sockets[reader].append(envelope)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), count=st.integers(1, 9), is_known=st.booleans(), begins=st.booleans())
    def arrive(self, data, count, is_known, begins):
        reader = data.draw(st.sampled_from(self.readers))
        came, self.sockets[reader] = self.sockets[reader][:count], self.sockets[reader][count:]
        self.arrived |= {envelope.event_id for envelope in came if envelope.seq}
        if is_known and came:
            reader.acknowledge(max(envelope.seq for envelope in came))
        if begins:
            self.begin()

    @rule()
    def begin(self):
        """Begin the handlers of all that has arrived."""
        for event_id in self.arrived:
            if not self.is_over and event_id not in self.begun:
                self.remote.take(Delivered(event_id))
                self.begun.add(event_id)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def cut(self, data):
        self.break_off(data.draw(st.sampled_from(self.readers)))

    def break_off(self, reader):
        self.readers.remove(reader)
        reader.leave(clean=False)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def close_one(self, data):
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        reader.leave(clean=True)
        self.fed = {kind for kind in self.fed if self.is_fed(kind)}

    def is_fed(self, kind):
        streams = self.queue._streams
        return any(s.watcher is not None and (s.kinds is None or kind in s.kinds) for s in streams)

    @rule(seconds=st.sampled_from([1, 20, 61]))
    def wait(self, seconds):
        self.timers.advance(seconds)

    @precondition(lambda self: not self.is_over)
    @rule()
    def die(self):
        self.queue.close("it has ended", *self.remote.left())
        self.remote.close()
        self.readers.clear()
        self.is_over = True

    def held(self):
        waiting = {one.envelope.event_id for held in self.queue._backlog._held.values() for one in held}
        waiting |= {event_id for _, event_id in self.queue._backlog._cut_ids}
        for stream in self.queue._streams:
            if stream.watcher is not None:
                waiting |= {*stream.watcher.outstanding()}
        return waiting | ({*self.remote.left()[0]} if not self.is_over else set())

    @invariant()
    def each_event_has_a_fate(self):
        assert None not in self.lost
        held = self.held()
        for event_id in self.published:
            assert (event_id in held) or event_id in self.begun or self.lost[event_id], event_id
            assert self.lost[event_id] <= 1
            assert not (self.lost[event_id] and event_id in held)
        assert self.queue.size == sum(stream.size for stream in self.queue._streams)
        if self.is_over:
            assert (held, self.queue.size, self.timers.pending) == (set(), 0, 0)
            assert self.history.is_idle()

    def teardown(self):
        self.patch.undo()


Accounts.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAccounts = Accounts.TestCase
