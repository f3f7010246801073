"""Reloads of all capabilities, and who may ask for one."""

from __future__ import annotations

import pytest

from dnworker import WorkerState
from dnworker.core.clock import turn_loop

from ..capabilities import ECHO, make_capability


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
