"""Each rule does what its docstring says, on virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dnworker.core.clock import sleep, turn_loop
from dnworker.patterns import batch, debounce, limit, once, throttle
from dnworker.patterns import groups as groups_module
from dnworker.patterns.groups import ENDED_ALONE
from tests.unit.patterns.virtual import Event, Stage, play


def recording(rule):
    """Return a handler under a rule, and what it was given, with when."""
    seen = []

    async def handler(event, client):
        from dnworker.core.clock import current_clock

        ids = [one.event_id for one in event] if isinstance(event, list) else event.event_id
        seen.append((current_clock.get().monotonic(), ids))

    return rule(handler), seen


def test_a_debounced_handler_gets_the_last_event_once_none_comes():
    handler, seen = recording(debounce(seconds=5))

    async def scene(stage: Stage) -> None:
        for number in range(3):
            stage.give(handler, Event(number))
            await stage.advance(2)
        assert seen == []
        await stage.advance(10)
        assert seen == [(9.0, 2)]
        assert all(task.done() for task in stage.tasks)

    play(scene)


def test_a_debounced_handler_runs_at_the_longest_wait_though_events_come():
    handler, seen = recording(debounce(seconds=5, max_wait=7))

    async def scene(stage: Stage) -> None:
        for number in range(6):
            stage.give(handler, Event(number))
            await stage.advance(2)
        assert seen == [(7.0, 3)]
        await stage.advance(20)
        assert seen == [(7.0, 3), (15.0, 5)]

    play(scene)


def test_keys_are_debounced_apart():
    handler, seen = recording(debounce(seconds=5, key=lambda e: e.session_id))

    async def scene(stage: Stage) -> None:
        stage.give(handler, Event(1, "a"))
        await stage.advance(1)
        stage.give(handler, Event(2, "b"))
        await stage.advance(10)
        assert seen == [(5.0, 1), (6.0, 2)]

    play(scene)


def test_the_first_event_is_handled_at_once_where_it_leads():
    handler, seen = recording(debounce(seconds=5, leading=True))

    async def scene(stage: Stage) -> None:
        for number in range(4):
            stage.give(handler, Event(number))
            await stage.advance(4)
        await stage.advance(5)
        stage.give(handler, Event(9))
        await stage.advance(0)
        assert seen == [(0.0, 0), (21.0, 9)]

    play(scene)


def test_what_leads_and_fails_fails_those_that_came_meanwhile_and_the_next_is_handled():
    runs = []

    @debounce(seconds=5, leading=True)
    async def handler(event, client):
        runs.append(event.event_id)
        await sleep(1)
        if event.event_id == 0:
            raise ValueError("no")

    async def scene(stage: Stage) -> None:
        first, second = stage.give(handler, Event(0)), stage.give(handler, Event(1))
        await stage.advance(1)
        assert [type(task.exception()) for task in (first, second)] == [ValueError, ValueError]
        stage.give(handler, Event(2))
        await stage.advance(1)
        assert runs == [0, 2]

    play(scene)


def test_a_batch_is_handled_when_it_is_full_or_its_time_is_over():
    handler, seen = recording(batch(size=3, within=2))

    async def scene(stage: Stage) -> None:
        for number in range(4):
            stage.give(handler, Event(number))
        await stage.advance(0)
        assert seen == [(0.0, [0, 1, 2])]
        await stage.advance(2)
        assert seen[1:] == [(2.0, [3])]

    play(scene)


def test_what_a_batch_raises_fails_each_of_its_events_and_no_other():
    @batch(size=2, within=2)
    async def handler(events, client):
        if events[0].event_id == 0:
            raise ValueError("no")
        return len(events)

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(4)]
        await stage.advance(0)
        assert [str(task.exception()) for task in tasks[:2]] == ["no", "no"]
        assert [task.result() for task in tasks[2:]] == [2, 2]

    play(scene)


def test_a_batch_that_ends_the_program_ends_no_loop():
    @batch(size=1, within=2)
    async def handler(events, client):
        raise SystemExit(3)

    async def scene(stage: Stage) -> None:
        async def caught():
            with pytest.raises(SystemExit):
                await handler(Event(1), None)

        await caught()

    play(scene)


def test_batches_of_one_key_are_handled_one_after_another_and_others_beside():
    log = []

    @batch(size=1, within=2, key=lambda e: e.session_id)
    async def handler(events, client):
        log.append(("begin", events[0].event_id))
        await sleep(1)
        log.append(("end", events[0].event_id))

    async def scene(stage: Stage) -> None:
        for number, session in enumerate("aab"):
            stage.give(handler, Event(number, session))
        await stage.advance(3)
        assert log == [("begin", 0), ("begin", 2), ("end", 0), ("begin", 1), ("end", 2), ("end", 1)]

    play(scene)


def test_what_waits_is_handled_when_the_worker_stops():
    debounced, last = recording(debounce(seconds=50))
    batched, lists = recording(batch(size=9, within=50))

    async def scene(stage: Stage) -> None:
        for number in range(3):
            stage.give(debounced, Event(number))
            stage.give(batched, Event(number))
        await stage.advance(1)
        await stage.stop()
        assert (last, lists) == ([(1.0, 2)], [(1.0, [0, 1, 2])])
        assert not any(task.cancelled() for task in stage.tasks)  # so they count as handled

    play(scene)


def test_what_does_not_end_while_the_worker_stops_is_cancelled_and_said(monkeypatch, caplog):
    monkeypatch.setattr(groups_module, "STOP_SECONDS", 0.01)

    @batch(size=2, within=50)
    async def handler(events, client):
        await asyncio.Event().wait()

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(3)]
        await stage.advance(1)
        await stage.stop()
        assert all(task.cancelled() for task in tasks)

    play(scene)
    assert "2 is not handled: its worker ends before" in caplog.text


def test_one_that_is_ended_alone_leaves_the_others_waiting():
    handler, seen = recording(batch(size=9, within=5))

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(3)]
        await stage.advance(1)
        tasks[1].cancel()
        await turn_loop()
        assert (tasks[1].cancelled(), seen) == (True, [])
        await stage.advance(5)
        assert seen == [(5.0, [0, 2])]

    play(scene)


def test_the_only_one_is_not_handled_when_it_is_ended_alone():
    handler, seen = recording(debounce(seconds=5))

    async def scene(stage: Stage) -> None:
        task = stage.give(handler, Event(1))
        await stage.advance(1)
        task.cancel(ENDED_ALONE)
        await stage.advance(9)
        assert (task.cancelled(), seen) == (True, [])

    play(scene)


def test_one_that_is_ended_alone_while_its_batch_runs_does_not_end_that():
    ended = []

    @batch(size=2, within=5)
    async def handler(events, client):
        await sleep(1)
        ended.append(len(events))

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(2)]
        await stage.advance(0)
        tasks[0].cancel()
        await stage.advance(1)
        assert (ended, tasks[0].cancelled(), tasks[1].done()) == ([2], True, True)

    play(scene)


def test_of_too_many_waiting_events_the_oldest_are_handled_early(monkeypatch, caplog):
    monkeypatch.setattr(groups_module, "MOST", 3)
    handler, seen = recording(debounce(seconds=50, key=lambda e: e.event_id))

    async def scene(stage: Stage) -> None:
        for number in range(5):
            stage.give(handler, Event(number))
        await stage.advance(0)
        assert seen == [(0.0, 0), (0.0, 1)]

    play(scene)
    assert caplog.text.count("more than 3 events wait, so the oldest are handled now") == 1


def test_too_many_events_behind_a_slow_run_are_refused(monkeypatch):
    monkeypatch.setattr(groups_module, "MOST", 2)

    @batch(size=1, within=5)
    async def handler(events, client):
        await sleep(100)

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(4)]
        await turn_loop()
        assert [task.done() for task in tasks] == [False, False, False, True]
        assert "2 events wait for slower runs" in str(tasks[3].exception())
        await stage.advance(300)

    play(scene)


def test_so_many_run_at_once_for_each_key_in_their_order():
    log = []

    @limit(at_once=2, key=lambda e: e.session_id)
    async def handler(event, client):
        log.append(event.event_id)
        await sleep(1)

    async def scene(stage: Stage) -> None:
        for number in range(5):
            stage.give(handler, Event(number, "a"))
        stage.give(handler, Event(9, "b"))
        await stage.advance(0)
        assert log == [0, 1, 9]
        await stage.advance(1)
        assert log == [0, 1, 9, 2, 3]
        await stage.advance(2)
        assert log == [0, 1, 9, 2, 3, 4]

    play(scene)


def test_runs_begin_evenly_where_they_are_throttled():
    handler, seen = recording(throttle(rate=2, per=10))

    async def scene(stage: Stage) -> None:
        for number in range(3):
            stage.give(handler, Event(number))
        await stage.advance(30)
        stage.give(handler, Event(3))
        await stage.advance(0)
        assert seen == [(0.0, 0), (5.0, 1), (10.0, 2), (30.0, 3)]

    play(scene)


def test_a_burst_may_begin_at_once():
    handler, seen = recording(throttle(rate=2, per=10, burst=2))

    async def scene(stage: Stage) -> None:
        for number in range(4):
            stage.give(handler, Event(number))
        await stage.advance(30)
        assert seen == [(0.0, 0), (0.0, 1), (5.0, 2), (10.0, 3)]

    play(scene)


def test_what_comes_too_early_is_left_out_and_counted(caplog):
    handler, seen = recording(throttle(rate=1, per=10, else_="drop"))

    async def scene(stage: Stage) -> None:
        for number in range(3):
            stage.give(handler, Event(number))
        await stage.advance(10)
        stage.give(handler, Event(3))
        await stage.advance(0)
        assert seen == [(0.0, 0), (10.0, 3)]

    with caplog.at_level(logging.INFO, "dnworker.patterns"):
        play(scene)
    assert "1 is left out, 1 so far" in caplog.text
    assert "2 is left out, 2 so far" in caplog.text


def test_one_that_waits_for_its_turn_and_is_ended_gives_it_back():
    handler, seen = recording(throttle(rate=1, per=10))

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(2)]
        await stage.advance(1)
        tasks[1].cancel()
        await turn_loop()
        stage.give(handler, Event(2))
        await stage.advance(10)
        assert seen == [(0.0, 0), (10.0, 2)]

    play(scene)


def test_one_event_of_a_key_is_handled_within_the_time():
    handler, seen = recording(once(key=lambda e: e.session_id, within="1m"))

    async def scene(stage: Stage) -> None:
        stage.give(handler, Event(0))
        await stage.advance(59)
        stage.give(handler, Event(1))
        await stage.advance(1)
        stage.give(handler, Event(2))
        await stage.advance(0)
        assert seen == [(0.0, 0), (60.0, 2)]

    play(scene)


def test_another_is_handled_where_the_first_of_a_key_fails():
    runs = []

    @once(key=lambda e: e.session_id, within="1h")
    async def handler(event, client):
        runs.append(event.event_id)
        await sleep(1)
        if event.event_id == 0:
            raise ValueError("no")

    async def scene(stage: Stage) -> None:
        for number in range(3):
            stage.give(handler, Event(number))
        await stage.advance(5)
        assert runs == [0, 1]
        assert isinstance(stage.tasks[0].exception(), ValueError)

    play(scene)


def test_events_of_a_group_are_in_the_order_of_their_numbers():
    debounced, last = recording(debounce(seconds=5))
    batched, lists = recording(batch(size=9, within=5))

    async def scene(stage: Stage) -> None:
        for number in (2, 3, 1):  # a handler may begin before that of an earlier event
            event = Event(number)
            object.__setattr__(event, "seq", number)
            stage.give(debounced, event)
            stage.give(batched, event)
        await stage.advance(5)
        assert (last, lists) == ([(5.0, 3)], [(5.0, [1, 2, 3])])

    play(scene)
