"""Attacks by servers of MCP: whatever they write, the runtime's memory stays flat and its workers go on."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dnworker import RuntimeClient, TurnFailedError
from dnworker.testing import Calls, ModelServer, Says
from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

MOST_MIB = 300
"""Resident memory of the runtime at most, in MiB: 60, the library of models, and images of turns in copies."""

CHILD_MIB = 300
"""Resident memory of a host or a server at most; the library of MCP takes 60."""

WORKER = """
from dnworker import Worker
worker = Worker("victim")
worker.state["ticks"] = 0

@worker.on_event("ping")
async def ping(event, client):
    await client.publish("pong", {"ticks": worker.state["ticks"], "at": event.payload["at"]})

@worker.every(seconds=0.05)
async def tick(client):
    worker.state["ticks"] += 1
"""

AGENT = "---\nname: eye\ndescription: d\n---\nDo what is said.\n"

SERVER = r"""
import base64, json, os, sys, time

MODE = sys.argv[1]
OUT = sys.stdout.buffer
DO = {"name": "do", "description": "Do it", "inputSchema": {"type": "object", "properties": {}}}
CALLS = 0

def deep(levels):
    schema = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema

def send(message):
    OUT.write(json.dumps(message).encode() + b"\n")
    OUT.flush()

def answer(request, result):
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})

def tools(request):
    listed = [DO]
    if MODE == "odd-tools":
        cyclic = {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}},
                  "$defs": {"a": {"type": "object", "properties": {"y": {"$ref": "#/$defs/a"}}}}}
        listed += [{**DO, "name": name} for name in ("a\x1b[31mb", "a\u202eb", "a\nb", "\x00", "n" * 1_000_000)]
        listed += [{**DO, "name": "long", "description": "d" * 2_000_000},
                   {**DO, "name": "cyclic", "inputSchema": cyclic},
                   {**DO, "name": "deep", "inputSchema": deep(80)},
                   {**DO, "name": "wide", "inputSchema": {"type": "object", "description": "w" * 500_000}}]
    if MODE == "wrong-list":
        listed = [{**DO, "inputSchema": {"type": "object", "properties": [1, 2]}}]
    if MODE == "deep-list":
        text = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"tools": [{**DO, "inputSchema": "X"}]}})
        OUT.write(text.replace('"X"', '{"a":' * 100_000 + "1" + "}" * 100_000).encode() + b"\n")
        OUT.flush()
        return
    if MODE == "restless":
        listed = [DO, {**DO, "name": f"t{time.monotonic_ns()}"}]
    answer(request, {"tools": listed})
    if MODE == "restless":
        for _ in range(100):
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})

def call(request):
    global CALLS
    CALLS += 1
    done = {"content": [{"type": "text", "text": "done"}]}
    whole = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": done}).encode() + b"\n"
    match MODE:
        case "endless-line":
            while True:
                OUT.write(b"x" * 1_000_000)
        case "endless-lines":
            line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"flood"}}\n'
            while True:
                OUT.write(line * 1000)
        case "endless-answers":
            while True:
                OUT.write(b'{"jsonrpc":"2.0","id":123456789,"result":{"content":[]}}\n' * 1000)
        case "endless-garbage":
            while True:
                OUT.write(b'{"jsonrpc": "2.0", "id": \xff\x00}\n' * 1000)
        case "slow-drip":
            for byte in whole * 1_000_000:
                OUT.write(bytes([byte]) if byte != 10 else b" ")
                OUT.flush()
                time.sleep(0.02)
        case "unknown-ids":
            for number in range(20_000):
                send({"jsonrpc": "2.0", "id": 10_000_000 + number, "result": done})
            for odd in ("x", -1, 1.5, None, [1], {"a": 1}, True, 10**400):
                send({"jsonrpc": "2.0", "id": odd, "result": done})
        case "many-answers":
            OUT.write(whole * 5_000)
        case "half-answer":
            OUT.write(whole[: len(whole) // 2])
            OUT.flush()
            os._exit(0)
        case "deep-answer":
            for opened, closed in (("[", "]"), ('{"a":', "}")):
                text = opened * 200_000 + "1" + closed * 200_000
                for before in ('{"jsonrpc":"2.0","method":"m","params":', '{"jsonrpc":"2.0","id":77,"result":', ""):
                    OUT.write(f"{before}{text}{'}' if before else ''}\n".encode())
        case "huge-answer":
            text = "x" * 64_000_000
            answer(request, {"content": [{"type": "text", "text": text}]})
            return
        case "images":
            image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(2_900_000)).decode()
            answer(request, {"content": [{"type": "image", "mimeType": "image/png", "data": image}]})
            return
        case "many-images":
            image = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
            parts = [{"type": "image", "mimeType": "image/png", "data": image}] * 5_000
            answer(request, {"content": parts})
            return
    OUT.write(whole)
    OUT.flush()

for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            info = {"name": "hostile", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": True}}, "serverInfo": info}
            answer(message, result)
        case "tools/list":
            tools(message)
        case "tools/call":
            call(message)
"""

ANSWERS = {
    "unknown-ids": "done",
    "many-answers": "done",
    "deep-answer": "nested too deeply",
    "odd-tools": "done",
    "half-answer": "it exited with code 0",
    "huge-answer": "MCPToolError: the answer has 64,000,",
    "many-images": "4980 images are left out",
    "images": "[image image/png: 2,900,008 bytes]",
}
"""What the model is told of a call, by the server; of the others it waits until the turn is cancelled."""

ENDLESS = ["endless-line", "endless-lines", "endless-answers", "endless-garbage", "slow-drip"]
FAILING = ["deep-list", "wrong-list"]
OTHERS = ["restless", *FAILING]
MODES = [*ANSWERS, *ENDLESS, *OTHERS]

REPEATED = 8
"""Calls of the turn with images, each of 3 MB."""


def _model(body: dict[str, Any]) -> Calls | Says:
    """Call the tool that the user names; then say what came of it, of images after several."""
    said = [m for m in body["messages"] if m["role"] in ("user", "tool")]
    name = next(m["content"] for m in body["messages"] if m["role"] == "user")
    results = [str(m["content"]) for m in said if m["role"] == "tool"]
    if len(results) < (REPEATED if name == "demo__images__do" else 1):
        return Calls(name, {})
    if name == "demo__many_images__do":
        return Says(f"{results[-1].count('not given to models')} images are left out")
    return Says(results[-1][:300])


def _write(root: Path) -> Path:
    files = {"victim.py": WORKER, "hostile.py": SERVER, "agents/eye.md": AGENT}
    make_capability(root, "victim: {path: victim.py}", files)
    servers = {
        mode: {"command": sys.executable, "args": ["hostile.py", mode], "init_timeout": 20} for mode in MODES
    }
    with (root / "capability.yaml").open("a") as manifest:
        manifest.write(f"mcp: {json.dumps({'servers': servers})}\n")
    return root


def _children(pid: int) -> dict[int, str]:
    """Return the processes below one, with their commands."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, look = dict[int, str](), {pid}
    while look:
        look = {child for child, parent in parents.items() if parent in look}
        for child in look:
            try:
                found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    return found


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)


class _Pulse:
    """Fires pings; `longest` is the most seconds without an answer."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.ticks: list[int] = []

    async def fire(self, client: RuntimeClient) -> None:
        while True:
            await client.publish("ping", {"at": 0})
            await asyncio.sleep(0.1)

    async def read(self, client: RuntimeClient) -> None:
        last = time.monotonic()
        async for event in client.subscribe("pong"):
            self.ticks += [event.payload["ticks"]] if event.kind == "pong" else []
            self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()


@asynccontextmanager
async def _beating(client: RuntimeClient) -> AsyncIterator[_Pulse]:
    pulse = _Pulse()
    tasks = [asyncio.create_task(pulse.fire(client)), asyncio.create_task(pulse.read(client))]
    try:
        async with asyncio.timeout(20):
            while not pulse.ticks:
                await asyncio.sleep(0.05)
        yield pulse
        ended = [str(task.exception()) for task in tasks if task.done()]
        assert not ended, f"the pulse has ended: {ended}"
        count = len(pulse.ticks)
        async with asyncio.timeout(10):
            while len(pulse.ticks) == count:
                await asyncio.sleep(0.05)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connected(served: Served) -> None:
    """Wait until each server is connected, or has failed to be."""
    async with asyncio.timeout(120):
        while True:
            states = {mode: (await served.get(f"/api/mcp/demo/{mode}"))["status"] for mode in MODES}
            if "connecting" not in states.values():
                break
            await asyncio.sleep(0.1)
    wrong = {mode: state for mode, state in states.items() if (state == "connected") is (mode in FAILING)}
    assert not wrong, f"servers are not connected: {wrong}"


async def _turn(client: RuntimeClient, mode: str, number: int) -> str:
    session = f"{mode}-{number}"
    await client.create_session(session_id=session, capability="demo", agent="eye")
    try:
        async with asyncio.timeout(8 if mode in ENDLESS else 100):
            return str(
                (await client.run_turn(session_id=session, message=f"demo__{mode.replace('-', '_')}__do"))[
                    "response_text"
                ]
            )
    except TimeoutError:
        await client.cancel_session(session)
        return "(cancelled)"
    except TurnFailedError as exc:
        return f"(failed: {exc})"


async def _odd_tools(served: Served) -> None:
    """Check what is said of tools that models cannot be given, and that nothing in it is raw."""
    found = await served.get("/api/mcp/demo/odd-tools")
    names = [tool["name"] for tool in found["tools"]]
    assert names == ["do", "long", "cyclic"], f"these are offered: {names}"
    text = found["detail"]
    assert text.startswith("7 tools are not offered: a\\x1b[31mb: "), text[:500]
    assert text.replace("\n", "").isprintable(), f"{text!r:.500} has control characters"
    size = len(json.dumps(found))
    assert size < 100_000, f"the detail of a server has {size:,} bytes"


def _check_costs(served: Served, pulse: _Pulse, children: dict[int, str]) -> float:
    """Check what it has cost; returns the most memory of a child, in MiB."""
    largest = max(map(_peak_mib, children))
    peak = served.peak_mib()
    assert peak < MOST_MIB, f"the runtime has had {peak:.0f} MiB"
    assert largest < CHILD_MIB, f"a child has had {largest:.0f} MiB"
    assert pulse.longest < 10, f"a handler's answer took {pulse.longest:.1f} s"
    assert pulse.ticks[-1] > pulse.ticks[0] + 20, "the worker's schedule stands still"
    return largest


async def _round(client: RuntimeClient, number: int) -> int:
    """Call each server once, all at a time; returns how many calls there were."""
    called = [*ANSWERS, *ENDLESS]
    ends = await asyncio.gather(*(_turn(client, mode, number) for mode in called))
    for mode, end in zip(called, ends, strict=True):
        wanted = ANSWERS.get(mode, "(cancelled)")
        assert wanted in end, f"{mode}: {end[:300]!r} has no {wanted!r}"
    return len(called)


async def _all_ended(children: dict[int, str]) -> None:
    deadline = time.monotonic() + 20
    while left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"these processes are left: {[children[pid] for pid in left]}"
        await asyncio.sleep(0.1)


@attack(limit=280)
async def hostile_servers(scale: Scale) -> str:
    """Servers that flood, drip, lie, break off and describe tools that cannot be hold up nobody."""
    root = _write(scale.directory / "demo")
    calls, sizes = 0, list[float]()
    async with ModelServer(_model) as model:
        environ = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "k", "DNWORKER_MODEL": "x-1"}
        async with serving(scale.directory, root, environ=environ) as served:
            async with (
                RuntimeClient(served.url, auth_token=served.token) as client,
                _beating(client) as pulse,
            ):
                await _connected(served)
                await _odd_tools(served)
                for number in range(scale.of(10, 1)):
                    await served.post("/api/mcp/demo/half-answer/reconnect")  # it is given up after a while
                    calls += await _round(client, number)
                    sizes.append(served.rss_mib())
                children = _children(served.pid)
                largest, peak = _check_costs(served, pulse, children), served.peak_mib()
            assert await served.stop(within=30) == 0
    await _all_ended(children)
    return (
        f"{len(MODES)} servers, {calls} calls: at most {peak:.0f} MiB in the runtime, {sizes[0]:.0f} after the "
        f"first round and {sizes[-1]:.0f} after the last, {largest:.0f} in a child, a handler's answer within "
        f"{pulse.longest:.1f} s"
    )
