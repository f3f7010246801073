"""Events that were published before a worker process had its streams."""

from __future__ import annotations

import pytest

from dnworker.events.backlog import KINDS_APART, Backlog
from dnworker.events.bus import EventBus

from .timers import Timers


@pytest.fixture
def bus():
    return EventBus()


@pytest.fixture
def timers():
    return Timers()


@pytest.fixture
def make(bus, timers):
    return lambda max_bytes=1_000_000, **options: Backlog(bus, max_bytes, 60, timers=timers, **options)


def publish(bus, *kinds, size=0):
    for n, kind in enumerate(kinds):
        bus.publish(kind, {"n": n, "x": "x" * size})


def numbers(held):
    return [one.envelope.payload["n"] for one in held]


@pytest.mark.clause("13.14")
def test_what_is_taken_begins_with_the_kept_events_of_its_kinds_in_their_order(bus, make):
    backlog = make()
    publish(bus, "a", "b", "c", "a")
    held, cut = backlog.take(["a", "b"])
    assert (numbers(held), cut.events) == ([0, 1, 3], 0)


def test_a_flood_of_one_kind_pushes_out_no_other_and_is_counted(bus, make):
    backlog = make(5_000)
    publish(bus, "a", *["b"] * 20, size=500)
    held, cut = backlog.take(None)
    assert numbers(held)[0] == 0
    assert cut.events == 21 - len(held) == len(cut.event_ids)
    assert backlog.size == 0


def test_it_is_bounded_by_bytes_whatever_the_kinds_are(bus, make):
    backlog = make(100_000)
    for n in range(2 * KINDS_APART):
        bus.publish(f"k{n}", {"x": "y" * 300})
        assert backlog.size <= 100_000
    held, cut = backlog.take(None)
    assert len(held) + cut.events == 2 * KINDS_APART


def test_what_is_older_than_its_time_is_cut_and_counted(bus, make, timers):
    backlog = make()
    publish(bus, "a", "a")
    timers.advance(59)
    publish(bus, "a")
    timers.advance(16)
    held, cut = backlog.take(["a"])
    assert (len(held), cut.events) == (1, 2)


def test_what_nobody_takes_is_given_back_by_time_alone(bus, make, timers):
    backlog = make()
    publish(bus, "a", size=1_000)
    timers.advance(100)
    assert (backlog.size, timers.pending) == (0, 0)


def test_kinds_that_nobody_has_taken_are_kept_for_further_streams(bus, make, timers):
    backlog = make()
    publish(bus, "a", "b")
    assert numbers(backlog.take(["a"])[0]) == [0]
    publish(bus, "a", "b")
    assert numbers(backlog.take(["a", "b"])[0]) == [1, 1]  # the other stream has the second `a`
    publish(bus, "c")
    timers.advance(120)
    publish(bus, "c")
    assert (numbers(backlog.take(["c"])[0]), timers.pending) == ([], 0)


def test_events_for_another_worker_alone_are_not_kept(bus, make):
    backlog = make(owner="demo:one")
    bus.publish("a", {"n": 0}, only="demo:two")
    bus.publish("a", {"n": 1}, only="demo:one")
    assert numbers(backlog.take(None)[0]) == [1]


def test_a_closed_backlog_keeps_nothing_more(bus, make, timers):
    backlog = make()
    publish(bus, "a")
    backlog.close()
    backlog.close()
    publish(bus, "a")
    assert (numbers(backlog.take(None)[0]), timers.pending) == ([], 0)


def test_a_stream_of_other_kinds_does_not_open_a_backlog_that_one_of_all_kinds_has_taken(bus, make, timers):
    backlog = make(heard=lambda: {"a"})
    backlog.take(None)
    backlog.take(["c"])
    timers.advance(120)
    publish(bus, "a")
    assert (len(backlog), timers.pending) == (0, 0)
