"""Events that were published before a worker process had its first stream."""

from __future__ import annotations

import pytest

from dnworker.events.backlog import KINDS_KEPT, Backlog
from dnworker.events.bus import EventBus


@pytest.fixture
def bus():
    return EventBus()


def queued(subscription):
    return [event.payload["n"] for event in iter(subscription.take, None)]


def publish(bus, *kinds):
    for n, kind in enumerate(kinds):
        bus.publish(kind, {"n": n})


def test_a_claim_begins_with_the_kept_events_of_its_kinds_in_their_order(bus):
    backlog = Backlog(bus)
    publish(bus, "a", "b", "c", "a")
    subscription, lost = backlog.claim(["a", "b"], 256)
    bus.publish("a", {"n": 9})
    assert (queued(subscription), lost) == ([0, 1, 3, 9], 0)


def test_a_flood_of_one_kind_pushes_out_no_other_and_is_counted(bus):
    backlog = Backlog(bus, kept=2)
    publish(bus, "a", "b", "b", "b", "b")
    subscription, lost = backlog.claim(None, 256)
    assert (queued(subscription), lost) == ([0, 3, 4], 2)


def test_kinds_beyond_the_bound_are_lost_and_counted_for_who_wants_them(bus):
    backlog = Backlog(bus)
    publish(bus, *(f"k{n}" for n in range(KINDS_KEPT)), "late", "late")
    subscription, lost = backlog.claim(["late", "k0"], 256)
    assert (queued(subscription), lost) == ([0], 2)


def test_events_for_another_worker_alone_are_not_kept(bus):
    backlog = Backlog(bus, owner="demo:one")
    bus.publish("a", {"n": 0}, only="demo:two")
    bus.publish("a", {"n": 1}, only="demo:one")
    assert queued(backlog.claim(None, 256)[0]) == [1]


def test_a_closed_backlog_keeps_nothing_more(bus):
    backlog = Backlog(bus)
    backlog.close()
    backlog.close()
    publish(bus, "a")
    assert queued(backlog.claim(None, 256)[0]) == []


def test_what_was_held_is_handed_over_by_kind_and_what_was_cut_is_counted():
    bus = EventBus()
    backlog = Backlog(bus, kept=3)
    for kind in "abbbbbbbba":
        bus.publish(kind)
    subscription, lost = backlog.claim(["a"], limit=10)
    bus.publish("a")
    assert ([e.seq for e in iter(subscription.take, None)], lost) == ([1, 10, 11], 0)
    backlog = Backlog(bus, kept=3)
    for _ in range(5):
        bus.publish("a")
    assert backlog.claim(None, limit=10)[1] == 2
