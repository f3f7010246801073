"""Which event caused which invocation, and when everything below it has ended."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.core.errors import HandlerFailed
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.events.bus import EventBus
from dnworker.events.history import History


@pytest.fixture
def history():
    return History()


@pytest.fixture
def bus(history):
    bus = EventBus()
    bus.tap(history.note_event)
    return bus


def run(history, event, **fields):
    invocation = Invocation("w", "h", "event", event, **fields)
    history.begin(invocation)
    return invocation


def test_an_event_knows_the_invocations_that_it_caused(bus, history):
    event = bus.publish("a")
    invocation = run(history, event)
    assert history.invocations_of(event.event_id) == [invocation]
    assert history.invocations("w") == [invocation]
    assert history.invocations("other") == []


def test_an_event_is_quiet_when_what_its_handlers_published_is_too(bus, history):
    event = bus.publish("a")
    invocation = run(history, event)
    token = current_invocation.set(invocation)
    below = bus.publish("b")
    current_invocation.reset(token)
    later = run(history, below)
    history.end(invocation)
    assert not history.is_quiet(event.event_id)
    history.end(later)
    assert history.is_quiet(event.event_id)


async def test_who_waits_for_an_event_is_woken_when_its_last_invocation_ends(bus, history):
    event = bus.publish("a")
    history.expect(event)
    waiting = asyncio.ensure_future(history.wait_quiet(event.event_id))
    await asyncio.sleep(0)
    invocation = run(history, event)
    history.delivered(event)
    await asyncio.sleep(0)
    assert not waiting.done()
    history.end(invocation)
    await waiting


def test_failures_are_raised_once_and_expected_ones_never(bus, history):
    history.end(run(history, bus.publish("a")), ValueError("bad"))
    history.end(run(history, bus.publish("a")), ValueError("planned"), expected=True)
    with pytest.raises(HandlerFailed) as failed:
        history.raise_failures()
    assert len(failed.value.failures) == 1
    assert "bad" in failed.value.failures[0]
    history.raise_failures()


def test_listeners_hear_of_begin_and_end_until_they_are_removed(bus, history):
    outcomes = []
    remove = history.listen(lambda invocation: outcomes.append(invocation.outcome))
    invocation = run(history, bus.publish("a"))
    history.end(invocation, cancelled=True)
    remove()
    run(history, bus.publish("a"))
    assert outcomes == ["running", "cancelled"]


def test_a_task_and_a_sleeper_do_not_keep_a_runtime_from_being_idle(bus, history):
    sleeper = run(history, bus.publish("a"))
    task = Invocation("w", "t", "task")
    history.begin(task)
    assert not history.is_idle()
    assert history.is_idle({sleeper})


def test_what_is_noted_of_an_event_goes_with_it(bus, history, monkeypatch):
    monkeypatch.setattr("dnworker.events.history.EVENTS_KEPT", 1)
    held = bus.publish("a")
    history.note_held(held.event_id, "a restart of w delivers it", held.event_id)
    bus.publish("a")
    assert history.event(held.event_id) is None
    assert history.held(held.event_id) is None
