"""A Python worker process: from spawn to its first event, and an event's way to it and back.

Beside the bare thing: an interpreter that imports what any client needs; a WebSocket message to a process
that answers with an HTTP request, on the same libraries. Then as servers: ours and the reference.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from common import (
    PROJECT,
    RUNS,
    TOKEN,
    free_port,
    has_reference,
    median,
    reference_python,
    report,
    row,
    serve_ours,
    serve_reference,
    sized,
    uv_cache,
)
from uv import find_uv_bin

from dnworker import Runtime, RuntimeClient

ROWS = ("child-answer", "child-spawn", "child-spawn-uv")

ROUNDS = sized(100)
"""Round trips whose median is one turn."""

SCRIPT = """
from {package} import Worker
worker = Worker(name="echo")

@worker.on_event("bench.ping")
async def ping(event, client):
    await client.publish("bench.pong", {{"n": event.payload["n"]}})

if __name__ == "__main__":
    worker.run()
"""

IMPORTS = "import httpx, websockets.asyncio.client\nprint('ready', flush=True)\n"

BARE_CHILD = """
import asyncio, json, sys, httpx
from websockets.asyncio.client import connect

async def main(port):
    where = f"127.0.0.1:{port}"
    async with httpx.AsyncClient() as http, connect(f"ws://{where}/", proxy=None, compression=None) as socket:
        async for text in socket:
            answer = {"kind": "bench.pong", "payload": json.loads(text)}
            await http.post(f"http://{where}/answer", json=answer)

asyncio.run(main(sys.argv[1]))
"""


def uv_head() -> str:
    """Return the head of a script that has uv install what dnworker needs."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        needs = tomllib.load(file)["project"]["dependencies"]
    return f'# /// script\n# requires-python = ">=3.11"\n# dependencies = {json.dumps(needs)}\n# ///\n'


def capability(directory: Path, python: str, package: str, *, head: str = "") -> Path:
    """Write a capability with one Python worker process; under `uv run` where its script has a head."""
    directory.mkdir()
    (directory / "echo.py").write_text(head + SCRIPT.format(package=package))
    args = ["run", "--script"] if head else []
    (directory / "capability.yaml").write_text(
        "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\n"
        f"workers:\n  echo: {{command: {json.dumps(python)}, args: "
        f"{json.dumps([*args, '${CAPABILITY_ROOT}/echo.py'])}}}\n"
    )
    return directory


def imports(*command: str) -> float:
    """Return the seconds until an interpreter has started and imported what a client needs."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return time.perf_counter() - started


class Pongs:
    """The answers that come, by their number."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def take(self, number: int) -> None:
        """Note an answer."""
        if (waiting := self._waiting.pop(number, None)) is not None:
            waiting.set_result(None)

    async def of(self, number: int, ask: Callable[[], Awaitable[object] | object]) -> None:
        """Ask, and wait for the answer."""
        self._waiting[number] = waiting = asyncio.get_running_loop().create_future()
        if isinstance(asking := ask(), Awaitable):
            await asking
        async with asyncio.timeout(60):
            await waiting

    async def milliseconds(self, ask: Callable[[int], Awaitable[object] | object]) -> float:
        """Return the median of many round trips."""
        took = []
        for n in range(1_000, 1_000 + ROUNDS):
            began = time.perf_counter()
            await self.of(n, lambda n=n: ask(n))  # type: ignore[misc]
            took.append(1_000 * (time.perf_counter() - began))
        return median(took)


@asynccontextmanager
async def bare_pair() -> AsyncIterator[tuple[Pongs, Callable[[int], Awaitable[object]]]]:
    """Serve an application in this process to a child; gives the answers, and what asks."""
    pongs, opened = Pongs(), asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            opened.set_result(send)
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        pongs.take(json.loads((await receive())["body"])["payload"]["n"])
        head = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"{}"})

    port = free_port()
    config = uvicorn.Config(
        app, port=port, lifespan="off", log_level="error", access_log=False, ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    child = subprocess.Popen([sys.executable, "-c", BARE_CHILD, str(port)])
    try:
        async with asyncio.timeout(60):
            send = await opened
        yield pongs, lambda n: send({"type": "websocket.send", "text": json.dumps({"n": n})})
    finally:
        child.terminate()
        child.wait()
        server.should_exit = True
        await serving


async def first_event(runtime: Runtime, root: Path, pongs: Pongs) -> float:
    """Return the seconds from a load, which spawns the worker, to the answer to its first event."""
    started = time.perf_counter()
    await runtime.load(root)
    await pongs.of(0, lambda: runtime.publish("bench.ping", {"n": 0}))
    return time.perf_counter() - started


async def in_process(home: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Measure with the runtime in this process, in turn with the bare thing."""
    uv, head = find_uv_bin(), uv_head()
    plain = capability(home / "plain", sys.executable, "dnworker")
    under_uv = capability(home / "uv", uv, "dnworker", head=head)
    (home / "imports.py").write_text(head + IMPORTS)
    bare_uv = (uv, "run", "--script", str(home / "imports.py"))
    imports(*bare_uv)  # uv makes the environment once
    found: dict[str, tuple[list[float], list[float]]] = {
        key: ([], []) for key in ("child-spawn", "child-spawn-uv", "child-answer")
    }
    pongs = Pongs()
    async with Runtime(port=0) as runtime, bare_pair() as (bare, ask):
        runtime.bus.tap(lambda event: pongs.take(event.payload["n"]) if event.kind == "bench.pong" else None)
        for turn in range(RUNS + 1):  # the first one warms
            took = [
                (await first_event(runtime, plain, pongs), imports(sys.executable, "-c", IMPORTS)),
                (0.0, 0.0),
                (
                    await pongs.milliseconds(lambda n: runtime.publish("bench.ping", {"n": n})),
                    await bare.milliseconds(ask),
                ),
            ]
            await runtime.unload("bench")
            took[1] = (await first_event(runtime, under_uv, pongs), imports(*bare_uv))
            await runtime.unload("bench")
            for (ours, others), (mine, limit) in zip(found.values(), took, strict=True):
                if turn:
                    ours.append(mine)
                    others.append(limit)
    return found


async def measure(url: str) -> tuple[float, float, int]:
    """Return seconds from spawn to first answer, milliseconds a round trip, and events lost, of a server."""
    async with RuntimeClient(url, auth_token=TOKEN) as client:
        pongs, seen, trips, number = Pongs(), set[int](), list[float](), 0

        async def take() -> None:
            async for event in client.subscribe("bench.pong"):
                seen.add(event.payload["n"])
                pongs.take(event.payload["n"])

        taking = asyncio.create_task(take())
        async with asyncio.timeout(60):
            while not seen:  # until the stream is open and the worker is there
                await client.publish("bench.ping", {"n": -1})
                await asyncio.sleep(0.05)
        seen.clear()
        await client.reload_capabilities()  # the answer comes when the process was spawned
        started = time.perf_counter()
        async with asyncio.timeout(60):
            while not seen & {*range(number)}:
                await client.publish("bench.ping", {"n": number})
                number += 1
                await asyncio.sleep(0.02)
        first = time.perf_counter() - started
        await asyncio.sleep(1.0)
        lost = number - len(seen & {*range(number)})
        trips.append(await pongs.milliseconds(lambda n: client.publish("bench.ping", {"n": n})))
        taking.cancel()
        await asyncio.wait({taking})
        return first, median(trips), lost


def beside_the_reference(home: Path) -> dict[str, float]:
    """Measure ours with a dnworker child, and the reference with a child of the SDK."""
    ours = capability(home / "ours", sys.executable, "dnworker")
    theirs = capability(home / "theirs", str(reference_python()), "dreadnode.capabilities.worker")
    with serve_ours(ours) as (url, _, _), serve_reference(theirs) as (other, _, _):
        taken = [(asyncio.run(measure(url)), asyncio.run(measure(other))) for _ in range(3)]
    mine, reference = zip(*taken, strict=True)
    return {
        "served_spawn_to_first_answer_s": median([m[0] for m in mine]),
        "reference_spawn_to_first_answer_s": median([m[0] for m in reference]),
        "served_round_trip_ms": median([m[1] for m in mine]),
        "reference_round_trip_ms": median([m[1] for m in reference]),
        "events_lost_after_spawn": max(m[2] for m in mine),
        "reference_events_lost": max(m[2] for m in reference),
    }


def main() -> None:
    """Measure with a runtime in this process, then as servers."""
    # uv's environment has what dnworker needs, and takes dnworker itself from here.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).rstrip(":")
    with tempfile.TemporaryDirectory() as directory:
        os.environ.update(UV_CACHE_DIR=uv_cache(), HOME=directory)
        found = asyncio.run(in_process(Path(directory)))
        others = beside_the_reference(Path(directory)) if has_reference() else {}
    rows = [row(key, *found[key]) for key in found]
    report(what="a Python worker process", rows=rows, **others, runs=RUNS)


if __name__ == "__main__":
    main()
