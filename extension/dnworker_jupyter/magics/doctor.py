"""`%runtime doctor`: what this notebook runs on, what is wrong with it, and what to do about that."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from dnworker._version import __version__
from dnworker.core.lifecycle import WorkerState
from dnworker.core.limits import amount
from dnworker.workers.silence import why_not_retried
from dnworker.workers.state_snapshots import why_impossible
from dnworker_jupyter.display.tables import Table
from dnworker_jupyter.kernel.held_memory import bytes_held
from dnworker_jupyter.kernel.post_mortem import name_of
from dnworker_jupyter.magics.context import MagicContext

NEST_MODULES = ("nest_asyncio", "nest_asyncio2")
TASKS_TIMED = 2_000
ROUNDS = 5

Mark = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was examined; a remedy where something can be done."""

    subject: str
    mark: Mark
    text: str
    remedy: str = ""


class Diagnoses(Table):
    """All of them, as a table."""

    def __init__(self, diagnoses: list[Diagnosis]) -> None:
        self.diagnoses = diagnoses
        rows = [
            [f.subject, {"ok": "ok", "note": "note", "wrong": "WRONG"}[f.mark], f.text, f.remedy]
            for f in diagnoses
        ]
        super().__init__(["looked at", "", "found", "what to do"], rows)


async def diagnose(context: MagicContext) -> Diagnoses:
    """Examine everything."""
    found = [
        *_versions(context),
        *_comms(context),
        _loop(context),
        await _nest(context),
        *_blocks(context),
        *_failures(context),
        *_workers(context),
    ]
    found += [
        await _server(context),
        *_journal(context),
        _broker(context),
        *_limits(context),
        _states(context),
        await _uv(),
        *_stale(context, await context.location.fresh()),
    ]
    return Diagnoses(found)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions(context: MagicContext) -> Iterator[Diagnosis]:
    yield Diagnosis("dnworker", "ok", f"{__version__}, Python {sys.version.split()[0]}")
    kernel = _version("ipykernel") if not context.loop.has_thread else None
    shell = f"IPython {_version('ipython')}"
    if kernel is None:
        yield Diagnosis("kernel", "note", f"{shell} in a terminal; the runtime lives on a thread of its own")
    else:
        yield Diagnosis("kernel", "ok", f"ipykernel {kernel}, {shell}")
    front = _front_end(context)
    widgets = ", ".join(f"{n} {_version(n)}" for n in ("anywidget", "ipywidgets") if _version(n))
    yield Diagnosis("front end", "ok", f"{front}; {widgets}")


def _front_end(context: MagicContext) -> str:
    if context.loop.has_thread:
        return "terminal"
    if os.environ.get("VSCODE_PID") or "__vsc_ipynb_file__" in context.names:
        return "VS Code"
    if os.environ.get("JPY_SESSION_NAME"):
        lab = _version("jupyterlab")
        return f"Jupyter server{f', JupyterLab {lab}' if lab else ''}"
    return "a program that drives the kernel, such as nbclient or papermill"


def _comms(context: MagicContext) -> Iterator[Diagnosis]:
    """Report where callbacks of buttons arrive; see the documentation of ipykernel's subshells."""
    kernel = _version("ipykernel")
    if kernel is None or context.loop.has_thread:
        return
    major, minor = (int(part) for part in kernel.split(".")[:2])
    threads = context.panels.callback_threads
    latest = f"; the last one came on {threads[-1]}" if threads else ""
    if major < 7:
        text = "buttons reach the kernel when no cell holds it"
    elif (major, minor) < (7, 4):
        text = "buttons arrive on a thread beside the kernel's, and are handed over at once"
    else:
        text = "buttons reach the kernel between awaits"
    yield Diagnosis("comms", "ok", text + latest)


def _loop(context: MagicContext) -> Diagnosis:
    loop = asyncio.get_running_loop()
    name = f"{type(loop).__module__}.{type(loop).__name__}"
    whose = "on a thread of its own" if context.loop.has_thread else "the kernel's own"
    return Diagnosis("loop", "ok", f"{name}, {whose}")


async def _nest(context: MagicContext) -> Diagnosis:
    """Report whether asyncio was made re-entrant, by whom, and what it costs here."""
    if asyncio.Task.__module__ == "_asyncio":  # it swaps the class for the one written in Python
        return Diagnosis("nest_asyncio", "ok", "not applied")
    present, original = await _task_seconds(asyncio.Task), await _task_seconds(_c_task())
    module = next((name for name in NEST_MODULES if name in sys.modules), "somebody")
    users = sorted(
        {
            name.partition(".")[0]
            for name, loaded in [*sys.modules.items()]
            if name not in NEST_MODULES and any(_holds(loaded, nest) for nest in NEST_MODULES)
        }
        - {"dnworker_jupyter"}
    )
    if context.is_nested:
        whose, remedy = " by %runtime nest", "restart the kernel to undo it"
    else:
        whose = f"; imported by {', '.join(users)}" if users else ""
        remedy = "take the call of apply() out, and await instead; then restart the kernel"
    return Diagnosis(
        "nest_asyncio",
        "note",
        f"{module} is applied{whose}: a task costs {present / original:.1f} times what it does without",
        remedy,
    )


def _holds(module: Any, name: str) -> bool:
    return getattr(module, "__dict__", {}).get(name) is sys.modules.get(name) is not None


def _c_task() -> Any:
    import _asyncio

    return _asyncio.Task


async def _task_seconds(make: Any) -> float:
    loop = asyncio.get_running_loop()

    async def nothing() -> None: ...

    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for task in [make(nothing(), loop=loop) for _ in range(TASKS_TIMED)]:
            await task
        best = min(best, time.perf_counter() - started)
    return best


def _blocks(context: MagicContext) -> Iterator[Diagnosis]:
    blocks = context.watch.blocks
    if not blocks:
        yield Diagnosis("blocking", "ok", "nothing has held the loop for a second or longer")
        return
    worst = max(blocks, key=lambda block: block.seconds)
    longest = f"longest {worst.seconds:.1f} s by {worst.who}: {worst.source}"
    yield Diagnosis(
        "blocking",
        "note",
        f"the loop was held {len(blocks)} times, {longest}",
        "await asyncio.to_thread(...) what blocks, so that workers go on",
    )


def _failures(context: MagicContext) -> Iterator[Diagnosis]:
    """Report the frames that are kept for `%debug`, and who holds most."""
    sizes = [(bytes_held(one.exception), one) for one in context.debugging.post_mortem.entries()]
    if not sizes:
        return
    most, failure = max(sizes, key=lambda pair: pair[0])
    minutes = int((time.monotonic() - failure.since) / 60)
    count = "one failure" if len(sizes) == 1 else f"{len(sizes)} failures"
    total, largest = (amount(size, "history") for size in (sum(size for size, _ in sizes), most))
    text = f"the frames of {count} hold about {total}"
    who = f"{name_of(failure.invocation)} {failure.invocation.label}, {largest}, {minutes} min ago"
    yield Diagnosis("%debug", "ok", f"{text}, most of it {who}", "%reset lets them go")


async def _server(context: MagicContext) -> Diagnosis:
    url = context.runtime.url
    if url is None:
        return Diagnosis(
            "server", "wrong", "no server: worker processes cannot connect", "%reload_ext dnworker"
        )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            status = (await client.get(f"{url}/api/health")).status_code
    except httpx.HTTPError as exc:
        return Diagnosis(
            "server", "wrong", f"{url} does not answer: {exc or type(exc).__name__}", "%reload_ext dnworker"
        )
    if status != 200:
        return Diagnosis("server", "wrong", f"{url} answers {status}", "%reload_ext dnworker")
    return Diagnosis("server", "ok", f"{url}, loopback only, with a bearer token (never shown)")


def _journal(context: MagicContext) -> Iterator[Diagnosis]:
    journal = context.runtime.journal
    if journal is None:
        problem = context.startup.journal_problem
        yield Diagnosis(
            "journal",
            "note" if problem is None else "wrong",
            problem
            or "events are not recorded, as DNWORKER_JOURNAL says; a restart of the kernel forgets them",
            "set DNWORKER_JOURNAL to a file that can be written before the kernel starts",
        )
    elif journal.failure is not None:
        yield Diagnosis(
            "journal", "wrong", f"{journal.path}: {journal.failure}", "make room, or name another file"
        )
    else:
        size = journal.path.stat().st_size / 2**20 if journal.path.exists() else 0.0
        if journal.lost:
            yield Diagnosis(
                "journal",
                "wrong",
                f"{journal.path}: {journal.lost} entries were lost",
                "more came at once than it could write; fire at a --rate, or find room on the disk",
            )
        else:
            yield Diagnosis("journal", "ok", f"{journal.path}, {size:.1f} MiB")


def _broker(context: MagicContext) -> Diagnosis:
    """Say what becomes of events when the kernel ends."""
    broker = context.runtime.bus.broker
    if not broker.capabilities.survives_kill:
        way_out = "%runtime durable keeps them in a file"
        return Diagnosis("events", "note", broker.capabilities.promise, way_out)
    if broker.failure is not None:
        return Diagnosis("events", "wrong", broker.failure, "see to the file; events are refused meanwhile")
    return Diagnosis("events", "ok", broker.capabilities.promise)


def _limits(context: MagicContext) -> Iterator[Diagnosis]:
    """Report how much of each limit is used, and what had to go because one was used up."""
    dropped = []
    shown = []
    for name, use in context.runtime.usage.read().items():
        if use.used is not None:
            shown.append(f"{name} {amount(use.used, name)} of {amount(use.limit, name)}")
        if use.dropped:
            dropped.append(f"{name}: {use.dropped:,}")
    yield Diagnosis("limits", "ok", "; ".join(shown))
    if dropped:
        yield Diagnosis(
            "dropped",
            "note",
            f"the oldest had to go, by limit: {', '.join(dropped)}",
            "raise the limit, as in: dnworker serve --limit history=256MB; a journal keeps events beyond it",
        )


def _states(context: MagicContext) -> Diagnosis:
    """Report what is kept of the states of workers, and what that takes."""
    kept = context.states.snapshots
    if (why := why_impossible()) is not None:
        return Diagnosis("states", "note", "no state can be gone back to", why)
    return Diagnosis(
        "states",
        "ok",
        f"{len(kept)} of at most {kept.kept} kept from before events, "
        f"{amount(kept.used, 'states')} of {amount(kept.limit, 'states')}",
    )


async def _uv() -> Diagnosis:
    path = shutil.which("uv")
    if path is None:
        try:
            from uv import find_uv_bin

            path = find_uv_bin()
        except (ImportError, FileNotFoundError):
            return Diagnosis("uv", "wrong", "not found: no worker can run under uv", "pip install uv")
    done = await asyncio.to_thread(
        subprocess.run, [path, "--version"], capture_output=True, text=True, check=False, timeout=20
    )
    if done.returncode != 0:
        return Diagnosis(
            "uv", "wrong", f"{path} fails: {done.stderr.strip()[:200]}", "pip install --upgrade uv"
        )
    return Diagnosis("uv", "ok", done.stdout.strip())


def _workers(context: MagicContext) -> Iterator[Diagnosis]:
    failed = [w for w in context.runtime.workers() if w.state is WorkerState.ERROR]
    for worker in failed:
        why = (worker.error or "").partition("\n")[0]
        remedy = f"%worker logs {worker.name}, then %worker restart {worker.name}"
        yield Diagnosis("worker", "wrong", f"{worker.qualified_name} is in state error: {why}", remedy)
    if not failed:
        yield Diagnosis("workers", "ok", f"{len(context.runtime.workers())}, none in state error")
    for worker in context.runtime.workers():
        if (why_not := why_not_retried(worker)) is not None:
            text, _, way_out = why_not.partition("; ")
            yield Diagnosis("retries", "note", f"{worker.qualified_name}: {text}", way_out)
        if worker.losses is not None:
            yield Diagnosis(
                "events",
                "wrong",
                f"{worker.qualified_name}: {worker.losses}",
                f"%worker logs {worker.name} says when; the trace of a lost event names the worker",
            )


def _stale(context: MagicContext, notebook: Path | None) -> Iterator[Diagnosis]:
    context.stale.note_saved(notebook)
    stale = [one for live in context.live for one in context.stale.of(live)]
    found = dict.fromkeys(f"{one.worker} ({one.cell.label}: {one.why})" for one in stale)
    if stale:
        names = ", ".join(f"%worker remove {one.worker}.{one.handler.key.name}" for one in stale[:1])
        yield Diagnosis("stale handlers", "note", "; ".join(found), f"run those cells again, or {names}")
    else:
        yield Diagnosis(
            "stale handlers", "ok", "every handler is from a cell as it stands, as far as can be known"
        )
