"""A notebook without a kernel, and a check of it without a process: both sides run for real, in this process."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from dnworker import Runtime, Worker
from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import current_invocation
from dnworker.core.logs import LogLine
from dnworker.testing import make_envelope
from dnworker.workers import shadow
from dnworker.workers.registry import add_handlers, handlers_of, keys_of
from dnworker_jupyter.export.check import check as check_module
from dnworker_jupyter.export.check import harness
from dnworker_jupyter.export.check.check import check
from dnworker_jupyter.export.check.notebook import Company, run_workers
from dnworker_jupyter.export.check.report import CheckReport
from dnworker_jupyter.export.check.start import values_of
from dnworker_jupyter.export.check.turns import Script
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.live.shadow import Copies, reached
from dnworker_jupyter.syntax.cell import Cell


class Handle:
    """What `worker` is in a notebook: that whose handler runs, else that of the cell."""

    def __init__(self, book: Book) -> None:
        vars(self)["book"] = book

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def _now(self) -> Worker:
        if (hidden := shadow.current_shadow.get()) is not None:
            return hidden
        book = self.book
        if (running := current_invocation.get()) is not None:
            return book.workers[running.worker.rpartition(":")[2]]
        return book.workers[book.current]


class Book:
    """Cells that ran, what they defined, and a check of what they export."""

    def __init__(self, *cells: str) -> None:
        self.names: dict[str, Any] = {"__name__": "notebook_of_a_test", "EventEnvelope": EventEnvelope}
        self.workers: dict[str, Worker] = {}
        self.seeds: dict[str, dict[str, Any]] = {}
        self.agents: dict[str, Any] = {}
        self.current = ""
        self.cells: list[Cell] = []
        self.fired: list[EventEnvelope] = []
        self.agents_beside: dict[str, list[Any]] = {}
        self.tools: dict[str, Any] = {}
        module = sys.modules[self.names["__name__"]] = types.ModuleType(self.names["__name__"])
        module.__dict__.update(self.names)
        self.names = module.__dict__
        for text in cells:
            self.run(text)

    def run(self, text: str) -> None:
        """Run a cell."""
        text = dedent(text).strip("\n")
        self.cells.append(Cell(len(self.cells) + 1, text))
        first, _, body = text.partition("\n")
        words = first.split()
        if words[0] == "%%capability" or "--command" in first:
            return
        if words[0] == "%%agent":
            self.execute(body)
            self.agents[words[1]] = self.names["reply"]
            return
        if words[0] != "%%worker":
            self.execute(text)
            return
        self.current = words[1]
        worker = self.workers.setdefault(self.current, Worker(self.current))
        self.names["worker"] = Handle(self)
        self.execute(body)
        self.seeds[self.current] = dict(worker.state)

    def execute(self, text: str) -> None:
        """Run code as the kernel would, without making it a cell."""
        exec(compile(text, f"<cell {len(self.cells)}>", "exec"), self.names)

    def shadow(self, name: str) -> Worker:
        """Return a copy of a worker as at a start."""
        made = Worker(name)
        add_handlers(made, handlers_of(self.workers[name]))
        made.state.update(self.seeds[name])
        return made

    async def fire(self, kind: str, payload: dict[str, Any] | None = None, **how: Any) -> None:
        """Fire an event at the live workers, which record it."""
        async with Runtime(port=None) as runtime:
            for name, reply in self.agents.items():
                runtime.agents.register(name, reply)
            for worker in self.workers.values():
                await runtime.add(worker)
            await runtime.fire(kind, payload or {}, **how)
        self.record(kind, payload, **how)

    def record(self, kind: str, payload: dict[str, Any] | None = None, **how: Any) -> None:
        """Have an event to fire in a check, without firing it now."""
        seq = len(self.fired) + 1
        self.fired.append(make_envelope(kind, payload or {}, seq=seq, **how))

    async def check(self, directory: Path = Path("nowhere"), **options: Any) -> CheckReport:
        """Check what an export would write, with every event that was fired."""
        plan = plan_export(self.cells, default_name="demo", topology="in-process", target="dnworker")

        async def run_in_notebook(request, on_progress):
            copies = Copies(self.names, values_of(request.manifest, request.afresh), ends_lines=True)
            made = [copies.worker(self.shadow(name)) for name in self.workers]
            replies = {name: copies.of(reply) for name, reply in self.agents.items()}
            tools = {name: copies.of(function) for name, function in self.tools.items()}
            script = Script(
                {n: r for n, r in replies.items() if n != "default"},
                replies.get("default"),
                options.get("remembered", lambda agent, message: None),
            )
            copies.note_start()
            sessions = options.get("sessions", [])
            scene = msgspec.structs.replace(request.scene, sessions=sessions)
            with noted_prints():
                company = Company(script, self.agents_beside, tools)
                run = await run_workers(made, replace(request, scene=scene), company, on_progress)
            return msgspec.structs.replace(run, changed=copies.changed(), sessions=sessions)

        held = {name for w in self.workers for name in reached(self.shadow(w), self.names)}
        return await check(
            plan,
            directory,
            handlers={name: keys_of(worker) for name, worker in self.workers.items()},
            events=self.fired,
            run_in_notebook=run_in_notebook,
            held=sorted(name for name in held if self.names.get(name)),
            **{"timeout": 5.0, **{k: v for k, v in options.items() if k not in ("remembered", "sessions")}},
        )


@contextlib.contextmanager
def noted_prints() -> Iterator[None]:
    """Note what handlers print, as a kernel does."""
    inner, held = sys.stdout.write, {}

    def write(text: str) -> int:
        if (invocation := current_invocation.get()) is not None:
            *lines, held[invocation.id] = (held.get(invocation.id, "") + text).split("\n")
            for line in lines:
                invocation.note_log(LogLine(0, invocation.worker, "stdout", line))
        return inner(text)

    sys.stdout.write = write
    try:
        yield
    finally:
        sys.stdout.__dict__.pop("write", None)


async def in_this_process(request, scene, manifest, directory, on_progress) -> dict[str, Any]:
    """Run an export as the sandbox does, without a process and an environment of its own."""
    answer = await harness._run_workers(await scene, manifest.root, manifest)
    return {"problems": [], "sdk": None, **msgspec.to_builtins(answer)}


@pytest.fixture(autouse=True)
def no_process(monkeypatch):
    """Let checks run the export in this process."""
    monkeypatch.setattr(check_module, "run_in_sandbox", in_this_process)
    monkeypatch.setattr(harness, "report_progress", lambda *step: None)


def told(report: CheckReport) -> str:
    """Return the report as text."""
    return str(report)


def green(report: CheckReport) -> bool:
    """Return whether a check passed; shows the report where it did not."""
    assert report.ok, str(report)
    return True


def red(report: CheckReport, *texts: str) -> bool:
    """Return whether a check failed, and says this in what failed."""
    assert not report.ok, str(report)
    failed = "\n".join(line for f in report.findings if not f.ok for line in f.lines())
    for text in texts:
        assert text in failed, str(report)
    return True


def handler(body: str, kind: str = "demo.a", name: str = "on_a", worker: str = "w") -> str:
    """Return a cell with one handler."""
    lines = "\n".join(f"    {line}" for line in dedent(body).strip("\n").splitlines())
    return f"%%worker {worker}\n@worker.on_event({kind!r})\nasync def {name}(event, client):\n{lines}"


def several(*bodies: tuple[str, str], worker: str = "w") -> Sequence[str]:
    """Return a cell for each kind and body."""
    return [handler(body, kind, f"on_{kind.rpartition('.')[2]}", worker) for kind, body in bodies]
