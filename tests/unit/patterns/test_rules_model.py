"""For random arrivals each event is handled exactly as a model beside the rule says, and nothing is lost."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker.core.clock import current_clock, sleep
from dnworker.patterns import batch, debounce, limit, once, throttle
from tests.unit.patterns.virtual import Event, Stage, play

arrivals = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), max_size=25)
"""Events: seconds after the one before, and session."""


async def arrive(stage, handler, events):
    for number, (gap, session) in enumerate(events):
        await stage.advance(gap)
        stage.give(handler, Event(number, session))
        await stage.advance(0)


def times_of(events):
    """Return when each event comes, by session."""
    now, found = 0.0, defaultdict(list)
    for number, (gap, session) in enumerate(events):
        now += gap
        found[session].append((now, number))
    return found


def run(rule, events, then):
    """Give events to a handler under a rule; returns when which were handled, of each session."""
    seen = defaultdict(list)

    @rule
    async def handler(event, client):
        group = event if isinstance(event, list) else [event]
        now = current_clock.get().monotonic()
        seen[group[0].session_id].append((now, [one.event_id for one in group]))

    async def scene(stage: Stage) -> None:
        await arrive(stage, handler, events)
        await then(stage)
        await stage.stop()
        assert [task for task in stage.tasks if task.cancelled()] == []

    play(scene)
    return seen


def session(event):
    return event.session_id


async def wait(stage):
    await stage.advance(1_000)


async def nothing(stage):
    pass


@given(arrivals, st.booleans(), st.sampled_from([None, 7.5, 9.5]))
@settings(max_examples=150, deadline=None)
def test_debounce_handles_the_last_of_each_quiet_group(events, stops, max_wait):
    seen = run(debounce(seconds=4.5, key=session, max_wait=max_wait), events, nothing if stops else wait)
    expected, end = defaultdict(list), sum(gap for gap, _ in events)
    for name, came in times_of(events).items():
        group: list[tuple[float, int]] = []

        def due(group=group):
            quiet = group[-1][0] + 4.5
            return quiet if max_wait is None else min(quiet, group[0][0] + max_wait)

        for now, number in came:
            if group and now >= due():
                expected[name].append((due(), [group[-1][1]]))
                group.clear()
            group.append((now, number))
        if group:
            expected[name].append((min(due(), end) if stops else due(), [group[-1][1]]))
    assert seen == expected


@given(arrivals, st.booleans(), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_batch_handles_every_event_once_in_lists_of_its_key(events, stops, size):
    seen = run(batch(size=size, within=4.5, key=session), events, nothing if stops else wait)
    expected, end = defaultdict(list), sum(gap for gap, _ in events)
    for name, came in times_of(events).items():
        group: list[tuple[float, int]] = []
        for now, number in came:
            if group and now >= group[0][0] + 4.5:
                expected[name].append((group[0][0] + 4.5, [n for _, n in group]))
                group.clear()
            group.append((now, number))
            if len(group) == size:
                expected[name].append((now, [n for _, n in group]))
                group.clear()
        if group:
            due = group[0][0] + 4.5
            expected[name].append((min(due, end) if stops else due, [n for _, n in group]))
    assert seen == expected


@given(arrivals, st.integers(1, 5), st.integers(1, 3), st.booleans())
@settings(max_examples=150, deadline=None)
def test_throttle_begins_each_run_when_its_pace_allows(events, rate, burst, drops):
    rule = throttle(rate=rate, per=7.5, burst=burst, key=session, else_="drop" if drops else "wait")
    seen = run(rule, events, wait)
    step, expected = 7.5 / rate, defaultdict(list)
    for name, came in times_of(events).items():
        tokens, last = float(burst), 0.0  # a bucket: another way to say the same
        for now, number in came:
            tokens, last = min(burst, tokens + (now - last) / step), now
            if tokens > 1 - 1e-6 or not drops:
                tokens -= 1
                expected[name].append((round(now + max(0.0, -tokens * step), 4), [number]))
    assert {k: [(round(at, 4), n) for at, n in v] for k, v in seen.items()} == expected


@given(arrivals, st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_limit_runs_never_more_at_once_and_all_in_their_order(events, at_once):
    running, most, begun = defaultdict(int), 0, defaultdict(list)

    @limit(at_once=at_once, key=session)
    async def handler(event, client):
        nonlocal most
        begun[event.session_id].append(event.event_id)
        running[event.session_id] += 1
        most = max(most, running[event.session_id])
        await sleep(3)
        running[event.session_id] -= 1

    async def scene(stage: Stage) -> None:
        await arrive(stage, handler, events)
        await wait(stage)

    play(scene)
    assert begun == {name: [n for _, n in came] for name, came in times_of(events).items()}
    assert most <= at_once


@given(arrivals)
@settings(max_examples=100, deadline=None)
def test_once_handles_a_key_again_only_when_its_time_is_over(events):
    seen = run(once(key=session, within=7.5), events, wait)
    expected = defaultdict(list)
    for name, came in times_of(events).items():
        for now, number in came:
            if not expected[name] or now >= expected[name][-1][0] + 7.5:
                expected[name].append((now, [number]))
    assert seen == expected


@given(arrivals, st.integers(0, 24), st.integers(0, 24))
@settings(max_examples=150, deadline=None)
def test_an_event_whose_handler_is_not_ended_is_handled_whoever_else_is(events, one, other):
    """Random handlers are ended alone at random moments; of the others each is in one list."""
    seen = []

    @batch(size=4, within=4.5, key=session)
    async def handler(group, client):
        seen.extend(event.event_id for event in group)
        await sleep(2)

    async def scene(stage: Stage) -> None:
        for number, (gap, name) in enumerate(events):
            await stage.advance(gap)
            stage.give(handler, Event(number, name))
            if number in (one, other) and (chosen := stage.tasks[(one * other) % len(stage.tasks)]):
                chosen.cancel("ended alone")
            await stage.advance(0)
        await wait(stage)
        for number, task in enumerate(stage.tasks):
            assert task.cancelled() or (task.done() and seen.count(number) == 1)
        assert len(seen) == len(set(seen))

    play(scene)


@given(arrivals, st.sampled_from([None, 7.5, 9.5]))
@settings(max_examples=150, deadline=None)
def test_debounce_that_leads_handles_the_first_of_each_quiet_group(events, max_wait):
    seen = run(debounce(seconds=4.5, key=session, max_wait=max_wait, leading=True), events, wait)
    expected = defaultdict(list)
    for name, came in times_of(events).items():
        first = last = -1_000.0
        for now, number in came:
            if now >= last + 4.5 or (max_wait is not None and now >= first + max_wait):
                first = now
                expected[name].append((now, [number]))
            last = now
    assert seen == expected
