"""The world of the history checker: a runtime, its workers, and the operations on them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from dnworker import ManifestError, Runtime, Worker, WorkerState
from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Conflict, NotFound
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.subprocess_worker import SubprocessWorker
from tests.attack.history_plan import Operation

STRICT = True
"""Whether a process must get every event since it was spawned; else since it is known to listen."""

LIMIT = 60.0
"""Seconds after which an operation, or the way to rest, hangs; a machine may be busy."""

HERE = """
from dnworker import Worker
worker = Worker("{name}")
VERSION = {version}

@worker.on_startup
async def begin(client):
    import asyncio
    await asyncio.sleep(0.01)

@worker.on_event("probe")
async def probe(event, client):
    await client.publish("answer", {{"worker": "{name}", "n": event.payload["n"], "version": VERSION}})

@worker.on_event("again.{name}")
async def again(event, client):
    await restart(client, "{name}")

@worker.on_event("peer.{name}")
async def peer(event, client):
    await restart(client, event.payload["peer"])

async def restart(client, name):
    import httpx
    try:
        await client.restart_worker("demo", name, force=True)
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code not in (404, 409):
            raise

@worker.task
async def lives(client):
    import asyncio
    await asyncio.Event().wait()

@worker.on_shutdown
async def end(client):
    import asyncio
    await asyncio.sleep(0.03)

if __name__ == "__main__":
    worker.run()
"""

OTHER = """
import json, os, signal, subprocess, sys, urllib.request
from websockets.sync.client import connect

VERSION = {version}
url, headers = os.environ["DREADNODE_RUNTIME_URL"], {{"Authorization": "Bearer " + os.environ["DREADNODE_RUNTIME_TOKEN"]}}
subprocess.Popen(["sleep", "3600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # a grandchild, which must not outlive it
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with connect(url.replace("http", "ws", 1) + "/api/ws/events?kinds=probe", additional_headers=headers, proxy=None) as socket:
    for text in socket:
        event = json.loads(text)
        body = {{"worker": "other", "n": event["payload"]["n"], "version": VERSION}}
        request = urllib.request.Request(url + "/api/events", json.dumps({{"kind": "answer", "payload": body}}).encode(),
                                         headers | {{"Content-Type": "application/json"}})
        urllib.request.urlopen(request).read()
"""

DEMO = """schema: 1
name: demo
version: 0.1.0
description: d
flags:
  relay: {{description: d, default: true}}
workers:
  here: {{path: here.py}}
  gated: {{path: gated.py, when: [relay]}}
  child: {{command: {python}, args: [child.py]}}
  other: {{command: {python}, args: ["-E", other.py]}}
"""

EXTRA = "schema: 1\nname: {name}\nversion: 0.1.0\ndescription: d\nworkers:\n  extra: {{path: extra.py}}\n"


@dataclass
class Event:
    """An event that was published, and who was to handle it."""

    n: int
    listening: dict[str, object]
    """What each worker that listened was then: it handles the event if it is still that at rest."""
    answers: Counter[str] = field(default_factory=Counter)


class World:
    """A runtime with workers of three kinds, and what was published to them.

    Args:
        root: where their files are.
        runtime: it.
    """

    def __init__(self, root: Path, runtime: Runtime) -> None:
        self.root = root
        self.runtime = runtime
        self.events: dict[int, Event] = {}
        self.versions: dict[str, int] = defaultdict(int)
        self.answered: dict[str, int] = {}
        """The version that answered last, by worker."""
        self._end_tap = runtime.bus.tap(self._note)

    async def set_up(self) -> None:
        """Write the files and load what is there at first."""
        demo, extra = self.root / "demo", self.root / "extra"
        demo.mkdir()
        extra.mkdir()
        (demo / "capability.yaml").write_text(DEMO.format(python=sys.executable))
        (extra / "capability.yaml").write_text(EXTRA.format(name="extra"))
        for name in ("here", "gated", "child", "other", "extra"):
            self.edit(name)
        await self.runtime.load(demo)

    def edit(self, name: str) -> None:
        """Write a worker's file anew, as its next version."""
        self.versions[name] += 1
        text = OTHER if name == "other" else HERE
        directory = self.root / ("extra" if name == "extra" else "demo")
        (directory / f"{name}.py").write_text(text.format(name=name, version=self.versions[name]))

    def worker(self, name: str) -> ManagedWorker:
        """Return a worker by name, as it is listed now."""
        return self.runtime.worker(name)

    # -- events ----------------------------------------------------------------------------------------

    def publish(self) -> Event:
        """Publish an event, and note who is to handle it."""
        listening = {w.name: identity(w) for w in self.runtime.workers() if listens(w)}
        event = self.events[len(self.events)] = Event(len(self.events), listening)
        self.runtime.publish("probe", {"n": event.n})
        return event

    def _note(self, envelope: EventEnvelope) -> None:
        if envelope.kind == "answer":
            worker = envelope.payload["worker"]
            self.events[envelope.payload["n"]].answers[worker] += 1
            self.answered[worker] = envelope.payload["version"]

    # -- operations ------------------------------------------------------------------------------------

    async def execute(self, operation: Operation) -> None:
        """Do one operation; that the runtime refuses it clearly is fine, and nothing else is."""
        await asyncio.sleep(operation.at)
        doing = asyncio.create_task(self._execute(operation), name="operation")
        if operation.cancelled_after is not None:
            asyncio.get_running_loop().call_later(operation.cancelled_after, doing.cancel)
        await asyncio.wait({doing}, timeout=LIMIT)
        if not doing.done():
            raise AssertionError(f"{operation} takes longer than {LIMIT:g} s")
        if doing.cancelled():
            return
        try:
            doing.result()
        except (Conflict, NotFound, ManifestError):
            return
        except ValueError as exc:
            if operation.kind != "add":
                raise AssertionError(f"{operation} raised {exc!r}") from exc
        except Exception as exc:
            raise AssertionError(f"{operation} raised {exc!r}") from exc

    async def _execute(self, operation: Operation) -> None:
        runtime, name = self.runtime, operation.worker
        match operation.kind:
            case "publish":
                self.publish()
            case "restart":
                await self.worker(name).restart()
            case "force":
                await self.worker(name).restart(force=True)
            case "force-api":
                await self._restart_by_api(name)
            case "restart-peer":
                runtime.publish("peer.here", {"peer": name})
            case "restart-itself":
                runtime.publish(f"again.{name}")
            case "stop":
                await self.worker(name).stop()
            case "start":
                await self.worker(name).start()
            case "reload-one":
                await runtime.reload("demo")
            case "reload":
                await runtime.reload()
            case "flag":
                await runtime.set_flag("demo", "relay", operation.value)
            case "kill":
                await self._kill(name)
            case "edit":
                if name != "added":
                    self.edit(name)
            case "add":
                await self.add()
            case "remove":
                await runtime.remove(name)
            case "load":
                await runtime.load(self.root / "extra")
            case "unload":
                await runtime.unload("extra")
            case "declare":
                await runtime.declare(self._head() if operation.value else None)
            case kind:
                raise AssertionError(f"there is no operation {kind!r}")

    async def add(self) -> None:
        """Add the worker `added` to the runtime's own capability."""
        worker = Worker("added")

        @worker.on_event("probe")
        async def probe(event, client):
            await client.publish("answer", {"worker": "added", "n": event.payload["n"], "version": 0})

        @worker.on_shutdown
        async def end(client):
            await asyncio.sleep(0.03)

        await self.runtime.add(worker)

    def _head(self) -> CapabilityManifest:
        return CapabilityManifest(self.root, "named", "0.1.0", "d")

    async def _restart_by_api(self, name: str) -> None:
        worker = self.worker(name)
        path = f"/api/workers/{worker.capability}/{worker.name}/restart"
        headers = {"Authorization": f"Bearer {self.runtime.tokens.main}"}
        async with httpx.AsyncClient(
            base_url=self.runtime.url or "", headers=headers, timeout=LIMIT, trust_env=False
        ) as client:
            answer = await client.post(path, params={"force": True})
        if answer.status_code not in (200, 404, 409):
            raise AssertionError(f"{path} answers {answer.status_code}: {answer.text}")

    async def _kill(self, name: str) -> None:
        """Kill a process, and return when the runtime has noticed, or something else has ended that run."""
        worker = self.worker(name)
        if not isinstance(worker, SubprocessWorker) or worker.state is not WorkerState.RUNNING:
            return
        pid, was = worker.detail()["process"]["pid"], identity(worker)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while identity(worker) == was:
            await asyncio.sleep(0.003)

    # -- rest ------------------------------------------------------------------------------------------

    async def come_to_rest(self) -> None:
        """Return when nothing changes any more by itself; raises AssertionError if it does not come to that."""
        try:
            async with asyncio.timeout(LIMIT):
                while True:
                    await self.runtime.settle(timeout=LIMIT)
                    if all(is_at_rest(worker) for worker in self.runtime.workers()) and not self._is_busy():
                        return
                    await asyncio.sleep(0.005)
        except TimeoutError:
            states = {w.qualified_name: (str(w.state), w.error) for w in self.runtime.workers()}
            raise AssertionError(f"the runtime does not come to rest: {states}, {self._is_busy()}") from None

    def _is_busy(self) -> list[str]:
        busy = ("dnworker reload", "dnworker change of capabilities")
        return [
            t.get_name()
            for t in asyncio.all_tasks()
            if t.get_name() in busy or t.get_name().endswith(" restart")
        ]

    async def bring_back(self) -> None:
        """Make everything as it was after `set_up`, in the newest version, with all workers running."""
        runtime = self.runtime
        with suppress(NotFound):
            await runtime.unload("extra")
        with suppress(NotFound):
            await runtime.remove("added")
        await runtime.declare(None)
        await runtime.set_flag("demo", "relay", True)
        await runtime.reload()
        await self.come_to_rest()

    def close(self) -> None:
        """Note answers no more."""
        self._end_tap()


def listens(worker: ManagedWorker) -> bool:
    """Return whether an event that is published now must reach the worker."""
    if worker.state is not WorkerState.RUNNING:
        return False
    return STRICT or not isinstance(worker, SubprocessWorker) or worker.connected.is_set()


def identity(worker: ManagedWorker) -> object:
    """Return what changes as soon as the worker stops running, or is another."""
    pid = worker.detail()["process"]["pid"] if isinstance(worker, SubprocessWorker) else None
    return (id(worker), worker.restarts, worker.transitions[-1].at, str(worker.state), pid)


def is_at_rest(worker: ManagedWorker) -> bool:
    """Return whether a worker stays as it is."""
    if worker.state in (WorkerState.LOADING, WorkerState.STARTING, WorkerState.STOPPING):
        return False
    if not isinstance(worker, SubprocessWorker):
        return True
    if worker.detail()["process"]["restart_in"] is not None:
        return False
    return worker.state is not WorkerState.RUNNING or worker.connected.is_set()


def processes_of(runtime_id: str) -> Iterator[tuple[int, int, str]]:
    """Yield pid, process group and worker of every process that was started for a runtime, and its children."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            environ = (directory / "environ").read_bytes().split(b"\0")
            group = int((directory / "stat").read_text().rpartition(")")[2].split()[2])
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            continue
        variables = dict(one.decode(errors="replace").partition("=")[::2] for one in environ)
        if variables.get("DREADNODE_RUNTIME_ID") == runtime_id and state != "Z":
            yield int(directory.name), group, variables.get("DREADNODE_WORKER_NAME", "?")
