"""The row of a worker: small, and sent again only where it says something else."""

from __future__ import annotations

import asyncio

import msgspec

from dnworker import Worker
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.series import BUCKETS, STEP, Count
from dnworker.core.stats import HandlerStats
from dnworker.panel import failure_rows
from dnworker.panel.serialize import Now
from dnworker.panel.worker_rows import p95_of, spark_to_json

NOW = Now(1_000_000.0, 900.0)  # a bucket begins at 900 s of the monotonic clock


def series(**calls):
    """Return 60 buckets; `last=Count` is the one under way, `b3` the third before it."""
    found = [Count(0, 0)] * BUCKETS
    for name, one in calls.items():
        found[-1 - (0 if name == "last" else int(name[1:]))] = one
    return found


def of(*milliseconds):
    stats = HandlerStats()
    for one in milliseconds:
        stats.began()
        stats.ended(Invocation("w", "h", "event", outcome="ok", duration=one / 1000))
    return stats


def test_a_sparkline_has_its_calls_from_the_first_to_the_last_and_when_that_ended():
    found = spark_to_json(series(b4=Count(2, 0), b1=Count(3, 1)), NOW)
    assert found == {"end": 1_000_000 + STEP - STEP, "calls": [2, 0, 0, 3], "failed": [0, 0, 0, 1]}


def test_the_sparkline_of_a_worker_that_rests_stays_the_same_as_time_goes_on():
    before = spark_to_json(series(b1=Count(3, 0)), NOW)
    after = spark_to_json(series(b2=Count(3, 0)), Now(NOW.since_epoch + STEP, NOW.monotonic + STEP))
    assert before == after
    assert "failed" not in before


def test_a_worker_without_calls_has_no_sparkline():
    assert spark_to_json(series(), NOW) is None


def test_the_p95_is_that_of_all_runs_together_without_tasks_and_startups():
    stats = {
        HandlerKey("on_event", "a", "a"): of(*[10] * 95),
        HandlerKey("every", "5m", "b"): of(*[500] * 5),
        HandlerKey("task", "", "c"): of(3_600_000),
        HandlerKey("on_startup", "", "d"): of(9_000),
    }
    assert p95_of(stats) == 10
    assert p95_of({HandlerKey("task", "", "c"): of(1)}) is None


async def test_a_row_leaves_out_what_is_nothing_and_is_small(runtime):
    name = "w" * 60
    await runtime.add(Worker(name))
    row = runtime.feed.model.worker_to_json(runtime.worker(name))
    assert not row.keys() & {"calls", "errors", "inFlight", "backlog", "p95", "spark", "nextRun", "handlers"}
    assert len(msgspec.json.encode(row)) < 500


async def test_a_row_counts_calls_errors_and_what_waits(runtime, bridge, go):
    model = runtime.feed.model
    await runtime.fire("demo.ping", {"n": 1})
    await runtime.fire("demo.ping", {"bad": True})
    row = model.worker_to_json(bridge)
    assert (row["calls"], row["errors"], row["failing"]) == (2, 1, 1)
    assert (sum(row["spark"]["calls"]), sum(row["spark"]["failed"])) == (2, 1)
    assert row["nextRun"] > 0
    assert row["p95"] > 0
    await runtime.fire("demo.slow", {}, wait=False)
    runtime.publish("demo.slow", {})
    assert model.worker_to_json(runtime.worker("slow"))["backlog"] == 2
    while model.worker_to_json(runtime.worker("slow")).get("inFlight") != 2:
        await asyncio.sleep(0)
    go.set()
    while "inFlight" in model.worker_to_json(runtime.worker("slow")):
        await asyncio.sleep(0)


async def test_a_worker_that_only_waits_for_its_schedule_is_not_sent_again(runtime, bridge):
    model = runtime.feed.model
    rows = [model.worker_to_json(bridge) for _ in range(50)]
    assert all(abs(row["nextRun"] - rows[0]["nextRun"]) in (0, 1000) for row in rows)
    assert len({row["nextRun"] for row in rows}) <= 2


async def test_a_worker_fails_until_it_succeeded_and_a_minute_passed(runtime, bridge, monkeypatch):
    model = runtime.feed.model
    await runtime.fire("demo.ping", {"bad": True})
    await runtime.fire("demo.ping", {"n": 1})
    assert model.worker_to_json(bridge)["failing"] == 1
    monkeypatch.setattr(failure_rows, "MINUTE", 0.0)
    model.note_workers()
    assert "failing" not in model.worker_to_json(bridge)
    await runtime.fire("demo.ping", {"bad": True})
    assert model.worker_to_json(bridge)["failing"] == 1
    runtime.failing.forget("notebook:bridge")
    assert "failing" not in model.worker_to_json(bridge)
