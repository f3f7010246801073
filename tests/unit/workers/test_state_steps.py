"""What a run is said to have changed: what it did in its own steps, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dnworker.core.invocation import Invocation
from dnworker.workers import state_steps
from dnworker.workers.state_steps import WatchedRun


class Stage:
    """A state, and runs of handlers on it."""

    def __init__(self, **state: Any) -> None:
        self.state: Any = state
        self.may_look = True
        self.large = 0
        self.looks = 0

    def run(self, handler: Any, *args: Any) -> tuple[Invocation, Any]:
        invocation = Invocation("demo:w", "h", "event")
        watched = WatchedRun(
            invocation,
            lambda: self.state,
            may_look=lambda: self.may_look,
            spent=self._spent,
            too_large=self._too_large,
            meanwhile=lambda since: "#13",
        )
        return invocation, watched.wrapped(handler)(*args)

    def _spent(self, seconds: float) -> None:
        self.looks += 1

    def _too_large(self) -> None:
        self.large += 1


async def test_a_run_has_changed_what_differs_at_its_end():
    stage = Stage(count=1, users=[])

    async def handler(name: str) -> str:
        stage.state["count"] += 1
        stage.state["users"].append(name)
        return "result"

    invocation, run = stage.run(handler, "ada")
    assert await run == "result"
    assert invocation.state_changes == ("count 1 -> 2", 'users + "ada"')


async def test_what_is_changed_and_changed_back_is_no_change():
    stage = Stage(n=1)

    async def handler() -> None:
        stage.state["n"] = 2
        await asyncio.sleep(0)
        stage.state["n"] = 1

    invocation, run = stage.run(handler)
    await run
    assert invocation.state_changes == ()


async def test_two_runs_that_interleave_have_each_changed_its_own():
    stage = Stage(a=0, b=0, both=0)

    async def handler(key: str) -> None:
        for _ in range(3):
            stage.state[key] += 1
            stage.state["both"] += 1
            await asyncio.sleep(0)

    first, one = stage.run(handler, "a")
    second, other = stage.run(handler, "b")
    await asyncio.gather(one, other)
    assert first.state_changes[0] == "a 0 -> 3"
    assert second.state_changes[0] == "b 0 -> 3"
    assert first.state_changes[1] == "both 0 -> 1; then both 2 -> 3; then both 4 -> 5"


async def test_what_a_task_of_the_handler_changes_belongs_to_nobody():
    stage = Stage(mine=0, later=0)
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        stage.state["later"] += 1
        await asyncio.sleep(0)
        stage.state["later"] += 1

    async def handler() -> None:
        tasks.append(asyncio.create_task(later()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stage.state["mine"] = 1

    invocation, run = stage.run(handler)
    await run
    await asyncio.gather(*tasks)
    assert stage.state["later"] == 2
    assert invocation.state_changes == ("mine 0 -> 1",)


async def test_what_the_handler_raises_passes_and_so_does_a_cancellation():
    stage = Stage(n=0)

    async def fails() -> None:
        stage.state["n"] = 1
        raise ValueError("no")

    invocation, run = stage.run(fails)
    with pytest.raises(ValueError, match="no"):
        await run
    assert invocation.state_changes == ("n 0 -> 1",)

    began = asyncio.Event()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            stage.state["n"] = 2
            raise

    invocation, run = stage.run(waits)
    task = asyncio.ensure_future(run)
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert invocation.state_changes == ("n 1 -> 2",)


async def test_a_handler_that_is_closed_is_closed():
    stage = Stage(n=0)
    closed: list[bool] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            closed.append(True)

    _, run = stage.run(waits)
    run.send(None)
    run.close()
    assert closed == [True]


async def test_the_frames_of_a_handler_that_waits_are_found():
    from dnworker.engine.watchdog import frames_of_task

    stage = Stage(n=0)

    async def waits_here() -> None:
        await asyncio.sleep(1e6)

    _, run = stage.run(waits_here)
    task = asyncio.ensure_future(run)
    await asyncio.sleep(0)
    assert "waits_here" in [frame.f_code.co_name for frame in frames_of_task(task)]
    task.cancel()


async def test_after_many_steps_the_rest_is_compared_as_one_and_says_what_else_ran(monkeypatch):
    monkeypatch.setattr(state_steps, "STEPS", 3)
    stage = Stage(n=0)

    async def handler() -> None:
        for _ in range(100):
            stage.state["n"] += 1
            await asyncio.sleep(0)

    invocation, run = stage.run(handler)
    await run
    assert invocation.state_changes == ("n 0 -> 100 (meanwhile #13 ran too)",)
    assert stage.looks < 10


async def test_a_run_that_may_not_be_looked_at_to_its_end_says_so():
    stage = Stage(n=0)

    async def handler() -> None:
        stage.state["n"] = 1
        await asyncio.sleep(0)
        stage.may_look = False
        await asyncio.sleep(0)
        stage.state["n"] = 2

    invocation, run = stage.run(handler)
    await run
    assert invocation.state_changes == ("n 0 -> 1 (not looked at to its end: looking takes too long)",)


async def test_a_large_state_is_told_once_and_not_looked_at_again():
    stage = Stage(text="x" * 2_000_000)

    async def handler() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    invocation, run = stage.run(handler)
    await run
    assert (stage.large, stage.looks, invocation.state_changes) == (1, 1, ())


async def test_many_keys_are_counted():
    stage = Stage()

    async def handler() -> None:
        stage.state.update((f"k{n}", n) for n in range(100))

    invocation, run = stage.run(handler)
    await run
    assert len(invocation.state_changes) == 31
    assert invocation.state_changes[-1] == "and 70 keys more"


async def test_a_state_that_the_handler_replaces_is_compared():
    stage = Stage(n=0)

    async def handler() -> None:
        stage.state = {"m": 1}

    invocation, run = stage.run(handler)
    await run
    assert invocation.state_changes == ("n removed", "m = 1")


async def test_a_handler_that_is_no_coroutine_function_is_awaited_as_it_is():
    stage = Stage(n=0)
    future = asyncio.get_running_loop().create_future()
    future.set_result(5)
    _, run = stage.run(lambda: future)
    assert await run == 5
    _, run = stage.run(lambda: 3)
    with pytest.raises(TypeError, match="await"):
        await run
