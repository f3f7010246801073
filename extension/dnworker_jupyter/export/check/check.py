"""`--check`: runs an export in a clean environment and compares it with the notebook; used by export.py."""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.handlers import HandlerKey
from dnworker_jupyter.export.check.compare import (
    counted,
    note_differences,
    note_failures,
    note_sdk,
    note_worker,
)
from dnworker_jupyter.export.check.harness import CheckRequest
from dnworker_jupyter.export.check.observe import EVENT_SECONDS, THE_EVENT, CheckRun, Effect
from dnworker_jupyter.export.check.report import CheckReport
from dnworker_jupyter.export.check.sandbox import run_in_sandbox
from dnworker_jupyter.export.disk.copy import copy_capability
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.planning.types import OnProgress

RunInNotebook = Callable[[Sequence[EventEnvelope], OnProgress], Awaitable[CheckRun]]
"""Fires events at the workers of the notebook, each time from a fresh start."""


async def check(
    plan: Plan,
    directory: Path,
    *,
    handlers: Mapping[str, Sequence[HandlerKey]],
    events: Sequence[EventEnvelope] = (),
    run_in_notebook: RunInNotebook | None = None,
    held: Sequence[str] = (),
    sdk: str | None = None,
    on_progress: OnProgress = lambda text, done, total: None,
    timeout: float = EVENT_SECONDS,
) -> CheckReport:
    """Run what an export would write in a directory of its own, and compare it with the notebook.

    Args:
        plan: of the export.
        directory: of the export; what else is there is copied for the check, and not changed.
        handlers: of the notebook's workers.
        events: fired at both.
        run_in_notebook: fires events at the notebook; None where no notebook runs. Then `handlers` are those
            that the cells show, and errors of the export are reported instead of differences.
        held: names of the notebook's containers that handlers have changed, with which its side begins.
        sdk: an interpreter that has the reference's SDK; None to look for one.
        on_progress: called with what is waited for.
        timeout: seconds for everything that one event causes.

    Raises:
        OSError: the disk is full.
    """
    report = CheckReport(plan.name)
    request = CheckRequest(list(handlers), [encode(e).decode() for e in events], sdk or _sdk_here(), timeout)
    answer, manifest = await _run_export(plan, directory, request, on_progress)
    if not _note_start(report, answer, len(plan.entries)):
        return report
    note_sdk(report, answer["sdk"], manifest)
    for name, worker in answer["workers"].items():
        note_worker(report, name, worker, handlers.get(name), exact=run_in_notebook is not None)
    export = _run_of(answer, handlers)
    if run_in_notebook is None:
        note_failures(report, events, export)
    else:
        # Twice: what differs between two runs of the same code says nothing of the export.
        runs = await run_in_notebook(events, on_progress), await run_in_notebook(events, on_progress)
        note_differences(report, events, export, runs, held)
    return report


async def _run_export(
    plan: Plan, directory: Path, request: CheckRequest, on_progress: OnProgress
) -> tuple[dict[str, Any], CapabilityManifest]:
    """Run the export in a temporary directory; returns what the harness answers, and the manifest."""
    with tempfile.TemporaryDirectory(prefix="dnworker-check-") as temporary:
        root = Path(temporary, "capability", plan.name)
        if directory.is_dir():
            await copy_capability(directory, root)
        write(plan, root, force=True)
        manifest = load_manifest(root)
        request = msgspec.structs.replace(request, root=str(root))
        answer = await run_in_sandbox(request, manifest, Path(temporary), on_progress)
    if answer.get("problems") is not None:
        answer["problems"] = [p.replace(f"{root}/", "").replace(temporary, "") for p in answer["problems"]]
    return answer, manifest


def _note_start(report: CheckReport, answer: Mapping[str, Any], workers: int) -> bool:
    """Note whether the manifest is right and the export runs; returns whether there is more to compare."""
    problems = answer.get("problems")
    if problems is not None:
        report.note(not problems, f"manifest: {counted(workers, 'worker')}", problems)
    error = answer.get("environment") or answer.get("error")
    if error is None:
        return True
    report.note(False, "the export does not run", str(error).splitlines())
    return False


def _sdk_here() -> str | None:
    try:
        importlib.metadata.version("dreadnode")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


def _run_of(answer: Mapping[str, Any], workers: Mapping[str, object]) -> CheckRun:
    """Return what workers with handlers did; programs have no counterpart in the notebook."""

    def of_workers(effects: Sequence[Sequence[Any]]) -> list[Effect]:
        return [
            (who, action, value)
            for who, action, value in effects
            if who == THE_EVENT or str(who).partition(".")[0] in workers
        ]

    return CheckRun([of_workers(effects) for effects in answer["seen"]], of_workers(answer["aside"]))
