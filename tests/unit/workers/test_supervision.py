"""Tasks on a virtual clock: when they start again, and when that ends."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker, WorkerState
from dnworker.core.clock import turn_loop


@pytest.mark.clause("2.4 backoff")
async def test_a_task_that_ends_starts_again_with_the_seeds_backoff(stage):
    starts = []

    @stage.worker.task
    async def task(client):
        starts.append(stage.clock.monotonic())

    await stage.runner.start()
    await stage.clock.advance(300)
    assert starts == [0, 1, 3, 7, 15, 31, 63, 127, 255]
    await stage.runner.stop()


@pytest.mark.clause("2.4 backoff")
async def test_a_stable_run_clears_a_tasks_backoff(stage):
    starts = []

    @stage.worker.task
    async def task(client):
        starts.append(stage.clock.monotonic())
        await stage.clock.sleep(0 if len(starts) < 4 else 60)

    await stage.runner.start()
    await stage.clock.advance(68.5)
    assert starts == [0, 1, 3, 7, 68]
    await stage.runner.stop()


@pytest.mark.clause("2.4 exhausted")
@pytest.mark.clause("11.4")
async def test_a_worker_whose_every_task_is_exhausted_is_in_error(stage):
    @stage.worker.task
    async def one(client):
        raise RuntimeError("one")

    @stage.worker.task
    async def two(client):
        raise RuntimeError("two")

    await stage.runner.start()
    await stage.clock.advance(1 + 2 + 4 + 8 + 16 + 32 + 64 + 128 + 256 + 299)
    assert stage.runner.state is WorkerState.RUNNING
    await stage.clock.advance(2)
    assert (stage.runner.state, stage.runner.error) == (WorkerState.ERROR, "All tasks crashed")


@pytest.mark.clause("2.4 exhausted")
async def test_one_healthy_task_keeps_the_worker_running(stage):
    @stage.worker.task
    async def fails(client):
        raise RuntimeError

    @stage.worker.task
    async def healthy(client):
        await asyncio.Event().wait()

    await stage.runner.start()
    await stage.clock.advance(5000)
    assert stage.runner.state is WorkerState.RUNNING
    await stage.runner.stop()


@pytest.mark.clause("13.18")
async def test_a_task_that_swallows_its_cancellation_is_not_restarted_in_stop(stage):
    starts = 0

    @stage.worker.task
    async def task(client):
        nonlocal starts
        starts += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    await stage.runner.start()
    await turn_loop()
    await stage.runner.stop()
    assert (starts, stage.runner.state) == (1, WorkerState.STOPPED)


async def test_a_swap_leaves_an_unchanged_task_alone_and_restarts_a_changed_one(stage):
    starts = []

    async def same(client):
        starts.append("same")
        await asyncio.Event().wait()

    async def changed(client):
        starts.append("old")
        await asyncio.Event().wait()

    stage.worker.task(same)
    stage.worker.task(changed)
    await stage.runner.start()
    await turn_loop()
    after = Worker("w")
    after.task(same)

    async def changed(client):
        starts.append("new")
        await asyncio.Event().wait()

    after.task(changed)
    await stage.runner.swap(after)
    await turn_loop()
    assert starts == ["same", "old", "new"]
    await stage.runner.stop()


async def test_a_crashed_task_tells_when_it_starts_again(stage):
    @stage.worker.task
    async def crashes(client):
        raise ValueError("no")

    @stage.worker.task
    async def lasts(client):
        await asyncio.Event().wait()

    await stage.runner.start()
    await turn_loop()
    ((key, due),) = stage.runner.next_runs.items()
    assert key == ("task", "", "crashes")
    assert (due - stage.clock.now()).total_seconds() == pytest.approx(1.0)
