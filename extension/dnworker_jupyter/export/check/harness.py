"""Runs an export in a runtime of its own and reports what it does; a program that `sandbox` starts.

It reads a request as JSON from its standard input, and, when it is ready, a scene. It answers in JSON
lines: its steps, and at last its result. Its environment is that of the export's workers, with a PATH and a
HOME made for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.core.errors import DnworkerError
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.examine import examine
from dnworker.engine.output import kept_output
from dnworker.runtime import Runtime
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.registry import keys_of
from dnworker.workers.side_by_side import stop_all
from dnworker.workers.standalone import RUN_SCHEDULES
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.export.check.observe import START_SECONDS as UP_SECONDS
from dnworker_jupyter.export.check.observe import Scene, observe
from dnworker_jupyter.export.disk.uv import forget, provision, python_of, run, uv_script

PROGRAM_SECONDS = 2.0
"""Seconds to wait for a program to end or to connect: nothing says when it is up."""

SDK_PROGRAM = """
import asyncio, json, sys
from importlib.metadata import version
from pathlib import Path
from dreadnode.capabilities import load_capability
manifest = asyncio.run(load_capability(Path(sys.argv[1]))).manifest
workers = sorted(manifest.workers or {})
print(json.dumps({"version": version("dreadnode"), "name": manifest.name, "workers": workers}))
"""


WAITS_FOR_UV = "waiting for uv"
WAITS_FOR_SCENE = "waiting for the notebook"
"""The beginnings of the names of steps that have no time limit."""

_FOR_UV = ("INDEX", "FIND_LINKS", "KEYRING", "CONFIG", "INSECURE")
"""Parts of the names of uv's variables that it needs for fetching, and that workers must not see."""

_channel: IO[str] = sys.stdout
"""Where messages go; standard output is redirected, as workers in this process print there."""


class CheckRequest(msgspec.Struct, frozen=True):
    """What the harness does."""

    root: str
    """The directory of the export."""
    sdk: str | None = None
    """An interpreter that has the reference's SDK."""
    examines: bool = True
    """Whether the manifest is examined, by us and by the SDK."""


def send(**fields: Any) -> None:
    """Send a message to the program that started this one."""
    _channel.write(json.dumps(fields) + "\n")
    _channel.flush()


def report_progress(waits_for: str, done: int, total: int) -> None:
    """Send the step that begins."""
    send(step=waits_for, done=done, total=total)


async def run_export(request: CheckRequest, scene: Callable[[], Awaitable[Scene]]) -> dict[str, Any]:
    """Return what the SDK says of the export, its workers, and what they did in the scene.

    The scene is asked for when all is ready but the workers.
    """
    root = Path(request.root)
    manifest = load_manifest(root)
    scripts = [script for w in manifest.workers.values() if (script := uv_script(root, w)) is not None]
    try:
        if (error := await _make_environments(scripts)) is not None:
            return {"environment": error}
        _forget_index()
        answer = await _validate(request, root, scripts) if request.examines else {}
        if scripts:
            os.environ["UV_OFFLINE"] = "1"  # what is declared is there; what is missing was not declared
        os.environ[RUN_SCHEDULES] = "1"
        report_progress(WAITS_FOR_SCENE, 0, 1)
        return answer | await _run_workers(await scene(), root, manifest)
    finally:
        for script in scripts:
            await forget(script)


async def _make_environments(scripts: list[Path]) -> str | None:
    """Have uv make the environment of each script; returns the first error, if there is one."""
    for number, script in enumerate(scripts):
        report_progress(f"{WAITS_FOR_UV} to make the environment of {script.name}", number, len(scripts))
        if (problem := await provision(script)) is not None:
            return f"{script.name}: {problem}"
    return None


def _forget_index() -> None:
    """Remove what uv needed for fetching from the environment of the workers."""
    for name in [n for n in os.environ if n.startswith("UV_") and any(part in n for part in _FOR_UV)]:
        del os.environ[name]


async def _validate(request: CheckRequest, root: Path, scripts: list[Path]) -> dict[str, Any]:
    """Return the problems of the manifest, and what the reference's SDK says of it."""
    sdk = request.sdk or await sdk_of(scripts)
    problems = (await examine(root)).problems
    return {"problems": problems, "sdk": None if sdk is None else await ask_sdk(sdk, root)}


async def _run_workers(scene: Scene, root: Path, manifest: CapabilityManifest) -> dict[str, Any]:
    """Return the state of the workers, and what they did."""
    flags = {manifest.name: dict.fromkeys(manifest.flags, True)}
    described: dict[str, Any] = {}

    async def start(runtime: Runtime) -> None:
        report_progress(f"waiting for {', '.join(manifest.workers)} to start", 0, len(manifest.workers))
        capability = await runtime.load(root)  # returns once in-process workers are up
        workers = list(capability.workers.values())
        for number, worker in enumerate(workers):
            report_progress(f"waiting for {worker.name} to start", number, len(workers))
            await until_up(worker, UP_SECONDS if worker.name in scene.workers else PROGRAM_SECONDS)
        for worker in workers:
            described[worker.name] = describe(worker)
        # Programs have no counterpart in the notebook's side: what they do must not make handlers run here.
        await stop_all(worker for worker in workers if worker.name not in scene.workers)

    def look(runtime: Runtime) -> list[str]:
        described.update({w.name: describe(w) for w in runtime.workers() if w.name in scene.workers})
        return unhandled

    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(partial(_note_unhandled, unhandled))
    async with Runtime(port=0, flags=flags, telemetry=False) as runtime:
        with kept_output(runtime):
            run = await observe(runtime, scene, start, report_progress, before_stop=lambda: look(runtime))
    return {"run": msgspec.to_builtins(run), "workers": described}


def _note_unhandled(found: list[str], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Note the error of a task that nobody awaited, and go on as the loop would."""
    if isinstance(exc := context.get("exception"), Exception):
        found.append(f"{type(exc).__name__}: {exc}")
    loop.default_exception_handler(context)


async def sdk_of(scripts: list[Path]) -> str | None:
    """Return an interpreter that has the SDK: that of the first script whose environment has it."""
    for script in scripts:
        python = await python_of(script)
        if python is not None:
            code, _ = await run(python, "-c", "import importlib.metadata as m; m.version('dreadnode')")
            if code == 0:
                return python
    return None


async def ask_sdk(python: str, root: Path) -> dict[str, Any]:
    """Have the SDK load the capability; returns its workers, or its error."""
    report_progress("waiting for the SDK to load the capability", 0, 1)
    try:
        code, output = await run(python, "-c", SDK_PROGRAM, str(root))
    except OSError as exc:
        return {"error": f"{python} cannot be run: {exc.strerror}"}
    lines = output.strip().splitlines() or [f"it ended with code {code}"]
    if code == 0:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    return {"error": lines[-1]}


async def until_up(worker: ManagedWorker, limit: float) -> None:
    """Return when a worker is up or has ended, and after `limit` seconds at the latest."""
    starting = (WorkerState.LOADING, WorkerState.STARTING, WorkerState.RUNNING)
    deadline = time.monotonic() + limit
    # A state, a report, a connection or the end of its startup may end the wait: nothing signals all of them.
    while worker.state in starting and not is_up(worker) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def is_up(worker: ManagedWorker) -> bool:
    """Return whether a worker has started up and receives events."""
    if not isinstance(worker, SubprocessWorker):
        return worker.state is WorkerState.RUNNING
    if not worker.remote.reports:
        return worker.connected.is_set()
    listens = worker.connected.is_set() or not any(key.decorator == "on_event" for key in worker.stats)
    startup = [stats for key, stats in worker.stats.items() if key.decorator == "on_startup"]
    return listens and all(s.calls and not s.in_flight and not s.errors for s in startup)


def describe(worker: ManagedWorker) -> dict[str, Any]:
    """Return a worker's state, its handlers as far as they are known, and its last output."""
    handlers: list[HandlerKey] | None = None
    output: list[str] = []
    if isinstance(worker, InProcessWorker):
        handlers = keys_of(worker.worker) if worker.worker is not None else None
    elif isinstance(worker, SubprocessWorker):
        handlers = list(worker.stats) if worker.remote.reports else None
        output = worker.detail()["process"]["recent_output"][-10:]
    return {
        "state": str(worker.state),
        "error": worker.error,
        "up": is_up(worker),
        "topology": worker.topology_label,
        "handlers": handlers,
        "output": output,
    }


def main() -> int:
    """Run one request; SIGTERM and the end of standard input end it in order, with its workers."""
    global _channel
    line, rest = _first_line()
    request = msgspec.json.decode(line, type=CheckRequest)
    _channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of handlers and their programs is no message
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_ended(request, rest))
    return 0


async def _until_ended(request: CheckRequest, rest: bytes) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None, "asyncio.run() runs this in a task"
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    scene: asyncio.Future[Scene] = loop.create_future()
    reader = threading.Thread(target=_read_on, args=(rest, loop, scene, task.cancel), daemon=True)
    reader.start()

    async def the_scene() -> Scene:
        return await scene

    try:
        result = await run_export(request, the_scene)
    except DnworkerError as exc:
        result = {"error": str(exc)}
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    send(result=result)  # before this process ends: a thread of a handler may delay that


def _first_line() -> tuple[bytes, bytes]:
    """Read a line from standard input, unbuffered, and what came behind it: a thread reads on."""
    read = b""
    while b"\n" not in read and (more := os.read(0, 1 << 16)):
        read += more
    line, _, rest = read.partition(b"\n")
    return line, rest


def _read_on(
    read: bytes, loop: asyncio.AbstractEventLoop, scene: asyncio.Future[Scene], cancel: Callable[[], object]
) -> None:
    """Take the scene, the second line; cancel when the input ends: the program that sent it is gone."""
    taken = False
    chunks = [read]
    while True:
        if not taken and b"\n" in chunks[-1]:
            taken = True
            given = msgspec.json.decode(b"".join(chunks).partition(b"\n")[0], type=Scene)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_give, scene, given)
        if not (more := os.read(0, 1 << 16)):
            break
        chunks = [] if taken else chunks
        chunks.append(more)
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(cancel)


def _give(future: asyncio.Future[Scene], scene: Scene) -> None:
    if not future.done():
        future.set_result(scene)


if __name__ == "__main__":
    sys.exit(main())
