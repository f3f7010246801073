"""The same calls by both clients against both runtimes, compared field by field with the reference's own pair."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dnworker.testing import Calls, ModelServer, Refuses, Says, Waits

from ..ports import free_port
from .environment import LIMIT, reference_python
from .known import DIFFERENCES

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
TOKEN = "interop-token"

MANIFEST = """schema: 1
name: interop
version: 0.1.0
description: Interop
flags:
  gate: {description: opens the gated worker}
workers:
  echo: {path: echo.py}
  gated: {path: gated.py, when: [gate]}
checks:
  - {name: ok, command: "true"}
  - {name: bad, command: "echo nope >&2; exit 3"}
"""
ECHO = """
from dreadnode.capabilities.worker import Worker
worker = Worker(name="echo")

@worker.on_startup
async def start(client): ...

@worker.on_event("interop.ping")
async def ping(event, client):
    await client.publish("interop.pong", event.payload)
"""


def answer(body):
    """Answer as the last message of the user asks to; the reference first probes whether tools are known."""
    if any(tool["function"]["name"] == "test_function" for tool in body.get("tools") or ()):
        return Calls("test_function", {})
    said = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
    text = said if isinstance(said, str) else json.dumps(said)
    if "fail" in text:
        return Refuses(400, "provider said no")
    if "slow" in text:
        return Waits()
    return Says("you said ", text[-1])


def write_capability(root: Path) -> Path:
    for name, text in {
        "capability.yaml": MANIFEST,
        "echo.py": ECHO,
        "gated.py": ECHO.replace('"echo"', '"gated"'),
        "agents/echo.md": "---\nname: echo\ndescription: Echo\nmodel: openai/x-1\n---\nYou echo.\n",
        "agents/second.md": "---\nname: second\ndescription: Second\nmodel: openai/x-2\n---\nYou are second.\n",
        "skills/greet/SKILL.md": "---\nname: greet\ndescription: How to greet\n---\nSay hello.\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class Servers:
    """Both runtimes, each in a process of its own, with the same capability and the same model."""

    def __init__(self, directory: Path, model: str) -> None:
        self.directory = directory
        self.environ = {
            **os.environ,
            "DREADNODE_RUNTIME_TOKEN": TOKEN,
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": model,
            "OPENAI_API_BASE": model,
        }
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, port: int) -> str:
        """Start `ours` or `reference`; returns its URL when it is ready."""
        home = self.directory / f"home-{name}"
        home.mkdir(exist_ok=True)
        capability = write_capability(self.directory / f"caps-{name}" / "interop")
        log = (self.directory / f"{name}.log").open("ab")
        environ = {**self.environ, "HOME": str(home)}
        if name == "ours":
            command = [sys.executable, "-m", "dnworker", "serve", "--port", str(port), str(capability)]
        else:
            command = [str(reference_python().parent / "dreadnode"), "serve", "--port", str(port)]
            command += ["--working-dir", str(home)]
            environ["DREADNODE_CAPABILITY_DIRS"] = str(capability.parent)
        self.processes[name] = process = await asyncio.create_subprocess_exec(
            *command, env=environ, cwd=home, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
        )
        log.close()
        url = f"http://127.0.0.1:{port}"
        await until_ready(url, process)
        return url

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End one."""
        process = self.processes.pop(name)
        if process.returncode is None:
            process.kill() if kill else process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def until_ready(url, process):
    import httpx

    async with asyncio.timeout(LIMIT), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None, "the runtime ended before it was ready"
            try:
                if (await client.get(f"{url}/api/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)  # the reference binds its port only after seconds of imports


def interpreter(package: str) -> str:
    return sys.executable if package == "dnworker" else str(reference_python())


async def answers_of(package: str, url: str, prefix: str, directory: Path) -> dict:
    """Run the script by one client against one runtime."""
    process = await asyncio.create_subprocess_exec(
        interpreter(package), str(HERE / "script.py"), package, url, TOKEN, prefix, str(directory),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    line = next((x for x in out.decode().splitlines() if x.startswith("ANSWERS ")), None)
    assert line is not None, err.decode()[-3000:]
    return json.loads(line.removeprefix("ANSWERS "))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """The answers of all four pairs: `(client, runtime)` to step to answer."""
    reference_python()
    directory = tmp_path_factory.mktemp("matrix")

    async def run():
        files = directory / "files"
        (files / "sub").mkdir(parents=True)
        (files / "a.txt").write_text("text")
        (files / "sub" / "b.txt").write_text("more")
        async with ModelServer(answer) as model, AsyncExitStack() as stack:
            servers = Servers(directory, model.base_url)
            for name in ("ours", "reference"):
                stack.push_async_callback(stop_if_running, servers, name)
            urls = dict(
                zip(
                    ("ours", "reference"),
                    await asyncio.gather(*(servers.start(n, free_port()) for n in ("ours", "reference"))),
                    strict=True,
                )
            )
            found = {}

            async def both(runtime):  # one after the other: a reload of one client stops the other's worker
                for client in ("dreadnode", "dnworker"):
                    found[client, runtime] = await answers_of(client, urls[runtime], f"{client[:3]}", files)

            await asyncio.gather(both("ours"), both("reference"))
            return found

    return asyncio.run(run())


async def stop_if_running(servers, name):
    if name in servers.processes:
        await servers.stop(name)


VOLATILE = {
    "event_id": "id",
    "seq": "int",
    "timestamp": "time",
    "created_at": "time",
    "updated_at": "time",
    "session_dir": "path",
    "local_path": "path",
    "skills_paths": "path",
    "turn_id": "id",
    "duration_ms": "int",
    "log_path": "path",
}


def normal(value, prefix):
    """Replace what differs from run to run by what it is."""
    if isinstance(value, dict):
        return {
            k: (VOLATILE[k] if k in VOLATILE and v is not None else normal(v, prefix))
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [normal(item, prefix) for item in value]
    return value.replace(f"{prefix}-", "x-") if isinstance(value, str) else value


def differences(wanted, got, path=""):
    """Yield the places in which two answers differ."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in {**wanted, **got}:
            if key not in got:
                yield f"{path}.{key}", wanted[key], "(missing)"
            elif key not in wanted:
                yield f"{path}.{key}", "(missing)", got[key]
            else:
                yield from differences(wanted[key], got[key], f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for number, (a, b) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(a, b, f"{path}[{number}]")
    elif wanted != got:
        yield path, wanted, got


PAIRS = [("dnworker", "ours"), ("dreadnode", "ours"), ("dnworker", "reference")]


@pytest.mark.parametrize(("client", "runtime"), PAIRS)
@pytest.mark.clause("8.3 methods")
@pytest.mark.clause("9 models")
@pytest.mark.clause("15 client")
def test_every_answer_is_the_references_but_for_the_known_differences(matrix, client, runtime):
    wanted = normal(matrix["dreadnode", "reference"], "dre")
    got = normal(matrix[client, runtime], client[:3])
    found = {path: (a, b) for path, a, b in differences(wanted, got)}
    known = {
        pattern: why
        for (clients, runtimes, pattern), why in DIFFERENCES.items()
        if client in clients and runtime in runtimes
    }
    unknown = {p: pair for p, pair in found.items() if not any(re.fullmatch(k, p) for k in known)}
    assert not unknown, "\n".join(
        f"{p}: the reference {a!r}, this pair {b!r}" for p, (a, b) in unknown.items()
    )
    gone = [k for k in known if not any(re.fullmatch(k, p) for p in found)]
    assert not gone, f"no longer different, take it off the list: {gone}"


async def ticks(client: str, runtime: str, directory: Path):
    """Start a subscriber, restart its runtime, and return the kinds that it saw."""
    async with ModelServer(answer) as model:
        servers, port = Servers(directory, model.base_url), free_port()
        url = await servers.start(runtime, port)
        process = await asyncio.create_subprocess_exec(
            interpreter(client),
            str(HERE / "reconnect.py"),
            client,
            url,
            TOKEN,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            first = await tick_until_seen(url, process)
            await servers.stop(runtime, kill=True)
            await servers.start(runtime, port)
            seen = [first]
            while seen[-1] != "interop.tick" or len(seen) == 1:
                seen.append(await tick_until_seen(url, process))
            return seen
        finally:
            process.kill()
            await process.wait()
            await stop_if_running(servers, runtime)


async def tick_until_seen(url, process):
    """Publish until the subscriber says something; return the kind that it saw."""
    import httpx

    reading = asyncio.ensure_future(process.stdout.readline())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        asyncio.timeout(LIMIT),
        httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http,
    ):
        while not reading.done():
            await http.post("/api/events", json={"kind": "interop.tick"})
            await asyncio.wait({reading}, timeout=0.3)
    return reading.result().decode().split()[1]


@pytest.mark.parametrize(("client", "runtime"), [("dreadnode", "ours"), ("dnworker", "reference")])
@pytest.mark.clause("8.6 subscribe")
@pytest.mark.clause("15 worker")
async def test_a_subscriber_comes_back_after_its_runtime_was_restarted(client, runtime, tmp_path):
    reference_python()
    seen = await ticks(client, runtime, tmp_path)
    kinds = [kind for n, kind in enumerate(seen) if n == 0 or kind != seen[n - 1]]
    assert kinds == ["interop.tick", "transport.reconnected", "interop.tick"]
