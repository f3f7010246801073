"""Events that cause themselves: what counts, what is said, and what becomes of what is held."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import UsageError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import Limits, storm_mode
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.storms import DEEP, HELD_KEPT, LINKS_KEPT, STORMS_KEPT, WIDER, WINDOW, Storms
from dnworker.events.trace import Trace

LIMIT = 20


class Chains:
    """A bus with storms on a clock that stands still, whose handlers are played by the test."""

    def __init__(self, mode="hold", limit=LIMIT, held_bytes=1_000_000):
        self.clock = VirtualClock()
        self.bus, self.history = EventBus(self.clock), History()
        limits = Limits(storm=limit, storm_held=held_bytes)
        self.storms = Storms(self.clock, limits, self.history, self.bus.release, self.bus.let_go, mode)
        self.bus.tap(self.history.note_event)
        self.bus.gate = self.storms
        self.told = []
        self.storms.began.add(lambda storm, invocation: self.told.append(self.storms.message(storm)))
        self.worker = self.bus.subscribe(owner="n:w")
        self.client = self.bus.subscribe()

    def publish(self, kind, above=None, by="w.h"):
        """Publish as a handler that handles `above`."""
        worker, _, handler = by.partition(".")
        if above is None:
            return self.bus.publish(kind, {})
        token = current_invocation.set(Invocation(f"n:{worker}", handler, "event", above))
        try:
            return self.bus.publish(kind, {})
        finally:
            current_invocation.reset(token)

    def chain(self, length, kinds=("a",), above=None):
        """Publish a chain that goes round, each event by the handler of the one before."""
        events = [above or self.publish(kinds[0])]
        for n in range(1, length + 1):
            by = f"w.on_{kinds[(n - 1) % len(kinds)]}"
            events.append(self.publish(kinds[n % len(kinds)], events[-1], by))
        return events

    async def advance(self, seconds):
        async def nothing():
            return None

        await self.clock.advance(seconds, nothing)


def test_a_circle_is_held_past_the_limit_and_named():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5, ("a", "b"))
    assert chains.told == [
        f"event storm: #1 a has caused {LIMIT} events within 10 s that repeat a -> b -> a, by n:w.on_a and "
        "n:w.on_b; further ones are held: a restart of w delivers them"
    ]
    # The root and the first DEEP - 1 below it do not count, LIMIT do, and the rest is held.
    assert len(chains.worker) == DEEP + LIMIT
    assert chains.storms.held == len(events) - len(chains.worker)
    assert chains.history.held(events[-1].event_id) == "a restart of w delivers them"
    assert chains.history.storm_of(events[0].event_id).startswith("event storm: #1 a has caused")


def test_what_the_broker_refuses_is_not_held():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    before, size = chains.storms.held, chains.storms.held_bytes
    for _ in range(2):
        chains.storms.note_refused(events[-1], OSError("the disk is full"))
    assert chains.storms.held == before - 1
    assert chains.storms.held_bytes < size
    assert chains.history.held(events[-1].event_id) is None
    assert chains.storms.resume() == before - 1


def test_clients_get_what_workers_do_not():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    assert len(chains.client) == len(events)
    assert len(chains.worker) < len(events)


def test_a_handler_may_publish_any_number_of_events():
    chains = Chains()
    root = chains.publish("a")
    for _ in range(50 * LIMIT):
        leaf = chains.publish("page", root, "w.on_a")
        chains.publish("stored", leaf, "w.on_page")
    assert (chains.told, chains.storms.held) == ([], 0)


def test_walking_a_tree_by_its_own_kind_is_no_storm():
    chains = Chains()
    level = [chains.publish("page")]
    for _ in range(4):  # 1 + 3 + 9 + 27 + 81 pages
        level = [chains.publish("page", above, "w.crawl") for above in level for _ in range(3)]
    assert (chains.told, chains.storms.held) == ([], 0)


def test_a_tree_that_is_far_too_wide_is_a_storm_before_it_is_deep():
    chains = Chains()
    level, total = [chains.publish("page")], 0
    for _ in range(3):
        level = [chains.publish("page", above, "w.crawl") for above in level for _ in range(LIMIT)]
        total += len(level)
    assert chains.told
    assert chains.storms.held
    assert len(chains.worker) <= 1 + LIMIT + WIDER * LIMIT


async def test_a_circle_that_takes_its_time_is_no_storm():
    chains = Chains()
    event = chains.publish("tick")
    for _ in range(10 * LIMIT):
        await chains.advance(2 * WINDOW / LIMIT)
        event = chains.publish("tick", event, "w.on_tick")
    assert (chains.told, chains.storms.held) == ([], 0)


async def test_events_before_the_window_do_not_count():
    chains = Chains()
    events = chains.chain(DEEP + LIMIT - 1)
    await chains.advance(WINDOW + 0.1)
    chains.chain(LIMIT, above=events[-1])
    assert chains.told == []


def test_a_chain_that_passes_each_handler_once_is_no_storm():
    chains = Chains(limit=1)
    event = chains.publish("k0")
    for n in range(1, 200):
        event = chains.publish(f"k{n}", event, f"w.on_k{n - 1}")
    assert chains.told == []


def test_a_circle_of_very_many_handlers_is_found_as_far_as_is_looked():
    for length, is_found in ((50, True), (51, False)):
        chains = Chains()
        chains.chain(400, tuple(f"k{n}" for n in range(length)))
        assert bool(chains.told) is is_found, length


def test_what_only_warns_delivers_everything_and_says_so_again_at_each_tenfold():
    chains = Chains("warn")
    events = chains.chain(DEEP + 120 * LIMIT)
    assert len(chains.worker) == len(events)
    assert [text.partition(" events")[0].rpartition(" ")[2] for text in chains.told] == ["20", "200", "2,000"]
    assert chains.told[0].endswith("; it goes on")


def test_what_is_off_costs_and_says_nothing():
    chains = Chains("off")
    events = chains.chain(DEEP + 3 * LIMIT)
    assert (len(chains.worker), chains.told, len(chains.storms._links)) == (len(events), [], 0)


def test_resume_delivers_in_order_and_counts_anew():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    before = chains.storms.held
    assert chains.storms.resume("n:other") == 0
    assert chains.storms.resume("n:w") == before
    got = []
    while (event := chains.worker.take()) is not None:
        got.append(event.seq)
    assert got == [event.seq for event in events]
    assert (chains.storms.held, chains.storms.held_bytes, chains.storms.storms) == (0, 0, [])
    assert chains.history.held(events[-1].event_id) is None
    chains.chain(LIMIT + 1, above=events[-1])
    assert (len(chains.told), chains.storms.held) == (2, 1)


def test_drop_lets_go_and_says_what_became_of_each():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    count, delivered = chains.storms.held, len(chains.worker)
    assert chains.storms.drop() == count
    assert (len(chains.worker), chains.storms.dropped) == (delivered, count)
    assert chains.history.losses_of(events[-1].event_id) == (
        "no worker gets it: it was part of the event storm of #1 (a -> a), and %worker resume --drop let it go",
    )


def test_what_is_held_is_bounded_in_bytes_and_the_rest_is_counted():
    chains = Chains(held_bytes=2_000)
    events = chains.chain(LIMIT + DEEP + 50)
    assert chains.storms.held_bytes <= 2_000
    assert chains.storms.dropped == len(events) - len(chains.worker) - chains.storms.held
    assert "too many are held" in chains.history.losses_of(events[-1].event_id)[0]


def test_what_is_held_is_bounded_in_number():
    chains = Chains(held_bytes=10**9)
    chains.chain(HELD_KEPT + LIMIT + DEEP + 5)
    assert chains.storms.held == HELD_KEPT
    assert chains.storms.dropped > 0


def test_what_is_known_of_chains_is_bounded():
    chains = Chains("warn")
    root = chains.publish("a")
    for _ in range(3 * LINKS_KEPT):
        chains.publish("b", root, "w.on_a")
    assert LINKS_KEPT <= len(chains.storms._links) < 2 * LINKS_KEPT


def test_another_chain_of_a_known_circle_is_held_as_soon_as_it_is_deep():
    chains = Chains()
    chains.chain(LIMIT + DEEP + 5)
    before = len(chains.worker)
    chains.chain(LIMIT)
    assert len(chains.worker) == before + DEEP
    assert len(chains.told) == 1


def test_a_worker_that_is_started_again_gets_what_was_held():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    chains.storms.note_state("n:w", is_running=True)
    assert chains.storms.held
    chains.storms.note_state("n:w", is_running=False)
    chains.storms.note_state("n:other", is_running=True)
    assert chains.storms.held
    chains.storms.note_state("n:w", is_running=True)
    assert (chains.storms.held, len(chains.worker)) == (0, len(events))


def test_another_mode_delivers_what_is_held():
    chains = Chains()
    events = chains.chain(LIMIT + DEEP + 5)
    chains.storms.mode = "warn"
    assert len(chains.worker) == len(events)


async def test_a_storm_that_was_only_told_is_over_when_nothing_has_come_for_a_window():
    chains = Chains("warn")
    events = chains.chain(LIMIT + DEEP + 5)
    await chains.advance(WINDOW)
    assert len(chains.storms.storms) == 1
    await chains.advance(0.1)
    assert chains.storms.storms == []
    later = chains.chain(DEEP + 5)
    assert chains.history.storm_of(later[0].event_id) is None
    chains.chain(LIMIT, above=events[-1])
    assert len(chains.told) == 1
    chains.publish("a", chains.chain(1, above=events[-1])[-1], "w.on_a")
    assert len(chains.told) == 2


async def test_a_storm_that_goes_on_is_one_and_one_that_holds_stays():
    for mode, held in (("warn", 0), ("hold", 6)):
        chains = Chains(mode)
        event = chains.chain(LIMIT + DEEP + 5)[-1]
        for _ in range(5 if mode == "warn" else 0):
            await chains.advance(WINDOW - 1)
            event = chains.publish("a", event, "w.on_a")
        if mode == "hold":
            await chains.advance(5 * WINDOW)
        assert (len(chains.told), [storm.held for storm in chains.storms.storms]) == (1, [held])


def test_storms_that_hold_nothing_are_bounded_and_each_has_its_own_names():
    chains = Chains("warn", limit=2)
    for n in range(STORMS_KEPT + 20):
        chains.chain(DEEP + 3, (f"k{n}",))
        assert f"repeat k{n} -> k{n}, by n:w.on_k{n}; " in chains.told[n]
    assert len(chains.storms._storms) == len(chains.storms.storms) == STORMS_KEPT
    assert chains.storms.storms[-1].kinds == (f"k{n}", f"k{n}")


def test_a_worker_that_is_started_again_gets_its_own_however_many_storms_there_are():
    chains = Chains(limit=2)
    for n in range(STORMS_KEPT + 20):
        event = chains.publish("a")
        for _ in range(DEEP + 3):
            event = chains.publish("a", event, f"w{n}.on_a")
    before = chains.storms.held
    assert chains.storms.resume(f"n:w{n}") == before / (STORMS_KEPT + 20) > 0
    assert chains.storms.resume() == before - before / (STORMS_KEPT + 20)


def test_a_trace_counts_what_is_held_of_its_own_chain_without_a_walk_through_it(monkeypatch):
    chains = Chains()
    first, second = chains.chain(LIMIT + DEEP + 5), chains.chain(DEEP)
    monkeypatch.setattr(chains.history, "invocations_of", None)
    for events, count in ((first, "6 of its events are"), (second, "1 of its events is")):
        _, text = Trace(events[0], chains.history)._storm_notes()
        assert text == f"{count} held, and not delivered: a restart of w delivers them"
    (text,) = Trace(second[-1], chains.history)._storm_notes()
    assert text.startswith("held as part of an event storm")
    chains.storms.drop()
    assert len([*Trace(first[0], chains.history)._storm_notes()]) == 1


def test_at_the_end_it_is_said_how_many_were_never_delivered(caplog):
    chains = Chains()
    chains.chain(LIMIT + DEEP + 5)
    count = chains.storms.held
    chains.storms.close()
    chains.storms.close()
    assert caplog.messages == [f"{count} held events were never delivered, of storms of a -> a, by n:w.on_a"]


@pytest.mark.parametrize("word", ["", "Hold", "stop"])
def test_another_word_is_no_mode(word):
    with pytest.raises(UsageError, match="write hold, warn, off"):
        storm_mode(word)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"), st.integers(0, 30), st.sampled_from("ab"), st.sampled_from(["w.x", "v.y"])
        ),
        st.tuples(st.just("chain"), st.integers(0, 30), st.integers(1, 40)),
        st.sampled_from([("resume",), ("drop",), ("restart",), ("warn",), ("hold",)]),
    ),
    max_size=30,
)


@settings(max_examples=150)
@given(steps)
def test_no_event_is_lost_or_doubled_without_being_counted(actions):
    chains = Chains(limit=5, held_bytes=20_000)
    events = [chains.publish("a")]
    for action in actions:
        match action:
            case ("publish", at, kind, by):
                events.append(chains.publish(kind, events[at % len(events)], by))
            case ("chain", at, length):
                events += chains.chain(length, above=events[at % len(events)])[1:]
            case ("resume",):
                chains.storms.resume()
            case ("drop",):
                chains.storms.drop()
            case ("restart",):
                chains.storms.note_state("n:w", is_running=False)
                chains.storms.note_state("n:w", is_running=True)
            case (mode,):
                chains.storms.mode = mode
    got = []
    while (event := chains.worker.take()) is not None:
        got.append(event.seq)
    assert len(got) == len(set(got))
    assert len(got) + chains.storms.held + chains.storms.dropped == len(events)
    held = [e for e in events if chains.history.held(e.event_id)]
    assert len(held) == chains.storms.held
    assert chains.storms.held_bytes >= 0
    assert bool(chains.storms.held_bytes) == bool(chains.storms.held)


# -- in a runtime --------------------------------------------------------------------------------------


def circle():
    worker = Worker(name="w")
    handled = itertools.count()

    @worker.on_event("a")
    async def on_a(event, client):
        next(handled)
        await client.publish("b")

    @worker.on_event("b")
    async def on_b(event, client):
        next(handled)
        await client.publish("a")

    return worker, handled


async def test_fire_of_a_circle_returns_and_says_what_happened():
    worker, handled = circle()
    async with Runtime(port=None, limits=Limits(storm=100)) as runtime:
        runtime.storms.mode = "hold"
        await runtime.add(worker)
        trace = await runtime.fire("a", timeout=None)
        assert next(handled) == DEEP + 100
        assert (trace.outcome, trace.ok, trace.timed_out) == ("not ok", False, False)
        text = str(trace)
        assert "event storm: #" in text
        assert "1 of its events is held, and not delivered: a restart of w delivers them" in text
        (line,) = [one for one in runtime.logs.tail(50, "notebook:w") if "event storm" in one.text]
        assert line.level == "error"
        await runtime.worker("w").restart(force=True)
        await runtime.settle(timeout=None)
        assert next(handled) > DEEP + 200
        assert runtime.usage.read()["storm_held"].used > 0


async def test_the_log_of_a_stopped_runtime_says_how_many_were_never_delivered():
    worker, _ = circle()
    async with Runtime(port=None, limits=Limits(storm=100)) as runtime:
        runtime.storms.mode = "hold"
        await runtime.add(worker)
        await runtime.fire("a", timeout=None)
        assert runtime.storms.held == 1
    (record,) = runtime.log.page(level="warning", text="never delivered").entries
    assert record.message.startswith("1 held events were never delivered, of storms of ")


async def test_a_runtime_by_itself_only_warns(runtime):
    worker = Worker(name="w")

    @worker.on_event("count")
    async def count(event, client):
        if event.payload["n"]:
            await client.publish("count", {"n": event.payload["n"] - 1})

    await runtime.add(worker)
    trace = await runtime.fire("count", {"n": 1_500})
    assert trace.ok
    assert trace.storm.startswith("event storm: #")
    assert [line for line in runtime.logs.tail(50, "notebook:w") if line.text.endswith("; it goes on")]


async def test_a_chain_of_turns_is_a_chain():
    worker = Worker(name="w")
    handled = itertools.count()

    async def answer(turn):
        return "hello"

    @worker.on_event("ask")
    async def ask(event, client):
        next(handled)
        session = await client.create_session()
        await client.run_turn(session_id=session.session_id, message="hello")

    @worker.on_event("turn.completed")
    async def again(event, client):
        await client.publish("ask")

    async with Runtime(port=None, limits=Limits(storm=20)) as runtime:
        runtime.storms.mode = "hold"
        runtime.agents.default(answer)
        await runtime.add(worker)
        trace = await runtime.fire("ask", timeout=None)
        assert 5 < next(handled) < 50
        assert "event storm" in str(trace)
        assert not trace.is_under_way
