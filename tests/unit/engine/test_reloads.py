"""Reloads of all capabilities, and who may ask for one."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Worker, WorkerState
from dnworker.core.clock import turn_loop

from ..capabilities import ECHO, make_capability, make_named


@pytest.mark.clause("4.8 reload")
async def test_a_reload_reads_everything_again_and_announces_it(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    (tmp_path / "echo.py").write_text(ECHO.replace("demo.pong", "demo.pang"))
    await runtime.reload()
    trace = await runtime.fire("demo.ping")
    assert trace.events()[-1].kind == "demo.pang"
    assert any(e.kind == "capabilities.reloaded" for e in runtime.history.events())


async def test_a_manifest_that_broke_is_a_failed_capability_after_a_reload(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    (tmp_path / "capability.yaml").write_text("name: demo\n")
    info = await runtime.reload()
    (component,) = info.capabilities[-1].components
    assert (component.kind, component.status) == ("capability", "error")
    assert "capability.yaml:1:1: field 'schema' is missing" in component.error


@pytest.mark.clause("11.9")
async def test_a_handler_may_reload_the_runtime_that_stops_it(runtime, tmp_path):
    source = ECHO.replace(
        'await client.publish("demo.pong", {"echo": event.payload})', "await client.reload_capabilities()"
    )
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": source}))
    reloaded = runtime.bus.subscribe(["capabilities.reloaded"])
    await runtime.fire("demo.ping", wait=False)
    assert (await anext(reloaded)).payload == {"capability_count": 1}
    await turn_loop()
    assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_a_capability_that_was_renamed_is_found_by_its_new_name(runtime, tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": ECHO})
    await runtime.load(tmp_path)
    manifest = tmp_path / "capability.yaml"
    manifest.write_text(manifest.read_text().replace("name: demo", "name: renamed"))
    await runtime.reload()
    assert runtime.capabilities.find("renamed", "echo").detail()["state"] == "running"


async def test_a_load_during_a_reload_waits_for_it_and_is_not_forgotten(runtime, tmp_path):
    worker, goes_on = Worker("slow"), asyncio.Event()

    @worker.on_shutdown
    async def end(client):
        await goes_on.wait()

    await runtime.add(worker)
    reload = asyncio.create_task(runtime.reload())
    await turn_loop()
    load = asyncio.create_task(runtime.load(make_named(tmp_path / "c", "demo")))
    await turn_loop()
    assert runtime.reloads.is_running
    assert [c.name for c in runtime.info().capabilities] == ["notebook"]
    goes_on.set()
    await reload
    await load
    assert [c.name for c in runtime.info().capabilities] == ["notebook", "demo"]
    assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_a_change_goes_on_when_its_caller_is_cancelled(runtime, tmp_path):
    worker, goes_on = Worker("slow"), asyncio.Event()

    @worker.on_startup
    async def begin(client):
        await goes_on.wait()

    adding = asyncio.create_task(runtime.add(worker))
    await turn_loop()
    load = asyncio.create_task(runtime.load(make_named(tmp_path / "c", "demo")))
    await turn_loop()
    load.cancel()
    goes_on.set()
    await adding
    await runtime.reload()
    assert runtime.worker("demo:echo").state is WorkerState.RUNNING
