"""What a worker process reports is bounded, and what makes no sense harms nobody else."""

from __future__ import annotations

import math
import time

import pytest

from dnworker.core.clock import RealClock
from dnworker.core.handlers import HandlerKey
from dnworker.core.series import bucket_of
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.workers import remote as remote_module
from dnworker.workers.remote import HANDLERS_KEPT, RemoteInvocations
from dnworker.workers.reports import Begin, Delivered, End, Hello, Notice, Ran

KEY = HandlerKey("on_event", "k", "h")


@pytest.fixture
def history():
    made = History()
    made.bus = EventBus(RealClock())
    made.bus.tap(made.note_event)
    return made


@pytest.fixture
def remote(history):
    made = RemoteInvocations(history, "c:w")
    made.take(Hello([KEY], observed=True))
    return made


def test_a_run_that_is_reported_whole_is_a_run_of_its_event_and_counts(remote, history):
    event = history.bus.publish("k", {})
    stream = remote.stream()
    stream.expect(event)
    remote.take(Ran("01", KEY, "event", 0.0, event.event_id, delivered=True))
    (run,) = history.invocations_of(event.event_id)
    assert (run.handler, run.outcome, run.key) == ("h", "ok", KEY)
    assert (remote.stats[KEY].calls, remote.stats[KEY].in_flight) == (1, 0)
    assert not stream.outstanding()
    assert history.is_quiet(event.event_id)


@pytest.mark.parametrize("duration", [-5.0, 1e300, math.inf, 10**9])
def test_a_duration_that_cannot_be_is_cut_to_how_long_the_process_runs(remote, duration):
    remote.take(Begin("01", KEY, "event"))
    remote.take(End("01", "ok", duration))
    assert 0 <= remote.stats[KEY].quantiles().longest < 60


def test_a_run_that_begins_twice_begins_once_and_one_that_never_began_does_not_end(remote, history):
    for _ in range(3):
        remote.take(Begin("01", KEY, "event"))
    remote.take(End("02", "ok", 0.1))
    remote.take(End("01", "ok", 0.1))
    remote.take(End("01", "error", 0.1))
    assert (remote.stats[KEY].calls, remote.stats[KEY].in_flight, remote.stats[KEY].errors) == (1, 0, 0)


def test_ids_names_and_handlers_without_end_are_bounded(remote):
    remote.take(Begin("x" * 100_000, KEY, "event"))
    remote.take(Begin("", KEY, "event"))
    assert remote.stats[KEY].calls == 0
    long = HandlerKey("on_event", "k" * 100_000, "h" * 100_000)
    remote.take(Begin("01", long, "event"))
    assert max(len(text) for key in remote.stats for text in key) <= 200
    remote.take(Hello([HandlerKey("on_event", "k", f"h{n}") for n in range(50_000)]))
    for n in range(5_000):
        remote.take(Ran(f"a{n}", HandlerKey("on_event", "k", f"other{n}"), "event", 0.0))
    assert len(remote.stats) <= HANDLERS_KEPT


def test_runs_that_never_end_are_bounded_and_the_oldest_count_as_over(remote, history, monkeypatch):
    monkeypatch.setattr(remote_module, "RUNNING_KEPT", 3_000)
    for n in range(10_000):
        remote.take(Begin(f"{n:016x}", KEY, "task"))
    assert len(remote._invocations) <= 3_000
    remote.close()
    assert remote.stats[KEY].in_flight == 0


def test_an_event_that_nobody_knows_makes_no_run_of_any_event(remote, history):
    remote.take(Ran("01", KEY, "event", 0.0, "f" * 32, delivered=True))
    remote.take(Delivered("e" * 32))
    assert history.invocations_of("f" * 32) == []
    assert remote.stats[KEY].calls == 1


def test_a_process_that_gives_up_reporting_leaves_nothing_that_fire_would_wait_for(remote, history):
    event = history.bus.publish("k", {})
    stream = remote.stream()
    stream.expect(event)
    remote.take(Begin("01", KEY, "event", event.event_id))
    remote.take(Notice("broken", is_over=True))
    assert (remote.reports, remote.why_silent) == (False, "broken")
    assert history.is_quiet(event.event_id)
    assert remote.stats[KEY].in_flight == 0
    assert remote.stream() is None


def test_runs_whose_end_may_be_among_lost_reports_count_as_over(remote, history):
    event = history.bus.publish("k", {})
    remote.take(Begin("01", KEY, "event", event.event_id))
    remote.take(Notice("reports were lost", lost=7))
    assert remote.reports
    assert history.is_quiet(event.event_id)


@pytest.mark.parametrize("outcome", ["ok", "error"])
def test_a_run_that_claims_to_have_lasted_long_ends_now_and_no_chart_is_blank(remote, history, outcome):
    remote._made_at -= 3_600
    history.series.note_lag(time.monotonic() - 60, time.monotonic())
    remote.take(Ran("01", KEY, "event", 3_000.0, None))
    remote.take(Begin("02", KEY, "event"))
    remote.take(End("02", outcome, 3_000.0))
    later = time.monotonic()
    assert history.series.whole.counts(later)[-1].calls == 2
    assert history.series.whole.newest <= bucket_of(later)
    runs = [remote.named(name) for name in ("01", "02")]
    assert all(one.duration == 3_000 and one.started_at + one.duration <= later for one in runs)
