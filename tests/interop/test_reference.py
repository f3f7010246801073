"""Real SDK, real runtimes: what we export runs there, and what is written for there runs here."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from uv import find_uv_bin

from dnworker import Runtime, RuntimeClient
from dnworker.engine.event_catalogue import EventCatalogue
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.cells import read_notebook
from dnworker_jupyter.syntax.cell import Cell

from .environment import LIMIT, PROJECT, reference_python

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

TUTORIAL = PROJECT / "notebooks" / "01-quickstart.ipynb"
TURN = {"turn_id": "t1", "usage": {"output_tokens": 14}}
COUNTED = "capability.quickstart.counted"

OURS = f"""
from dnworker import EventEnvelope, RuntimeClient, Worker

worker = Worker(name="ours")

@worker.on_event("interop.ping")
async def ping(event: EventEnvelope, client: RuntimeClient) -> None:
    print("got", event.payload)
    await client.publish("interop.pong", {{"echo": event.payload, "from": "{COUNTED}"}})

if __name__ == "__main__":
    worker.run()
"""

RELAY = """
@worker.on_event("interop.turn")
async def relay(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish("interop.answer", {"turn": event.payload["turn_id"]})
"""


@pytest.fixture(scope="session")
def sdk():
    """The interpreter of the reference's environment."""
    return reference_python()


@pytest.fixture
def exported(tmp_path):
    """The tutorial's capability, as the exporter writes it."""
    write(plan_export(read_notebook(TUTORIAL), default_name="quickstart"), tmp_path / "quickstart")
    return tmp_path / "quickstart"


LIST = """
import asyncio, json, sys
from pathlib import Path
from dreadnode.capabilities import load_capability
capability = asyncio.run(load_capability(Path(sys.argv[1])))
manifest = capability.manifest
print(json.dumps({"name": manifest.name, "workers": sorted(manifest.workers)}))
"""


def test_the_references_loader_accepts_the_export_and_lists_its_worker(sdk, exported):
    answer = subprocess.run([sdk, "-c", LIST, str(exported)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert json.loads(answer.stdout.splitlines()[-1]) == {"name": "quickstart", "workers": ["bridge"]}


@pytest.mark.clause("15 client")
async def test_the_exported_script_run_by_the_real_sdk_answers_in_our_runtime(
    sdk, exported, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    manifest = exported / "capability.yaml"
    head = manifest.read_text().partition("workers:")[0]
    manifest.write_text(f"{head}workers:\n  bridge: {{command: '{sdk}', args: [workers/bridge.py]}}\n")
    async with Runtime(port=0) as runtime:
        answers = runtime.bus.subscribe([COUNTED])
        await runtime.load(exported)
        await runtime.fire("turn.completed", TURN, wait=False)
        async with asyncio.timeout(LIMIT):
            answer = await anext(answers)
        assert answer.payload == {"turns": 1, "tokens": 14}
        worker = runtime.worker("bridge")
        await worker.stop()
        assert "disconnected" in worker.detail()["process"]["recent_output"]


@asynccontextmanager
async def reference_runtime(sdk: Path, directory: Path, capabilities: Path, port: int):
    """Run the real runtime, and give a client of ours connected to it."""
    (directory / "home").mkdir()
    cache = subprocess.run(
        [find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        **os.environ,
        "HOME": str(directory / "home"),
        "PATH": os.pathsep.join([str(Path(find_uv_bin()).parent), os.environ["PATH"]]),
        "UV_CACHE_DIR": cache,
        "DREADNODE_RUNTIME_TOKEN": "interop-token",
        "DREADNODE_CAPABILITY_DIRS": str(capabilities),
    }
    log = (directory / "reference.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        str(sdk.parent / "dreadnode"), "serve", "--host", "127.0.0.1", "--port", str(port),
        "--working-dir", str(directory),
        env=environment, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    client = RuntimeClient(f"http://127.0.0.1:{port}", auth_token="interop-token")
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                try:
                    await client.start()
                    break
                except RuntimeError:
                    assert process.returncode is None, (directory / "reference.log").read_text()[-2000:]
                    await asyncio.sleep(0.2)  # the reference binds its port only after seconds of imports
        yield client
    finally:
        await client.close()
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        log.close()


async def first_answer(client: RuntimeClient, kind: str, fire, *, limit: float = LIMIT):
    """Fire until the answer comes: the reference loses what a worker has not subscribed to yet."""
    events = client.subscribe(kind)
    waiting = asyncio.ensure_future(anext(events))
    try:
        async with asyncio.timeout(limit):
            while not waiting.done():
                with suppress(httpx.TransportError):  # it closes connections that a busy machine leaves idle
                    await fire()
                await asyncio.wait({waiting}, timeout=1)
        return waiting.result()
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})
        await events.aclose()


@pytest.mark.clause("15 worker")
async def test_our_export_and_our_scripts_answer_in_the_real_runtime(sdk, tmp_path, unused_tcp_port):
    capabilities = tmp_path / "capabilities"
    cells = read_notebook(TUTORIAL)
    last = max(n for n, cell in enumerate(cells) if cell.source.startswith("%%worker"))
    with_relay = [
        cell if n != last else type(cell)(cell.number, cell.source + "\n" + RELAY, cell.id)
        for n, cell in enumerate(cells)
    ]
    write(plan_export(with_relay, default_name="quickstart"), capabilities / "quickstart")
    ours = capabilities / "ours"
    ours.mkdir()
    (ours / "ours.py").write_text(OURS)
    (ours / "capability.yaml").write_text(
        "schema: 1\nname: ours\nversion: 0.1.0\ndescription: d\n"
        f"workers:\n  ours: {{command: '{sys.executable}', args: ['${{CAPABILITY_ROOT}}/ours.py']}}\n"
    )
    async with reference_runtime(sdk, tmp_path, capabilities, unused_tcp_port) as client:
        # (c) the exported capability, as it was exported, under uv run with the real SDK
        answer = await first_answer(
            client, "interop.answer", lambda: client.publish("interop.turn", {"turn_id": "t1"})
        )
        assert answer.payload == {"turn": "t1"}
        detail = await client.fetch_worker_detail("quickstart", "bridge")
        assert (detail["state"], detail["process"]["command"]) == ("running", "uv")
        # (d) a dnworker script
        answer = await first_answer(client, "interop.pong", lambda: client.publish("interop.ping", {"n": 1}))
        assert answer.payload["echo"] == {"n": 1}
        info = await client.fetch_runtime_info()
        assert {"quickstart", "ours"} <= {capability.name for capability in info.capabilities}
        # a session of theirs, seen by a client of ours: the id is filled in from the payload
        created = await first_answer(
            client, "session.created", lambda: client.create_session(session_id=os.urandom(8).hex())
        )
        assert created.session_id == created.payload["session_id"]
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await client.publish("interop.a", session_id="nobody")
        assert refused.value.response.status_code == 404


ANSWER = """async def answer(client):
    async with client.once("a") as first:
        await client.publish("interop.pong", {"first": first}, **{"dedupe": "a"})
"""
ON_PING = """%%worker bridge
@worker.on_event("interop.ping")
async def ping(event, client):
    await answer(client)
"""


@pytest.mark.parametrize("module", ["", "from answering import answer"], ids=["in a cell", "in a module"])
async def test_what_only_our_client_has_runs_with_the_sdk_which_says_once_what_it_lacks(
    sdk, tmp_path, monkeypatch, module
):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "answering.py").write_text(ANSWER)
    cells = [Cell(1, module or ANSWER), Cell(2, ON_PING)]
    write(plan_export(cells, default_name="once", topology="python", beside=tmp_path), tmp_path / "once")
    manifest = tmp_path / "once" / "capability.yaml"
    head = manifest.read_text().partition("workers:")[0]
    manifest.write_text(f"{head}workers:\n  bridge: {{command: '{sdk}', args: [workers/bridge.py]}}\n")
    async with Runtime(port=0) as runtime:
        answers = runtime.bus.subscribe(["interop.pong"])
        await runtime.load(tmp_path / "once")
        for _ in range(2):
            await runtime.fire("interop.ping", wait=False)
        async with asyncio.timeout(LIMIT):
            got = [await anext(answers) for _ in range(2)]
        assert [one.payload for one in got] == [{"first": True}] * 2
        worker = runtime.worker("bridge")
        await worker.stop()
        output = "\n".join(worker.detail()["process"]["recent_output"])
        assert output.count("this client has no once(...): the body of the same key runs again") == 1
        assert output.count("this client has no publish(dedupe=...)") == 1


DECLARES = """from typing import TypedDict

class Placed(TypedDict):
    amount: float
"""
ON_PLACED = """%%worker bridge
from dnworker import EventEnvelope

@worker.on_event("interop.placed")
async def on_placed(event: EventEnvelope[Placed], client) -> None:
    await client.publish("interop.billed", {"amount": event.payload["amount"]})
"""


async def test_a_handler_that_declares_its_payload_runs_with_the_sdk_and_is_in_the_catalogue(
    sdk, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    plan = plan_export([Cell(1, DECLARES), Cell(2, ON_PLACED)], default_name="shop", topology="python")
    write(plan, tmp_path / "shop")
    manifest = tmp_path / "shop" / "capability.yaml"
    head = manifest.read_text().partition("workers:")[0]
    manifest.write_text(f"{head}workers:\n  bridge: {{command: '{sdk}', args: [workers/bridge.py]}}\n")
    async with Runtime(port=0) as runtime:
        answers = runtime.bus.subscribe(["interop.billed"])
        await runtime.load(tmp_path / "shop")
        await runtime.fire("interop.placed", {"amount": 2}, wait=False)
        async with asyncio.timeout(LIMIT):
            answer = await anext(answers)
        assert answer.payload == {"amount": 2}
        entry = await EventCatalogue(runtime).entry("interop.placed")
        (listener,) = entry.heard_by
        assert (listener.worker, listener.type) == ("shop:bridge", "Placed")
        assert listener.schema is not None
