"""The runtime: an engine with a server and a panel, that may be started and stopped again."""

from __future__ import annotations

import httpx
import pytest

from dnworker import Runtime, WorkerState
from dnworker.core.errors import AddressInUse

from .capabilities import ECHO, make_capability


async def test_the_reference_import_path_finds_dnworker(runtime, tmp_path):
    source = ECHO.replace("from dnworker import", "from dreadnode.capabilities.worker import")
    await runtime.load(make_capability(tmp_path, "echo: {path: echo.py}", {"echo.py": source}))
    assert runtime.worker("echo").state is WorkerState.RUNNING


async def test_without_a_port_there_is_no_address(runtime):
    assert (runtime.is_started, runtime.url) == (True, None)


async def test_a_port_in_use_leaves_the_runtime_stopped():
    async with Runtime(port=0) as first:
        second = Runtime(port=first.server.port)
        with pytest.raises(AddressInUse, match="is in use"):
            await second.start()
        assert (second.is_started, second.url) == (False, None)
        assert (second.progress.stage == "ready", "ready" in second.progress.timings) == (False, False)


async def test_a_panel_that_asks_after_the_stop_is_let_go_by_the_next(runtime):
    feed = runtime.feed
    await runtime.stop()
    feed.connect(lambda message: None).receive({"view": "v", "type": "hello", "parts": []})
    await runtime.stop()
    assert not feed.is_listening


async def test_a_runtime_that_was_stopped_starts_again_with_what_it_had(tmp_path):
    runtime = Runtime(port=0, journal=tmp_path / "journal")
    for _ in range(2):
        async with runtime, httpx.AsyncClient() as client:
            assert (await client.get(f"{runtime.url}/api/health")).status_code in (200, 401)
            runtime.publish("a")
        assert (runtime.is_started, runtime.url) == (False, None)
    assert runtime.bus.latest_seq == 2


async def test_the_panel_is_made_when_it_is_first_asked_for_and_kept(runtime):
    assert runtime.feed is runtime.feed
    assert runtime.feed.model.actions.engine is runtime
