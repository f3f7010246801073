"""`--loop` of `serve`: which loop there is, and that both do the same."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from dnworker.cli import loop_options
from dnworker.cli.loop_options import loop_of
from dnworker.client.client import RuntimeClient
from dnworker.core.errors import UsageError
from dnworker.engine.own_loop import SharedLoop
from tests.attack.served import make_capability, serving

WORKER = """
import asyncio, os, signal
from dnworker import Worker
worker = Worker("w")

@worker.on_event("demo.go")
async def go(event, client):
    await asyncio.sleep(0.3)
    print("went", type(asyncio.get_running_loop()).__name__, flush=True)

@worker.on_event("demo.signal")
async def on_signal(event, client):
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    await client.publish("demo.waits", {})
    await came.wait()  # nothing else wakes the loop soon
    print("signalled", flush=True)

@worker.on_event("demo.hold")
async def hold(event, client):
    print("at it", flush=True)
    all(iter(int, 1)) or sum(range(10**18))
"""
CHILD = """
from dnworker import Worker
worker = Worker("child")

@worker.on_event("demo.ping")
async def ping(event, client):
    await client.publish("demo.pong", event.payload)

if __name__ == "__main__":
    worker.run()
"""
loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def root(tmp_path):
    return make_capability(tmp_path / "cap", "w: {path: w.py}", {"w.py": WORKER})


def test_auto_is_uvloop_where_it_is_installed(monkeypatch):
    assert [one.__module__ for one in loop_of("auto").__mro__ if "uvloop" in one.__module__]
    assert loop_of("uvloop") is loop_of("auto")
    assert loop_of("asyncio") is SharedLoop
    monkeypatch.setattr(loop_options, "find_spec", lambda name: None)
    assert loop_of("auto") is SharedLoop


def test_uvloop_that_is_not_installed_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(loop_options, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'dnworker\[speed\]'"):
        loop_of("uvloop")


def test_uvloop_that_cannot_be_imported_is_said_and_not_used(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.delitem(sys.modules, "dnworker.engine.own_uvloop", raising=False)
    monkeypatch.setattr(loop_options, "find_spec", lambda name: object())
    assert loop_of("auto") is SharedLoop
    assert "asyncio's loop runs" in caplog.text
    with pytest.raises(UsageError, match="cannot be imported"):
        loop_of("uvloop")


async def told(served, text):
    """Return the first line with this text, which a worker has printed."""
    async with asyncio.timeout(30):
        while True:
            for line in [*served.out, *served.err]:
                if text in line:
                    return line
            await asyncio.sleep(0.01)


@pytest.mark.slow
@loops
async def test_both_loops_serve_and_end_in_order(tmp_path, root, loop):
    lines = f"child: {{command: {sys.executable}, args: [child.py]}}"
    child = make_capability(tmp_path / "other", lines, {"child.py": CHILD}, name="other")
    async with serving(tmp_path, root, child, environ={"DNWORKER_LOOP": loop}) as served:
        async with asyncio.timeout(30), RuntimeClient(served.url, auth_token=served.token) as client:
            heard = client.subscribe("demo.pong")
            first = asyncio.ensure_future(anext(heard))
            while not first.done():  # the process of the worker may not listen yet
                await served.publish("demo.ping", {"n": 1})
                await asyncio.wait({first}, timeout=0.05)
            assert first.result().payload == {"n": 1}
            await heard.aclose()
        await served.publish("demo.go")
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(served.process.wait(), 15) == 0
        await asyncio.gather(*served.readers)
    name = {"asyncio": "SharedLoop", "uvloop": "SharedUvloop"}[loop]
    assert f"went {name}" in served.err


@pytest.mark.slow
@loops
async def test_a_signal_that_a_worker_waits_for_comes_at_once(tmp_path, root, loop):
    async with serving(tmp_path, root, "--loop", loop) as served:
        await served.publish("demo.signal")
        await asyncio.sleep(1.2)  # the runtime has looked whose its signals are
        os.kill(served.pid, signal.SIGUSR1)
        await told(served, "signalled")
        code = await served.stop()
        assert code == 0, served.err


@pytest.mark.slow
@loops
async def test_code_that_holds_the_interpreter_does_not_keep_a_signal_from_ending_it(tmp_path, root, loop):
    async with serving(tmp_path, root, "--loop", loop, "--stop-within", "0.5") as served:
        await served.publish("demo.hold")
        await told(served, "at it")
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(served.process.wait(), 10) == -signal.SIGABRT
