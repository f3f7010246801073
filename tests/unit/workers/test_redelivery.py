"""Over a broker that redelivers, worker processes that are killed in the middle handle every event."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from subprocess import run

import pytest

from dnworker import RestartPolicy, Runtime
from dnworker.engine.retries import NOT_OF_PROCESSES
from dnworker.events.brokers.sqlite.broker import SqliteBroker

from ..capabilities import make_capability

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COUNT = 1_000

OURS = """
import asyncio
from dnworker import Worker
worker = Worker(name="sink")

@worker.on_event("demo.item")
async def item(event, client):
    await asyncio.sleep(0)
    with open("handled", "a") as file:
        file.write(f"{event.payload['n']} {event.replay} {event.delivery}\\n")

if __name__ == "__main__":
    worker.run()
"""

PLAIN = """
import asyncio, json, os
from urllib.parse import urlsplit
from websockets.asyncio.client import connect

async def main():
    parts = urlsplit(os.environ["DREADNODE_RUNTIME_URL"])
    headers = {"Authorization": "Bearer " + os.environ["DREADNODE_RUNTIME_TOKEN"]}
    url = f"ws://{parts.netloc}/api/ws/events?kinds=demo.item&ack=explicit"
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        await socket.send("not an acknowledgement")
        async for frame in socket:
            event = json.loads(frame)
            if not event["seq"]:
                continue
            assert "delivery" not in event
            n = event["payload"]["n"]
            if n == 7 and not event["replay"]:
                await socket.send(json.dumps({"nak": event["seq"], "delay": 0.05}))
                continue
            with open("handled", "a") as file:
                file.write(f"{n} {event['replay']} 0\\n")
            await socket.send(json.dumps({"ack": event["seq"]}))

asyncio.run(main())
"""

NODE = """
const { appendFileSync } = require("node:fs");
const url = new URL(process.env.DREADNODE_RUNTIME_URL);
const socket = new WebSocket(`ws://${url.host}/api/ws/events?kinds=demo.item&ack=explicit`, {
  headers: { Authorization: `Bearer ${process.env.DREADNODE_RUNTIME_TOKEN}` },
});
socket.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  if (!event.seq) return;
  appendFileSync("handled", `${event.payload.n} ${event.replay ? "True" : "False"} 0\\n`);
  socket.send(JSON.stringify({ ack: event.seq }));
});
socket.addEventListener("close", () => process.exit(1));
"""


PAIR = """
from dnworker import Worker
worker = Worker(name="sink")

def note(name, event):
    with open("ran", "a") as file:
        file.write(f"{name} {event.delivery}\\n")

@worker.on_event("demo.item")
async def well(event, client):
    note("well", event)

@worker.on_event("demo.item")
async def fails_once(event, client):
    note("fails_once", event)
    if event.delivery == 1:
        raise ConnectionError("no answer")

if __name__ == "__main__":
    worker.run()
"""


def with_node() -> bool:
    """Return whether there is a Node that has WebSockets."""
    node = shutil.which("node")
    if node is None:
        return False
    script = "process.exit(typeof WebSocket === 'function' ? 0 : 1)"
    return run([node, "--experimental-websocket", "-e", script], check=False).returncode == 0


class Handled:
    """What a process writes of each event that it has handled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[tuple[int, bool, int]]:
        """Return the number of each event, whether it was marked, and how often it was given."""
        if not self.path.exists():
            return []
        whole = [line.split() for line in self.path.read_text().splitlines()]
        return [(int(line[0]), line[1] == "True", int(line[2])) for line in whole if len(line) == 3]

    async def reach(self, count: int) -> None:
        """Wait until so many different events are handled."""
        async with asyncio.timeout(60):
            while len({n for n, *_ in self.lines()}) < count:
                await asyncio.sleep(0.01)


async def survive(tmp_path: Path, entry: str, files: dict[str, str]) -> list[tuple[int, bool, int]]:
    """Publish 1,000 events to a process that is killed twice meanwhile; return what it has handled."""
    handled = Handled(tmp_path / "demo" / "handled")
    policy = RestartPolicy(max_restarts=5, window=60)
    broker = SqliteBroker(tmp_path / "events.sqlite")
    async with Runtime(port=0, broker=broker, restart=policy) as runtime:
        await runtime.load(make_capability(tmp_path / "demo", entry, files))
        worker = runtime.worker("sink")
        async with asyncio.timeout(60):
            await worker.connected.wait()
        for n in range(COUNT):
            runtime.publish("demo.item", {"n": n})
        for kills, least in enumerate((COUNT // 5, COUNT // 2), 1):
            await handled.reach(least)
            os.kill(worker._runner.pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                while worker.restarts < kills:  # else the next kill may meet the same process
                    await asyncio.sleep(0.01)
        await handled.reach(COUNT)
        assert worker.losses is None
        async with asyncio.timeout(60):
            while worker.restarts < 2 or not worker.connected.is_set():  # it may be done before the last one
                await asyncio.sleep(0.01)
            while (cursors := await broker.cursors())[0].pending or cursors[0].outstanding:
                await asyncio.sleep(0.01)
    return handled.lines()


def check(lines: list[tuple[int, bool, int]]) -> None:
    """Check that each event was handled, and more than once only where it was marked."""
    assert {n for n, *_ in lines} == set(range(COUNT))
    unmarked = [n for n, is_copy, _ in lines if not is_copy]
    assert max(Counter(unmarked).values()) == 1


async def test_a_child_of_ours_that_is_killed_twice_handles_all(tmp_path):
    entry = "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}"
    lines = await survive(tmp_path, entry, {"sink.py": OURS})
    check(lines)
    assert max(delivery for *_, delivery in lines) > 1
    assert all(delivery == 1 or is_copy for _, is_copy, delivery in lines)


async def test_a_client_that_acknowledges_each_event_and_is_killed_twice_handles_all(tmp_path):
    entry = "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}"
    lines = await survive(tmp_path, entry, {"sink.py": PLAIN})
    check(lines)
    assert [is_copy for n, is_copy, _ in lines if n == 7] == [True]  # the first time it gave it back


@pytest.mark.skipif(not with_node(), reason="needs Node with WebSockets")
async def test_a_worker_in_node_that_is_killed_twice_handles_all(tmp_path):
    entry = "sink: {command: node, args: [--experimental-websocket, '${CAPABILITY_ROOT}/sink.js']}"
    check(await survive(tmp_path, entry, {"sink.js": NODE}))


FAILING = """
from dnworker import Worker
worker = Worker(name="sink")

@worker.on_event("demo.item")
async def item(event, client):
    with open("handled", "a") as file:
        file.write(f"{event.payload['n']} {event.replay} {event.delivery}\\n")
    if event.delivery <= event.payload["failures"]:
        raise ValueError(event.payload["n"])

if __name__ == "__main__":
    worker.run()
"""

ENTRY = f"sink: {{command: {sys.executable}, args: ['${{CAPABILITY_ROOT}}/sink.py']}}"


async def test_a_process_is_given_an_event_again_whose_handler_fails_until_it_is_a_dead_letter(tmp_path):
    handled = Handled(tmp_path / "demo" / "handled")
    broker = SqliteBroker(tmp_path / "events.sqlite")
    retry = {"demo:sink": "2,backoff=0.01s..0.02s"}
    async with Runtime(port=0, broker=broker, retry=retry) as runtime:
        await runtime.load(make_capability(tmp_path / "demo", ENTRY, {"sink.py": FAILING}))
        async with asyncio.timeout(60):
            await runtime.worker("sink").connected.wait()
            runtime.publish("demo.item", {"n": 0, "failures": 1})
            runtime.publish("demo.item", {"n": 1, "failures": 9})
            while not (dead := runtime.dead_letters.all()):
                await asyncio.sleep(0.01)
            letter = await runtime.dead_letters.read(dead[0])
            while any(one.pending or one.outstanding for one in await broker.cursors()):
                await asyncio.sleep(0.01)
    assert sorted((n, number) for n, _, number in handled.lines()) == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    assert (len(dead), letter.event.payload["n"]) == (1, 1)


async def test_it_is_said_of_a_process_that_memory_gives_it_nothing_again(tmp_path):
    async with Runtime(port=0, retry={"demo:sink": "2"}) as runtime:
        await runtime.load(make_capability(tmp_path / "demo", ENTRY, {"sink.py": FAILING}))
        said = [line.text for line in runtime.logs.lines(0, 100)]
    assert NOT_OF_PROCESSES in said


async def test_only_the_handlers_of_a_process_run_again_that_have_failed(tmp_path):
    root = make_capability(
        tmp_path, "sink: {command: PYTHON, args: ['${CAPABILITY_ROOT}/sink.py']}", {"sink.py": PAIR}
    )
    broker = SqliteBroker(tmp_path / "events.db")
    async with Runtime(port=0, broker=broker, retry={"demo:sink": "3,backoff=1ms,on=OSError"}) as runtime:
        await runtime.load(root)
        event = runtime.publish("demo.item", {"n": 1})
        while [one.outcome for one in runtime.history.invocations_of(event.event_id)][2:] != ["ok"]:
            await asyncio.sleep(0.01)
        assert (root / "ran").read_text().split("\n")[:-1] == ["well 1", "fails_once 1", "fails_once 2"]
