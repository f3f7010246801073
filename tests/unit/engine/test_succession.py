"""Operations on a worker that is replaced, removed or stopped at the same time: never two of it, never a lost word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from dnworker import Runtime, Worker, WorkerState
from dnworker.capability.manifest import load_manifest
from dnworker.core.clock import turn_loop
from dnworker.core.errors import Conflict
from dnworker.workers.managed import ManagedWorker

from ..capabilities import ECHO, make_capability, make_named

SLOW = ECHO.replace(
    "if __name__",
    "@worker.on_shutdown\nasync def end(client):\n    import asyncio\n    await asyncio.sleep(0.05)\n\nif __name__",
)
"""A worker whose stop takes a moment, in which others come."""


async def answers(runtime: Runtime) -> int:
    """Return how often one ping is handled."""
    trace = await runtime.fire("demo.ping")
    return sum(event.kind == "demo.pong" for event in trace.events())


@pytest.fixture
async def echo(runtime: Runtime, tmp_path: Path) -> ManagedWorker:
    """The worker of a loaded capability."""
    await runtime.load(make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": SLOW}))
    return runtime.worker("echo")


@pytest.mark.parametrize("scope", ["demo", None])
@pytest.mark.parametrize("force", [False, True])
async def test_a_restart_during_a_reload_leaves_one_worker(runtime, echo, scope, force):
    reload = asyncio.create_task(runtime.reload(scope))
    await turn_loop()
    assert echo.state is WorkerState.STOPPING
    assert await echo.restart(force=force)
    await reload
    assert runtime.worker("echo") is not echo
    assert echo.state is WorkerState.STOPPED
    assert await answers(runtime) == 1


async def test_a_restart_that_a_reload_comes_upon_leaves_one_worker(runtime, echo):
    restart = asyncio.create_task(echo.restart(force=True))
    await turn_loop()
    await asyncio.gather(runtime.reload(), restart)
    assert echo.state is WorkerState.STOPPED
    assert await answers(runtime) == 1


async def test_a_restart_by_the_api_during_a_reload_shows_the_worker_that_came_of_it(runtime, echo):
    reload = asyncio.create_task(runtime.reload())
    await turn_loop()
    detail = await runtime.client().restart_worker("demo", "echo", force=True)
    await reload
    assert (detail["state"], detail["restarted"]) == ("running", True)
    assert await answers(runtime) == 1


async def test_a_stop_during_a_reload_stops_the_worker_that_comes_of_it(runtime, echo):
    reload = asyncio.create_task(runtime.reload())
    await turn_loop()
    await echo.stop()
    await reload
    assert runtime.worker("echo").state is WorkerState.STOPPED
    assert await answers(runtime) == 0


async def test_two_forced_restarts_at_once_leave_one_worker(runtime, echo):
    await asyncio.gather(*(echo.restart(force=True) for _ in range(3)))
    assert await answers(runtime) == 1


async def test_a_forced_restart_during_a_stop_comes_after_it(runtime, echo):
    stop = asyncio.create_task(echo.stop())
    await turn_loop()
    assert await echo.restart(force=True)
    await stop
    assert await answers(runtime) == 1


async def test_a_stop_during_a_restart_wins(runtime, echo):
    restart = asyncio.create_task(echo.restart(force=True))
    await turn_loop()
    await echo.stop()
    assert echo.state is WorkerState.STOPPED
    with pytest.raises(Conflict, match="was stopped while it was to restart"):
        await restart
    assert await answers(runtime) == 0


async def test_a_stop_ends_a_start_that_hangs_in_a_restart(runtime):
    worker, starts = Worker("slow"), 0

    @worker.on_startup
    async def begin(client):
        nonlocal starts
        starts += 1
        await asyncio.sleep(0 if starts == 1 else 3600)

    managed = await runtime.add(worker)
    restart = asyncio.create_task(managed.restart(force=True))
    await turn_loop()
    again = asyncio.create_task(managed.restart(force=True))
    await turn_loop()
    await managed.stop()
    await asyncio.gather(restart, again)
    assert managed.state is WorkerState.STOPPED
    assert starts == 3


async def test_an_unload_ends_a_restart_that_waits_for_it(runtime, echo):
    unload = asyncio.create_task(runtime.unload("demo"))
    await turn_loop()
    with pytest.raises(Conflict, match="worker 'demo:echo' is no longer there"):
        await echo.restart(force=True)
    await unload
    assert echo.state is WorkerState.STOPPED
    assert await answers(runtime) == 0


async def test_a_removal_ends_a_restart_that_waits_for_it_and_may_come_twice(runtime):
    worker = Worker("added")

    @worker.on_event("demo.ping")
    async def ping(event, client):
        await client.publish("demo.pong")

    @worker.on_shutdown
    async def end(client):
        await asyncio.sleep(0.05)

    managed = await runtime.add(worker)
    removals = [asyncio.create_task(runtime.remove("added")) for _ in range(2)]
    await turn_loop()
    with pytest.raises(Conflict, match="no longer there"):
        await managed.restart(force=True)
    await asyncio.gather(*removals)
    assert runtime.workers() == []
    assert await answers(runtime) == 0


async def test_a_removal_during_a_reload_holds(runtime):
    worker = Worker("added")

    @worker.on_shutdown
    async def end(client):
        await asyncio.sleep(0.05)

    managed = await runtime.add(worker)
    reload = asyncio.create_task(runtime.reload())
    await turn_loop()
    await runtime.remove("added")
    await reload
    assert runtime.workers() == []
    assert managed.state is WorkerState.STOPPED


async def test_workers_added_at_once_for_one_place_leave_one(runtime):
    def managed() -> ManagedWorker:
        worker = Worker("added")

        @worker.on_event("demo.ping")
        async def ping(event, client):
            await client.publish("demo.pong")

        @worker.on_shutdown
        async def end(client):
            await asyncio.sleep(0.05)

        from dnworker.capability.manifest import WorkerDefinition
        from dnworker.workers.inprocess_worker import InProcessWorker

        home = runtime.capability()
        return InProcessWorker(runtime.services, home, WorkerDefinition("added"), lambda: worker)

    await runtime.capabilities.adopt(managed())
    adoptions = [runtime.capabilities.adopt(managed()) for _ in range(3)]
    results = await asyncio.gather(*adoptions, return_exceptions=True)
    assert sum(result is None for result in results) >= 1
    assert all(result is None or isinstance(result, Conflict) for result in results)
    assert await answers(runtime) == 1


async def test_a_worker_does_not_start_under_a_name_that_its_capability_gives_up(runtime, tmp_path):
    worker = Worker("added")

    @worker.on_event("demo.ping")
    async def ping(event, client):
        await client.publish("demo.pong")

    @worker.on_shutdown
    async def end(client):
        await asyncio.sleep(0.05)

    managed = await runtime.add(worker)
    head = make_named(tmp_path / "head", "renamed")
    declare = asyncio.create_task(runtime.declare(load_manifest(head)))
    await turn_loop()
    await managed.restart(force=True)
    await declare
    owners = [s.owner for s in runtime.bus._subscribers.of_kind("demo.ping")]
    assert owners == ["renamed:added"]


async def test_a_loaded_worker_takes_over_the_restart_of_the_one_that_it_replaces(runtime, tmp_path):
    worker = Worker("echo")

    @worker.on_shutdown
    async def end(client):
        await asyncio.sleep(0.05)

    managed = await runtime.add(worker)
    root = make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": ECHO})
    text = (root / "capability.yaml").read_text()
    (root / "capability.yaml").write_text(text.replace("name: demo", "name: notebook"))
    load = asyncio.create_task(runtime.load(root, instead=True))
    async with asyncio.timeout(60):
        while managed.state is not WorkerState.STOPPING:
            await asyncio.sleep(0)
    assert await managed.restart(force=True)
    await load
    assert managed.state is WorkerState.STOPPED
    assert await answers(runtime) == 1
    await runtime.unload("notebook")
    assert managed.state is WorkerState.RUNNING


@pytest.mark.parametrize("values", [(False, True), (True, False)])
async def test_a_gate_is_as_the_last_of_its_changes_left_it(runtime, tmp_path, values):
    head = "flags:\n  relay: {description: d, default: true}\n"
    await runtime.load(
        make_capability(tmp_path / "demo", "echo: {path: echo.py, when: [relay]}", {"echo.py": SLOW}, head)
    )
    first = asyncio.create_task(runtime.set_flag("demo", "relay", values[0]))
    await turn_loop()
    await runtime.set_flag("demo", "relay", values[1])
    await first
    assert await answers(runtime) == values[1]


@pytest.mark.parametrize("value", [False, True])
async def test_a_flag_that_is_set_during_a_reload_holds_after_it(runtime, tmp_path, value):
    head = f"flags:\n  relay: {{description: d, default: {str(not value).lower()}}}\n"
    workers = "echo: {path: echo.py, when: [relay]}\nslow: {path: slow.py}"
    files = {"echo.py": SLOW, "slow.py": SLOW.replace('"echo"', '"slow"').replace("demo.ping", "other")}
    await runtime.load(make_capability(tmp_path / "demo", workers, files, head))
    reload = asyncio.create_task(runtime.reload("demo"))
    await turn_loop()
    await runtime.set_flag("demo", "relay", value)
    await reload
    assert await answers(runtime) == value


async def test_nothing_starts_once_the_runtime_stops(tmp_path):
    async with Runtime(port=None) as runtime:
        root = make_capability(tmp_path / "demo", "echo: {path: echo.py}", {"echo.py": SLOW})
        await runtime.load(root)
        echo = runtime.worker("echo")
        stop = asyncio.create_task(runtime.stop())
        await turn_loop()
        with pytest.raises(Conflict, match="stop"):
            await echo.restart(force=True)
        with pytest.raises(Conflict, match="stop"):
            await runtime.add(Worker("late"))
        await stop
        assert echo.state is WorkerState.STOPPED
        await runtime.start()
        assert await echo.restart()
        assert await answers(runtime) == 1


async def test_a_discovery_that_a_reload_overtakes_starts_nothing_twice(tmp_path):
    root = tmp_path / "found" / "demo"
    head = "checks:\n  - {name: slow, command: sleep 0.2}\n"
    root.parent.mkdir()
    make_capability(root, "echo: {path: echo.py}", {"echo.py": ECHO}, head)
    async with Runtime(port=None, capability_dirs=[root.parent]) as runtime:
        discovery = asyncio.create_task(runtime.discover())
        await turn_loop()
        await runtime.reload()
        await discovery
        assert await answers(runtime) == 1


async def test_a_handler_may_restart_its_own_worker(runtime):
    worker, asked = Worker("self"), 0

    @worker.on_event("again")
    async def again(event, client):
        nonlocal asked
        asked += 1
        await client.restart_worker("notebook", "self", force=True)

    managed = await runtime.add(worker)
    runtime.publish("again")
    async with asyncio.timeout(60):
        while managed.restarts == 0 or managed.state is not WorkerState.RUNNING:
            await asyncio.sleep(0)
    assert asked == 1


async def test_a_startup_handler_that_restarts_its_own_worker_is_refused(runtime):
    worker, refused = Worker("self"), []

    @worker.on_startup
    async def begin(client):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            await client.restart_worker("notebook", "self")
        refused.append(caught.value.response.json()["detail"])

    async with asyncio.timeout(60):
        managed = await runtime.add(worker)
    assert managed.state is WorkerState.RUNNING
    assert "cannot restart itself while it is starting" in refused[0]


async def test_a_start_after_a_stop_that_was_interrupted_waits_for_its_end(runtime, echo):
    stop = asyncio.create_task(echo.stop())
    await turn_loop()
    stop.cancel()
    await asyncio.wait({stop})
    assert echo.state is WorkerState.STOPPING
    await echo.start()
    assert await answers(runtime) == 1


async def test_an_interrupted_restart_leaves_the_worker_startable(runtime, echo):
    restart = asyncio.create_task(echo.restart(force=True))
    await turn_loop()
    restart.cancel()
    await asyncio.wait({restart})
    await asyncio.gather(echo.restart(), runtime.reload("demo"))
    assert await answers(runtime) == 1
