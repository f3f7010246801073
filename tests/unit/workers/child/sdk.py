"""A stand-in for the reference's SDK: the names and shapes that are observed, and a runtime that is a list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dnworker.workers.reports import Report, ReportReader, Says
from dnworker.workers.subprocess_worker import CHILD_HOOK

WORD = "0123456789abcdef"

WORKER = """
import asyncio, contextlib, sys, traceback
from dataclasses import dataclass

@dataclass
class ScheduleSpec:
    interval_seconds: float | None = None
    cron_expr: str | None = None

class Worker:
    def __init__(self, name=None):
        self.name = name
        self._startup_handlers, self._shutdown_handlers, self._task_handlers = [], [], []
        self._event_handlers, self._every_handlers = {}, []

    def on_startup(self, fn):
        self._startup_handlers.append(fn)
        return fn

    def on_shutdown(self, fn):
        self._shutdown_handlers.append(fn)
        return fn

    def on_event(self, kind):
        def decorator(fn):
            self._event_handlers.setdefault(kind, []).append(fn)
            return fn
        return decorator

    def every(self, *, seconds):
        def decorator(fn):
            self._every_handlers.append((ScheduleSpec(seconds), fn))
            return fn
        return decorator

    def task(self, fn):
        self._task_handlers.append(fn)
        return fn

    def run(self):
        asyncio.run(self._run_until(None))

    async def _run_until(self, stop):
        from dreadnode.app.client.runtime_client import RuntimeClient
        from dreadnode.capabilities.worker_runner import run
        client = RuntimeClient()
        try:
            await run(self, client)
        finally:
            await client.close()
"""

RUNNER = """
import asyncio, sys, traceback

def warn(text):
    lines = [f"2026-01-01 00:00:00.000 | WARNING  | dreadnode.capabilities.worker_runner:run:1 - {text}"]
    sys.stderr.write("\\n".join([*lines, traceback.format_exc()]))

async def run(worker, client):
    import __main__
    for handler in worker._startup_handlers:
        async with client.session_group("startup", kind="worker_run", worker=worker.name):
            await handler(client)
    for handler in worker._task_handlers:
        try:
            await handler(client)
        except Exception:
            warn("task crashed")
    for event in getattr(__main__, "EVENTS", []):
        await asyncio.gather(*(one(client, handler, event) for handler in worker._event_handlers[event.kind]))
    for handler in worker._shutdown_handlers:
        async with client.session_group("shutdown", kind="worker_run", worker=worker.name):
            await handler(client)

async def one(client, handler, event):
    try:
        async with client.session_group(event.kind, kind="worker_run", worker="w"):
            await handler(event, client)
    except Exception:
        warn("event handler error")
"""

CLIENT = """
from contextlib import asynccontextmanager

class URL:
    netloc = b"127.0.0.1:1"

class Request:
    def __init__(self):
        self.headers, self.url = {}, URL()

class _RuntimeTokenAuth:
    def auth_flow(self, request):
        yield request

class RuntimeClient:
    @asynccontextmanager
    async def session_group(self, title, **fields):
        yield None

    async def close(self):
        pass

    def headers_of_a_request(self):
        return next(_RuntimeTokenAuth().auth_flow(Request())).headers
"""

HEAD = """
import asyncio, os, sys
from types import SimpleNamespace
from dreadnode.capabilities.worker import Worker

worker = Worker(name="w")

def event(kind, number, **payload):
    return SimpleNamespace(event_id=f"{number:032x}", kind=kind, payload=payload)
"""

TAIL = """
if __name__ == "__main__":
    worker.run()
"""


def write_sdk(root: Path, **files: str) -> Path:
    """Write the SDK into a directory, with other texts for some of its files."""
    texts = {"capabilities/worker.py": WORKER, "capabilities/worker_runner.py": RUNNER}
    texts |= {"app/client/runtime_client.py": CLIENT}
    for name, text in texts.items():
        path = root / "dreadnode" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(path.stem, text))
    for package in ("", "capabilities", "app", "app/client"):
        (root / "dreadnode" / package / "__init__.py").touch()
    return root


class Child:
    """What a worker process said: its reports, and its text without them."""

    def __init__(self, code: int, output: bytes) -> None:
        self.code = code
        self.output = output
        reader = ReportReader(WORD)
        pieces = [*reader.feed(output), reader.rest()]
        self.text = b"".join(one for one in pieces if isinstance(one, bytes)).decode()
        self.reports: list[Report] = [one for one in pieces if not isinstance(one, bytes)]
        self.pieces = pieces

    def of(self, *kinds: type) -> list[Report]:
        """Return the reports of these kinds."""
        return [one for one in self.reports if isinstance(one, kinds)]

    def owners(self) -> dict[str, Says]:
        """Return whose each line of its text is."""
        found, says = {}, Says()
        for piece in self.pieces:
            if isinstance(piece, Says):
                says = piece
            elif isinstance(piece, bytes):
                found |= dict.fromkeys(piece.decode().splitlines(), says)
        return found


def run(
    root: Path, script: str, *, observed: bool = True, python: tuple[str, ...] = (), **environ: str
) -> Child:
    """Run a script as a worker process whose output is one pipe, as the runtime does."""
    (root / "w.py").write_text(HEAD + script + TAIL)
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(CHILD_HOOK), str(root)]),
        "CAPABILITY_ROOT": str(root),
        "DREADNODE_RUNTIME_URL": "http://127.0.0.1:1",
        "DNWORKER_REPORTS": WORD,
        "DNWORKER_LOCALS": "1",
        "DNWORKER_OBSERVE": "1" if observed else "0",
        **environ,
    }
    done = subprocess.run(
        [sys.executable, *python, str(root / "w.py")],
        env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
    )  # fmt: skip
    return Child(done.returncode, done.stdout)
