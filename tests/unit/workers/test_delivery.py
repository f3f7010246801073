"""Events reach a real worker process once and in order, also when its socket breaks or its process ends."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import JournalReader, Runtime, Worker, WorkerState
from dnworker.server.websocket_protocol import WebSocketProtocol

from ..capabilities import make_capability

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SINK = """
import os
import signal
from dnworker import Worker
worker = Worker(name="sink")
seen = []

@worker.on_event("demo.item")
async def item(event, client):
    seen.append(event.payload["n"])

@worker.on_event("demo.die")
async def die(event, client):
    os._exit(3)

@worker.on_event("demo.end")
async def end(event, client):
    os.kill(os.getpid(), signal.SIGTERM)

@worker.on_event("demo.ask")
async def ask(event, client):
    await client.publish("demo.seen", {"seen": seen})

@worker.on_event("demo.burst")
async def burst(event, client):
    for n in range(event.payload["count"]):
        await client.publish("demo.item", {"n": n})

if __name__ == "__main__":
    worker.run()
"""


@pytest.fixture
async def served():
    async with Runtime(port=0) as started:
        yield started


@pytest.fixture
async def sink(served, tmp_path):
    await served.load(
        make_capability(
            tmp_path, "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}", {"sink.py": SINK}
        )
    )
    async with asyncio.timeout(60):
        await served.worker("sink").connected.wait()
    return served.worker("sink")


async def seen_by(served, count):
    """Return what the process has got, once it is as much as that."""
    answers = served.bus.subscribe(["demo.seen"])
    async with asyncio.timeout(60):
        while True:
            served.publish("demo.ask")
            seen = (await anext(answers)).payload["seen"]
            if len(seen) >= count:
                answers.close()
                return seen


async def test_a_burst_that_outruns_a_process_arrives_whole(served, sink):
    for n in range(3_000):
        served.publish("demo.item", {"n": n})
    assert await seen_by(served, 3_000) == list(range(3_000))
    assert sink.losses is None


async def test_what_a_handler_publishes_in_a_burst_is_all_in_the_trace(served, sink):
    worker = Worker(name="source")

    @worker.on_event("demo.go")
    async def go(event, client):
        for n in range(1_000):
            await client.publish("demo.item", {"n": n})

    await served.add(worker)
    trace = await served.fire("demo.go", timeout=60)
    assert trace.ok
    assert sum(len(below.invocations) for below in trace.invocations[0].events) == 1_000


async def test_a_process_that_publishes_to_itself_gets_it_all(served, sink):
    trace = await served.fire("demo.burst", {"count": 300}, timeout=60)
    assert trace.ok
    assert sorted(await seen_by(served, 300)) == list(range(300))


async def test_sockets_that_the_runtime_aborts_lose_and_double_nothing(served, sink, monkeypatch):
    sockets: list[WebSocketProtocol] = []
    made = WebSocketProtocol.handle_connect
    monkeypatch.setattr(
        WebSocketProtocol, "handle_connect", lambda self, event: (made(self, event), sockets.append(self))[0]
    )
    published = 0
    next(iter(sink._queue._streams)).reader.on_end()  # the first one
    for turn in range(5):
        async with asyncio.timeout(60):
            while not sockets:
                served.publish("demo.item", {"n": published})
                published += 1
                await asyncio.sleep(0.01)
        for n in range(published, published + 200):
            served.publish("demo.item", {"n": n})
        published += 200
        await asyncio.sleep(0.01 * turn)
        for one in sockets:
            one.abort()
        sockets.clear()
    assert await seen_by(served, published) == list(range(published))
    assert sink.losses is None


async def test_a_process_that_dies_says_what_it_had_not_handled(served, sink):
    states = served.bus.subscribe(["component.state_changed"])
    served.publish("demo.die")
    lost = [served.publish("demo.item", {"n": n}) for n in range(500)]
    async with asyncio.timeout(30):
        while sink.state is not WorkerState.ERROR:
            await anext(states)
    assert "lost: the process ended before it had handled them" in sink.losses
    assert not served.history.losses_of(lost[0].event_id) or sink.detail()["events_lost"]["count"] >= 1
    assert served.history.losses_of(lost[-1].event_id)
    assert sink.losses in sink.component().detail


async def test_the_end_of_a_process_with_queued_events_is_noted_once(tmp_path):
    journal = tmp_path / "journal.db"
    async with Runtime(port=0, journal=journal) as served:
        await served.load(
            make_capability(
                tmp_path, "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}", {"sink.py": SINK}
            )
        )
        sink = served.worker("sink")
        async with asyncio.timeout(60):
            await sink.connected.wait()
        states = served.bus.subscribe(["component.state_changed"])
        served.publish("demo.die")
        for n in range(500):
            served.publish("demo.item", {"n": n})
        async with asyncio.timeout(30):
            while sink.state is not WorkerState.ERROR:
                await anext(states)
        assert sink.losses is not None
        said = [
            line.text for line in served.logs.tail(worker="demo:sink") if "exited with code 3" in line.text
        ]
    noted = [one.state for one in JournalReader(journal).states() if one.worker == "demo:sink"]
    assert noted == ["starting", "running", "error"]
    assert len(said) == 1


async def test_a_process_that_ends_in_order_but_by_itself_says_what_it_had_not_handled(served, sink):
    states = served.bus.subscribe(["component.state_changed"])
    served.publish("demo.end")
    lost = [served.publish("demo.item", {"n": n}) for n in range(3_000)]
    async with asyncio.timeout(30):
        while sink.state in (WorkerState.RUNNING, WorkerState.STOPPING):
            await anext(states)
    assert sink.state is WorkerState.STOPPED, sink.error
    assert "lost: the process ended before it had handled them" in sink.losses
    assert served.history.losses_of(lost[-1].event_id)


async def test_a_stop_that_was_asked_for_is_no_loss(served, sink):
    for n in range(500):
        served.publish("demo.item", {"n": n})
    await sink.stop()
    assert sink.losses is None
