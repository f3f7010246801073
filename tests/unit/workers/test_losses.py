"""What is said of events that a worker process has not got."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.trace import Trace
from dnworker.workers.losses import Losses


@pytest.fixture
def bus():
    return EventBus()


@pytest.fixture
def history(bus):
    history = History()
    bus.tap(history.note_event)
    return history


async def test_losses_are_said_once_for_all_of_a_moment_and_counted_on(history):
    said: asyncio.Queue = asyncio.Queue()
    losses = Losses(history, "demo:w", lambda text, *, is_first: said.put_nowait((text, is_first)))
    for _ in range(1_000):
        losses.note(None, "it was full")
    assert losses.text is None
    assert await said.get() == ("1,000 events lost: it was full", True)
    losses.note(None, "it has ended")
    losses.flush()
    assert await said.get() == ("1 event lost: it has ended", False)
    assert (losses.count, losses.text) == (1_001, "1,001 events lost: it has ended")
    assert losses.to_json() == {"count": 1_001, "reason": "it has ended"}


async def test_the_trace_of_a_lost_event_is_not_ok_and_says_why(bus, history):
    losses = Losses(history, "demo:w", lambda text, *, is_first: None)
    good, bad = bus.publish("a"), bus.publish("a")
    losses.note(bad.event_id, "it was full")
    losses.note(bad.event_id, "it was full")
    losses.flush()
    assert (Trace(good, history).ok, Trace(bad, history).ok) == (True, False)
    trace = Trace(bad, history)
    assert (trace.losses, trace.outcome) == (("lost for demo:w: it was full",), "not ok")
    assert "lost for demo:w: it was full" in str(trace)
