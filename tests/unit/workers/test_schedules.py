"""Schedules on a virtual clock: their rhythm, what they miss, and what a swap changes."""

from __future__ import annotations

import pytest

from dnworker import Worker
from dnworker.core.clock import turn_loop
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey


@pytest.mark.clause("2.3 interval")
async def test_a_schedule_waits_first_and_never_overlaps(stage):
    runs = []

    @stage.worker.every(seconds=10)
    async def tick(client):
        runs.append(stage.clock.monotonic())
        await stage.clock.sleep(15)

    await stage.runner.start()
    await stage.clock.advance(60)
    assert runs == [10, 35, 60]
    await stage.runner.stop()


@pytest.mark.clause("2.3 cron")
async def test_cron_runs_on_the_minute_in_utc(stage):
    runs = []

    @stage.worker.every(cron="*/15 * * * *")
    async def tick(client):
        runs.append(stage.clock.now().minute)

    await stage.runner.start()
    await stage.clock.advance(3600)
    assert runs == [15, 30, 45, 0]
    await stage.runner.stop()


@pytest.mark.clause("2.3 interval")
async def test_a_schedule_goes_on_after_a_failure(stage):
    @stage.worker.every(seconds=1)
    async def tick(client):
        raise RuntimeError

    await stage.runner.start()
    await stage.clock.advance(3)
    assert stage.runner.stats["every", "1s", "tick"].errors == 3
    await stage.runner.stop()


async def test_a_swap_keeps_the_rhythm_of_a_schedule_and_changes_its_code(stage):
    said = []

    @stage.worker.every(seconds=10)
    async def tick(client):
        said.append(("old", stage.clock.monotonic()))

    await stage.runner.start()
    await stage.clock.advance(6)
    after = Worker("w")

    @after.every(seconds=10)
    async def tick(client):  # noqa: F811  the point: the same name, other code
        said.append(("new", stage.clock.monotonic()))

    await stage.runner.swap(after)
    await stage.clock.advance(14)
    assert said == [("new", 10), ("new", 20)]
    await stage.runner.stop()


async def test_a_schedule_runs_now_when_told_and_keeps_its_rhythm(stage):
    runs = []

    @stage.worker.every(seconds=60)
    async def tick(client):
        runs.append(stage.clock.monotonic())

    with pytest.raises(Conflict, match="it is loading"):
        stage.runner.run_schedule(HandlerKey("every", "60s", "tick"))
    await stage.runner.start()
    await turn_loop()
    ((key, due),) = stage.runner.next_runs.items()
    stage.runner.run_schedule(key)
    await turn_loop()
    assert len(runs) == 1
    assert stage.runner.next_runs == {key: due}
    with pytest.raises(Conflict, match="no schedule 'tock'"):
        stage.runner.run_schedule(HandlerKey("every", "60s", "tock"))
