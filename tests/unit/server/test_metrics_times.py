"""What `/metrics` tells of times, of schedules and of what has not happened yet."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from prometheus_client import generate_latest

from dnworker import Runtime, Worker
from dnworker.core.run_totals import HANDLERS_COUNTED
from dnworker.engine import measuring, totals
from dnworker.server.metric_families import registry

from .test_metrics import measured, samples, ticking, value

SUCCESS = "dnworker_handler_last_success_timestamp_seconds"
OLDEST = "dnworker_worker_oldest_run_seconds"
INTERVAL = "dnworker_schedule_interval_seconds"
HANDLER = {"worker": "notebook:w", "handler": "on_tick"}


async def test_the_last_success_is_there_after_the_first_and_a_failure_does_not_move_it(served):
    before = time.time()
    await served.add(ticking())
    assert not [name for name, _ in await measured(served) if name == SUCCESS]
    await served.fire("demo.tick", {})
    at = value(await measured(served), SUCCESS, **HANDLER)
    assert before - 1 < at < time.time() + 1
    await served.fire("demo.tick", {"fail": True})
    assert value(await measured(served), SUCCESS, **HANDLER) == pytest.approx(at, abs=0.1)


async def test_a_run_that_goes_on_has_an_age_and_a_task_has_none(served):
    worker, gate, is_in = Worker(name="w"), asyncio.Event(), asyncio.Event()

    @worker.on_event("demo.wait")
    async def wait(event, client):
        is_in.set()
        await gate.wait()

    @worker.task
    async def forever(client):
        await asyncio.Event().wait()

    await served.add(worker)
    assert value(await measured(served), OLDEST, worker="notebook:w") == 0
    served.publish("demo.wait")
    await is_in.wait()
    assert value(await measured(served), OLDEST, worker="notebook:w") > 0
    gate.set()
    await served.settle()
    assert value(await measured(served), OLDEST, worker="notebook:w") == 0


async def test_a_schedule_has_its_interval_and_a_cron_text_the_time_between_two_runs(served):
    worker = Worker(name="w")

    @worker.every(minutes=2)
    async def often(client): ...

    @worker.every(cron="0 9 * * *")
    async def daily(client): ...

    await served.add(worker)
    found = await measured(served)
    assert value(found, INTERVAL, worker="notebook:w", handler="often") == 120
    assert value(found, INTERVAL, worker="notebook:w", handler="daily") == 86_400


async def test_a_worker_has_the_time_since_when_it_is_in_its_state(served):
    worker, since = ticking(), "dnworker_worker_state_since_timestamp_seconds"
    await served.add(worker)
    running = value(await measured(served), since, worker="notebook:w")
    assert abs(time.time() - running) < 60
    await served.worker("w").stop()
    assert value(await measured(served), since, worker="notebook:w") > running


async def test_what_has_not_happened_is_zero_so_that_the_first_time_is_a_rise(served):
    await served.add(ticking())
    found = await measured(served)
    for name in ("restarts_total", "failures_total", "retries_total"):
        assert value(found, f"dnworker_worker_{name}", worker="notebook:w") == 0
    assert value(found, "dnworker_dead_letters", worker="notebook:w") == 0
    assert value(found, "dnworker_worker_starts_total", worker="notebook:w") == 1


def test_workers_beyond_the_bound_are_known_together(monkeypatch):
    monkeypatch.setattr(totals, "WORKERS_COUNTED", 2)
    counts = totals.ByWorker()
    assert [counts.know(name) for name in "abcd"] == ["a", "b", "other", "other"]
    counts.add("d")
    assert counts.read() == {"a": 0, "b": 0, "other": 1}


async def test_reloads_are_counted_and_readiness_is_that_of_the_api(served, http):
    found = await measured(served)
    assert (value(found, "dnworker_reloads_total"), value(found, "dnworker_reload_failed")) == (0, 0)
    started = value(found, "dnworker_start_time_seconds")
    assert abs(started - time.time()) < 60
    for _ in range(20):  # a start time that moves looks like a restart
        assert value(await measured(served), "dnworker_start_time_seconds") == started
    await served.reload()
    assert value(await measured(served), "dnworker_reloads_total") == 1
    for stage, ready in (("connecting", 0), ("ready", 1)):
        served.progress.reach(stage)
        assert value(await measured(served), "dnworker_ready") == ready
        assert ((await http.get("/api/ready")).status_code == 200) is bool(ready)


async def test_times_are_bounded_as_runs_are():
    async with Runtime() as runtime:
        counts = runtime.history.series.totals
        for number in range(HANDLERS_COUNTED + 5):
            counts.know("w", f"h{number}")
        worker = Worker(name="w")

        @worker.every(seconds=60)
        async def beyond(client): ...

        await runtime.add(worker)
        assert not [name for name, _ in await measured(runtime) if name == INTERVAL]


async def test_a_journal_tells_of_itself_and_of_its_disk(tmp_path):
    async with Runtime(journal=tmp_path / "journal.db") as runtime:
        found = await measured(runtime)
    assert value(found, "dnworker_journal_up") == 1
    free = value(found, "dnworker_journal_disk_free_bytes")
    assert 0 < free < value(found, "dnworker_journal_disk_size_bytes")


async def test_a_journal_whose_directory_has_gone_leaves_the_disk_out_and_nothing_else(tmp_path):
    async with Runtime(journal=tmp_path / "journal.db") as runtime:
        gone = measuring.JournalMeasure(tmp_path / "gone" / "journal.db", is_up=False)
        told = msgspec.structs.replace(await measuring.measure(runtime), journal=gone)
    found = samples(generate_latest(registry(told)).decode())
    assert value(found, "dnworker_journal_up") == 0
    assert not [name for name, _ in found if "journal_disk" in name]
    assert value(found, "dnworker_ready") == 1


async def test_without_a_journal_nothing_is_told_of_one(served):
    assert not [name for name, _ in await measured(served) if "journal" in name]
