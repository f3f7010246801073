"""The runtime: an engine with a server and a panel, that may be started and stopped again."""

from __future__ import annotations

import asyncio
import sys

import httpx
import pytest

from dnworker import Runtime, Worker, WorkerState
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


def loud(text: str) -> Worker:
    """Return a worker that prints and logs when it is told to, and when it stops."""
    worker = Worker("loud")

    @worker.on_event("say")
    async def say(event, client):
        print(text)
        await asyncio.to_thread(print, f"{text}, on a thread")

    @worker.on_shutdown
    async def stop(client):
        print(f"{text}, stopped")

    return worker


async def test_what_handlers_print_is_in_the_trace_and_the_log_where_it_is_captured(capfd):
    runtime = Runtime(port=None)
    with runtime.capture_output():
        async with runtime:
            await runtime.add(loud("hello"))
            print("nobody's")
            trace = await runtime.fire("say")
            assert [line.text for line in trace.invocations[0].logs] == ["hello", "hello, on a thread"]
    assert [line.text for line in runtime.logs.tail()] == ["hello", "hello, on a thread", "hello, stopped"]
    assert capfd.readouterr().out.splitlines() == [
        "nobody's",
        "hello",
        "hello, on a thread",
        "hello, stopped",
    ]


async def test_without_capture_output_only_the_program_prints(capfd):
    async with Runtime(port=None) as runtime:
        await runtime.add(loud("hello"))
        trace = await runtime.fire("say")
    assert (list(trace.invocations[0].logs), runtime.logs.tail()) == ([], [])
    assert "hello" in capfd.readouterr().out


@pytest.mark.parametrize("first_ends_first", [False, True])
async def test_each_of_two_runtimes_captures_its_own_handlers_until_its_block_ends(first_ends_first):
    before = sys.stdout.write
    runtimes = [Runtime(port=None) for _ in range(2)]
    blocks = [runtime.capture_output() for runtime in runtimes]
    for runtime, block, text in zip(runtimes, blocks, ("one", "two"), strict=True):
        block.__enter__()
        await runtime.start()
        await runtime.add(loud(text))
        await runtime.fire("say")
    first, last = (0, 1) if first_ends_first else (1, 0)
    blocks[first].__exit__(None, None, None)
    for runtime in runtimes:
        await runtime.fire("say")
    blocks[last].__exit__(None, None, None)
    for runtime in runtimes:
        await runtime.stop()
    assert sys.stdout.write == before
    said = {text: [text, f"{text}, on a thread"] for text in ("one", "two")}
    logs = [[line.text for line in runtime.logs.tail()] for runtime in runtimes]
    assert logs[first] == said["one" if first == 0 else "two"]
    assert logs[last] == said["one" if last == 0 else "two"] * 2
