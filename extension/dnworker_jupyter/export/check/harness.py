"""Runs an export in a runtime of its own and says what it does; a program, run by `checking`.

It reads what to do as JSON from its standard input, and answers in JSON lines: how far it is, and at last
what it saw. Its environment is the one that the export's workers get: with a PATH and a HOME made for it.
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
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.cli.validate import examine
from dnworker.core.envelope import EventEnvelope, decode
from dnworker.core.errors import DnworkerError
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import Runtime
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.registry import keys_of
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.export.check.observe import observe
from dnworker_jupyter.export.disk.uv import forget, provision, python_of, run, uv_script

UP_SECONDS = 120.0
"""Seconds until a worker in Python must be up, with its environment made; the SDK's imports take many."""

PROGRAM_SECONDS = 2.0
"""Seconds in which a program that we know nothing of may end, or say that it listens."""

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
"""How the steps begin that may take as long as they take."""

_FOR_UV = ("INDEX", "FIND_LINKS", "KEYRING", "CONFIG", "INSECURE")
"""In names of uv's variables: what is needed to fetch, and nobody else's business."""

_channel: IO[str] = sys.stdout
"""Where the answers go; what workers in this process print goes elsewhere."""


class Asked(msgspec.Struct):
    """What to do."""

    root: str
    """The capability's directory."""
    workers: list[str]
    """Which of its workers are made of handlers."""
    events: list[str]
    """As JSON texts."""
    sdk: str | None
    """An interpreter that has the reference's SDK."""
    timeout: float
    """Seconds for all that an event causes."""


def say(**fields: Any) -> None:
    """Tell the program that started this one."""
    _channel.write(json.dumps(fields) + "\n")
    _channel.flush()


def tell(waits_for: str, done: int, total: int) -> None:
    """Tell how far it is."""
    say(step=waits_for, done=done, total=total)


async def try_out(asked: Asked) -> dict[str, Any]:
    """Return what the SDK says of the export, its workers, and what they did with the events."""
    root = Path(asked.root)
    manifest = load_manifest(root)
    scripts = [script for w in manifest.workers.values() if (script := uv_script(root, w)) is not None]
    try:
        return await _try_out(asked, root, manifest, scripts)
    finally:
        for script in scripts:
            await forget(script)


async def _try_out(
    asked: Asked, root: Path, manifest: CapabilityManifest, scripts: list[Path]
) -> dict[str, Any]:
    for number, script in enumerate(scripts):
        tell(f"{WAITS_FOR_UV} to make the environment of {script.name}", number, len(scripts))
        if (problem := await provision(script)) is not None:
            return {"environment": f"{script.name}: {problem}"}
    for name in [n for n in os.environ if n.startswith("UV_") and any(part in n for part in _FOR_UV)]:
        del os.environ[name]
    sdk = asked.sdk or await sdk_of(scripts)
    answer: dict[str, Any] = {"problems": (await examine(root, strict=False))["problems"]}
    answer["sdk"] = None if sdk is None else await ask_sdk(sdk, root)
    if scripts:
        os.environ["UV_OFFLINE"] = "1"  # what they need is there: what is missing now was not declared
    os.environ["DNWORKER_OBSERVE"] = "1"
    flags = {manifest.name: dict.fromkeys(manifest.flags, True)}
    async with Runtime(port=0, flags=flags) as runtime:
        tell(f"waiting for {', '.join(manifest.workers)} to start", 0, len(manifest.workers))
        capability = await runtime.load(root)  # which waits for those in-process
        workers = list(capability.workers.values())
        for number, worker in enumerate(workers):
            tell(f"waiting for {worker.name} to start", number, len(workers))
            await until_up(worker, UP_SECONDS if worker.name in asked.workers else PROGRAM_SECONDS)
        events: list[EventEnvelope] = [decode(text.encode()) for text in asked.events]
        seen = await observe(runtime, events, tell, timeout=asked.timeout)
        answer |= {"seen": seen.events, "aside": seen.aside}
        answer["workers"] = {worker.name: described(worker) for worker in workers}
        tell("stopping the workers", len(events), len(events))
    return answer


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
    """Have the SDK load the capability; returns what it says, or its error."""
    tell("waiting for the SDK to load the capability", 0, 1)
    try:
        code, said = await run(python, "-c", SDK_PROGRAM, str(root))
    except OSError as exc:
        return {"error": f"{python} cannot be run: {exc.strerror}"}
    lines = said.strip().splitlines() or [f"it ended with code {code}"]
    if code == 0:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    return {"error": lines[-1]}


async def until_up(worker: ManagedWorker, limit: float) -> None:
    """Return when a worker is up, has ended, or has had its time."""
    starting = (WorkerState.LOADING, WorkerState.STARTING, WorkerState.RUNNING)
    deadline = time.monotonic() + limit
    # A state, a report, a connection or the end of its startup may end the wait.
    while worker.state in starting and not is_up(worker) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def is_up(worker: ManagedWorker) -> bool:
    """Tell whether a worker has started up and hears its events."""
    if not isinstance(worker, SubprocessWorker):
        return worker.state is WorkerState.RUNNING
    if not worker.remote.reports:
        return worker.connected.is_set()
    listens = worker.connected.is_set() or not any(key[0] == "on_event" for key in worker.stats)
    startup = [f for key, f in worker.stats.items() if key[0] == "on_startup"]
    return listens and all(f.calls and not f.in_flight and not f.errors for f in startup)


def described(worker: ManagedWorker) -> dict[str, Any]:
    """Return a worker's state, its handlers as far as they are known, and its last words."""
    handlers: list[HandlerKey] | None = None
    said: list[str] = []
    if isinstance(worker, InProcessWorker):
        handlers = keys_of(worker.worker) if worker.worker is not None else None
    elif isinstance(worker, SubprocessWorker):
        handlers = list(worker.stats) if worker.remote.reports else None
        said = worker.detail()["process"]["recent_output"][-10:]
    return {
        "state": str(worker.state),
        "error": worker.error,
        "up": is_up(worker),
        "topology": worker.topology_label,
        "handlers": handlers,
        "said": said,
    }


def main() -> int:
    """Do what is asked; SIGTERM, and the end of whoever asked, end it in order, with its workers."""
    global _channel
    asked = msgspec.json.decode(_first_line(), type=Asked)
    _channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what handlers and their programs write is no answer
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_told_to_end(asked))
    return 0


async def _until_told_to_end(asked: Asked) -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    threading.Thread(target=_wait_for_end, args=(loop, task.cancel), daemon=True).start()
    try:
        result = await try_out(asked)
    except DnworkerError as exc:
        result = {"error": str(exc)}
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    say(result=result)  # here already: a thread that a handler left behind may hold up what follows


def _first_line() -> bytes:
    """Read a line from standard input; not through a buffer, which a thread could not share at the end."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 1 << 16)):
        line += more
    return line


def _wait_for_end(loop: asyncio.AbstractEventLoop, cancel: Callable[[], object]) -> None:
    """Cancel when standard input ends: whoever asked is gone."""
    while os.read(0, 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: it is over anyway
        loop.call_soon_threadsafe(cancel)


if __name__ == "__main__":
    sys.exit(main())
