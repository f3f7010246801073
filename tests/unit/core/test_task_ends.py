"""Tasks are cancelled until they have ended."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from dnworker.core import task_ends
from dnworker.core.task_ends import end_tasks


async def swallowing(times: int) -> None:
    """Wait for ever, and swallow so many cancellations."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if (times := times - 1) < 0:
                raise


async def begun(*works):
    tasks = [asyncio.create_task(work, name=f"task {n}") for n, work in enumerate(works)]
    await asyncio.sleep(0)
    return tasks


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(task_ends, "CANCEL_AGAIN", 0.001)
    tasks = await begun(swallowing(0), swallowing(1), swallowing(5))
    await end_tasks(*tasks, None)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_does_not_end_is_left_behind_and_said(monkeypatch, caplog):
    monkeypatch.setattr(task_ends, "CANCEL_AGAIN", 0.001)
    go_on = asyncio.Event()

    async def stubborn():
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    (task,) = await begun(stubborn())
    await end_tasks(task, within=0.02)
    assert "task 0 was cancelled, has not ended within 0.02 s, and is left behind" in caplog.text
    go_on.set()
    await task


async def test_what_tasks_have_failed_with_is_said(caplog):
    caplog.set_level(logging.INFO)

    async def fails(exc):
        raise exc

    tasks = await begun(fails(ValueError("wrong")), fails(ConnectionError("away")))
    await asyncio.sleep(0)
    await end_tasks(*tasks)
    said = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert said == {("ERROR", "task 0 has failed"), ("INFO", "task 1 ended with: away")}


async def test_a_task_that_ends_the_others_does_not_end_itself():
    (other,) = await begun(swallowing(0))
    await end_tasks(other, asyncio.current_task())
    assert other.cancelled()
