"""Attacks on the life of workers: operations beside each other, and processes that fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.attack.attack import Scale, attack
from tests.attack.history_world import processes_of
from tests.attack.served import Served, make_capability, serving

WORKER = """
import asyncio, os
from dnworker import Worker
worker = Worker("echo")

@worker.on_event("ping")
async def ping(event, client):
    await client.publish("pong", {"n": event.payload["n"], "pid": os.getpid()})

@worker.on_shutdown
async def end(client):
    await asyncio.sleep(0.2)

if __name__ == "__main__":
    worker.run()
"""

COUNTER = """
import json
from dnworker import Worker
worker = Worker("counter")
seen = {}

@worker.on_event("pong")
async def pong(event, client):
    n = str(event.payload["n"])
    seen[n] = seen.get(n, 0) + 1

@worker.on_event("report")
async def report(event, client):
    await client.create_session(capability="counter", session_id="report")
    await client.set_session_title("report", json.dumps(seen))
"""


async def restart(served: Served, *, force: bool) -> httpx.Response:
    """Ask for a restart of the worker; 404 and 409 are answers, too."""
    return await served.client.post("/api/workers/demo/echo/restart", params={"force": force})


async def until_running(served: Served) -> Any:
    """Return the worker's detail once it runs."""
    async with asyncio.timeout(60):
        while (detail := await served.detail("demo:echo"))["state"] != "running":
            await asyncio.sleep(0.02)
        return detail


async def race(served: Served, number: int) -> Counter[int]:
    """Reload, and restart beside it, in an order that varies; returns the status codes."""

    async def late(seconds: float, request: Any) -> httpx.Response:
        await asyncio.sleep(seconds)
        answer: httpx.Response = await request
        return answer

    gap = (number % 8) * 0.04
    answers = await asyncio.gather(
        served.client.post("/api/reload"),
        late(gap, restart(served, force=True)),
        late(gap, restart(served, force=False)),
        late(2 * gap, restart(served, force=True)),
    )
    return Counter(answer.status_code for answer in answers)


async def doubled(served: Served, runtime_id: str, rounds: int) -> tuple[int, Counter[int]]:
    """Return after how many races there were two of the worker, and all status codes."""
    twice, codes = 0, Counter[int]()
    for number in range(rounds):
        codes += await race(served, number)
        detail = await until_running(served)
        leaders = [pid for pid, group, _ in processes_of(runtime_id) if pid == group]
        expected = [detail["process"]["pid"]] if detail["kind"] == "subprocess" else []
        twice += leaders != expected
    return twice, codes


@attack(limit=400)
async def a_restart_beside_a_reload_of_a_process(scale: Scale) -> str:
    """A process that is restarted while it is reloaded is there once."""
    root = make_capability(
        scale.directory / "cap",
        f"echo: {{command: {sys.executable}, args: [echo.py]}}",
        {"echo.py": "import time; time.sleep(3600)\n"},
    )
    rounds = scale.of(40, 4)
    async with serving(scale.directory, root) as served:
        runtime_id = (await served.get("/api/runtime"))["runtime_id"]
        twice, codes = await doubled(served, runtime_id, rounds)
        files = served.open_files()
        assert twice == 0, f"after {twice} of {rounds} races there were two processes of one worker"
        assert set(codes) <= {200, 409}, f"answers {dict(codes)}"
        assert await served.stop() == 0
        assert not [*processes_of(runtime_id)], "processes outlive the runtime"
    return f"one process after each of {rounds} races, {files} open files, answers {dict(codes)}"


@attack(limit=400)
async def a_restart_beside_a_reload_in_process(scale: Scale) -> str:
    """A worker of the runtime's process that is restarted while it is reloaded handles each event once."""
    demo = make_capability(scale.directory / "cap", "echo: {path: echo.py}", {"echo.py": WORKER})
    counter = make_capability(
        scale.directory / "counter", "counter: {path: counter.py}", {"counter.py": COUNTER}, name="counter"
    )
    rounds = scale.of(40, 4)
    async with serving(scale.directory, demo, counter) as served:
        for number in range(rounds):
            await race(served, number)
            await until_running(served)
            await until_counter(served)
            await served.publish("ping", {"n": number})
            await served.publish("report")
            seen = await counted(served, str(number))
            assert seen == 1, f"after race {number} an event was handled {seen} times"
    return f"each event handled once after each of {rounds} races"


async def until_counter(served: Served) -> None:
    """Return when the counting worker runs, too: a reload restarts it."""
    async with asyncio.timeout(60):
        while (await served.detail("counter:counter"))["state"] != "running":
            await asyncio.sleep(0.02)


async def counted(served: Served, key: str) -> int:
    """Return how often the answer to an event was seen, by the title that the counting worker has given."""
    async with asyncio.timeout(30):
        while True:
            await served.publish("report")
            answer = await served.client.get("/api/sessions/report")
            title = str(answer.json().get("title") or "{}") if answer.status_code == 200 else "{}"
            seen: dict[str, int] = json.loads(title)
            if key in seen:
                await asyncio.sleep(
                    0.1
                )  # a second answer would come at the same time; the next race shows it, too
                return seen[key]
            await asyncio.sleep(0.02)


@attack(limit=900)
async def histories(scale: Scale) -> str:
    """Random operations beside each other leave one of each worker, and nothing behind."""
    operations, seeds = scale.of(300, 15), range(3)
    project = Path(__file__).parents[2]
    runs = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.attack.history",
            "--seed",
            str(seed),
            "--operations",
            str(operations),
            cwd=project,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        for seed in seeds
    ]
    try:
        outputs = [(await run.communicate())[0].decode() for run in runs]
    finally:
        for run in runs:
            if run.returncode is None:
                os.killpg(run.pid, signal.SIGKILL)
                await run.wait()
    failed = [text for run, text in zip(runs, outputs, strict=True) if run.returncode != 0]
    assert not failed, "\n".join(failed)
    return f"{len(seeds)} seeds of {operations} operations"


@attack(limit=120)
async def a_process_that_always_fails_is_given_up(scale: Scale) -> str:
    """With --restart on-failure a process that fails is started again, with waits, and then given up."""
    root = make_capability(
        scale.directory / "cap",
        "echo: {command: sh, args: [-c, 'echo started >> runs; exit 3']}\n"
        "sleeper: {command: sh, args: [-c, 'exec sleep 3600']}",
        {},
    )
    most = scale.of(4, 2)
    options = ("--restart", "on-failure", "--max-restarts", f"{most}/60s")
    began, waits = time.monotonic(), set[str]()
    async with serving(scale.directory, root, *options) as served:
        async with asyncio.timeout(60):
            while "given up" not in ((detail := await served.detail("demo:echo"))["error"] or ""):
                info = await served.get("/api/runtime")
                (component,) = [c for c in info["capabilities"][0]["components"] if c["name"] == "echo"]
                waits.add(component["detail"] or "")
                await asyncio.sleep(0.02)
        took = time.monotonic() - began
        starts = (root / "runs").read_text().count("started")
        assert starts == most + 1, f"it was started {starts} times"
        assert detail["state"] == "error", detail
        assert detail["process"]["restarts"] == most, detail
        assert took >= 2**most - 1, f"{most} restarts took only {took:.1f} s"
        told = [one for one in waits if one.startswith("restarts in")]
        assert told, f"health never said when it restarts: {waits}"
        assert (await restart(served, force=False)).json()["restarted"]
        pid = (await served.detail("demo:sleeper"))["process"]["pid"]
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while (now := await served.detail("demo:sleeper"))["process"]["pid"] == pid or now[
                "state"
            ] != "running":
                await asyncio.sleep(0.02)
        assert now["process"]["restarts"] == 1, now
        code = await served.stop()
        assert code == 0, f"exit code {code}"
    return f"given up after {most} restarts in {took:.1f} s; a killed process came back"
