"""`--check`: runs an export in a clean environment and compares it with the notebook; used by export.py.

The notebook's side runs first, while uv makes the environments of the other: there, agents answer as those
of the notebook did.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.manifest import MANIFEST_NAME, CapabilityManifest, load_manifest, parse_manifest
from dnworker.capability.reading import shown
from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.handlers import HandlerKey
from dnworker_jupyter.export.check.compare import Verdict, judge
from dnworker_jupyter.export.check.findings import (
    counted,
    environment_hints,
    note_failures,
    note_sdk,
    note_verdict,
    note_worker,
    remarks_on,
    some,
    untried,
)
from dnworker_jupyter.export.check.harness import CheckRequest
from dnworker_jupyter.export.check.notebook import NotebookRequest
from dnworker_jupyter.export.check.observe import EVENT_SECONDS, LINGER_SECONDS, Scene, task_effects
from dnworker_jupyter.export.check.record import CheckRun
from dnworker_jupyter.export.check.report import CheckReport
from dnworker_jupyter.export.check.sandbox import run_in_sandbox
from dnworker_jupyter.export.disk.copy import copy_capability
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.planning.types import OnProgress

RunInNotebook = Callable[[NotebookRequest, OnProgress], Awaitable[CheckRun]]
"""Fires events at copies of the notebook's workers, from a fresh start."""

RUNS_MOST = 6
"""Runs of the notebook's side, where the export seems to differ: a value may vary seldom."""

AGAIN_SECONDS = 15.0
"""Seconds that more runs of the notebook's side may take."""

EXPORTS_MOST = 5
"""Runs of the export, where only the order of lists differs: that of a set of two is another in each second
process; for any other difference there are two."""

STUCK_SECONDS = 3.0
"""Seconds beyond its last effect for an event that was not done with when the notebook's time was up."""


@dataclass
class _Check:
    """One check under way: what it works with, and its report."""

    plan: Plan
    root: Path
    manifest: CapabilityManifest
    handlers: Mapping[str, Sequence[HandlerKey]]
    events: Sequence[EventEnvelope]
    scene: Scene
    on_progress: OnProgress
    run_in_notebook: RunInNotebook | None
    sdk: str | None
    held: Sequence[str]
    report: CheckReport
    runs: list[CheckRun] = field(default_factory=list)
    """Of the notebook's side."""
    sandboxes: int = 0

    # -- the two sides ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run both sides, and fill the report."""
        scene: asyncio.Future[Scene] = asyncio.get_running_loop().create_future()
        export = asyncio.create_task(self._run_export(scene), name="check of an export")
        try:
            await self._run_notebook()
            scene.set_result(self._scene_of_export())
            answer = await export
        finally:
            export.cancel()
            await asyncio.wait({export})  # its processes have ended then
        await self._note(answer)

    async def _run_notebook(self) -> None:
        """Run the notebook's side twice: what differs between the two says nothing of the export."""
        if self.run_in_notebook is None:
            return
        for _ in range(2):
            await self._run_notebook_once()

    async def _run_notebook_once(self, *, settle: float = 0.0, afresh: Sequence[str] = ()) -> CheckRun:
        assert self.run_in_notebook is not None, "the caller looked"
        scene = msgspec.structs.replace(
            self.scene, limits=self._limits(), settle=max(settle, self.scene.settle)
        )
        run = await self.run_in_notebook(NotebookRequest(scene, self.manifest, afresh), self.on_progress)
        if not afresh:
            self.runs.append(run)
        return run

    def _limits(self) -> list[float]:
        """Return the seconds for each event: few for one that was not done with before."""
        if not self.runs:
            return self.scene.limits
        first = self.runs[0]
        stuck = {run.event for run in first.runs if not run.ended}
        return [
            min(limit, STUCK_SECONDS) if number in stuck else limit
            for number, limit in enumerate(self.scene.limits)
        ]

    def _scene_of_export(self) -> Scene:
        if not self.runs:
            return msgspec.structs.replace(self.scene, answers=[])
        first = self.runs[0]
        return msgspec.structs.replace(
            self.scene,
            sessions=first.sessions,
            limits=self._limits(),
            answers=first.answers,
            settle=LINGER_SECONDS + self.scene.settle,
            expected=task_effects(first),
        )

    async def _run_export(self, scene: asyncio.Future[Scene]) -> dict[str, Any]:
        self.sandboxes += 1
        request = CheckRequest(str(self.root), self.sdk, examines=self.sandboxes == 1)
        directory = self.root.parent.parent / f"run-{self.sandboxes}"
        return await run_in_sandbox(request, scene, self.manifest, directory, self.on_progress)

    async def _run_export_again(self) -> CheckRun | None:
        scene: asyncio.Future[Scene] = asyncio.get_running_loop().create_future()
        scene.set_result(self._scene_of_export())
        answer = await self._run_export(scene)
        return msgspec.convert(answer["run"], CheckRun) if "run" in answer else None

    # -- the findings ----------------------------------------------------------------------------------

    async def _note(self, answer: dict[str, Any]) -> None:
        if not self._note_start(answer):
            return
        note_sdk(self.report, answer["sdk"], self.manifest)
        starts = self.runs[0].starts if self.runs else {}
        for name, worker in answer["workers"].items():
            note_worker(
                self.report, name, worker, self.handlers.get(name),
                exact=self.run_in_notebook is not None, here=starts.get(name),
            )  # fmt: skip
        export = msgspec.convert(answer["run"], CheckRun)
        if self.run_in_notebook is None:
            remarks = remarks_on([], export, Verdict(), self.events)
            remarks += untried(self.handlers, [export], self.events)
            note_failures(self.report, self.events, export, remarks)
            return
        verdict, remarks = await self._judge(export)
        remarks += remarks_on(self.runs, export, verdict, self.events)
        remarks += untried(self.handlers, [export, *self.runs], self.events)
        note_verdict(self.report, self.events, verdict, remarks, self._remedies(verdict))

    def _note_start(self, answer: dict[str, Any]) -> bool:
        """Note whether the manifest is right and the export runs; returns whether there is more to do."""
        problems = answer.get("problems")
        if problems is not None:
            problems = [p.replace(f"{self.root}/", "") for p in problems]
            workers = counted(len(self.plan.entries), "worker")
            self.report.note(not problems, f"manifest: {workers}", problems)
        error = answer.get("environment") or answer.get("error")
        if error is None:
            return True
        self.report.note(False, "the export does not run", str(error).splitlines())
        return False

    async def _judge(self, export: CheckRun) -> tuple[Verdict, list[str]]:
        """Compare; where the sides differ, look first whether something else than the export explains it."""
        exports = [export]
        verdict = judge(self.runs, exports)
        deadline = time.monotonic() + AGAIN_SECONDS
        while verdict.differs and len(self.runs) < RUNS_MOST and time.monotonic() < deadline:
            await self._run_notebook_once(settle=min(export.seconds, 3.0))
            verdict = judge(self.runs, exports)
        # What depends on the process, such as its number or the order of a set, is the same in all runs here.
        while verdict.differs and len(exports) < (EXPORTS_MOST if verdict.is_reordered else 2):
            if (other := await self._run_export_again()) is None:
                break
            exports.append(other)
            verdict = judge(self.runs, exports)
        changed = [*dict.fromkeys(name for run in self.runs for name in run.changed)]
        if verdict.differs and changed:
            afresh = [await self._run_notebook_once(afresh=changed) for _ in range(2)]
            fresh = judge(afresh, exports)
            if _weight(fresh) <= _weight(verdict):
                self.held = ()  # they are no cause of what differs
                return fresh, [
                    f"{some(changed)} hold here what earlier events left; compared was a start with what the "
                    "cells say, as an export has it. What is to be kept belongs into worker.state or a file"
                ]
        return verdict, []

    def _remedies(self, verdict: Verdict) -> list[str]:
        if not verdict.differs:
            return []
        given = {name for worker in self.manifest.workers.values() for name in worker.env}
        scripts = [self.plan.files[path].decode(errors="replace") for path in self.plan.scripts.values()]
        found = environment_hints(scripts, given)
        if verdict.is_reordered:
            found.append("the same items have another order: sort them before you publish them")
        if self.held:
            found.append(
                f"the notebook's side began with what these are by now: {some(self.held)}; an export begins "
                "with what the cells say. What is to be kept belongs into worker.state"
            )
        return found


def _weight(verdict: Verdict) -> int:
    """Return how much of two sides differs."""
    return sum(map(len, verdict.lines.values()))


def what_runs(plan: Plan) -> str:
    """Return what a check of a plan runs, to be said before it does: its workers and its shell checks.

    Raises:
        ManifestError: the manifest of the plan breaks a rule.
    """
    manifest = parse_manifest(plan.files[MANIFEST_NAME].decode(), Path("/"), source=MANIFEST_NAME)
    said = f"the check runs the code of {some([*manifest.workers])}, for real, in a directory of its own"
    commands = "; ".join(f"{one.name}: {one.command}" for one in manifest.checks)
    return shown(said + (f", and the shell checks of its manifest ({commands})" if commands else ""))


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
        held: names of containers that handlers have changed, with which the notebook's side begins.
        sdk: an interpreter that has the reference's SDK; None to look for one.
        on_progress: called with what is waited for.
        timeout: seconds for everything that one event causes.

    Raises:
        OSError: the disk is full.
    """
    report = CheckReport(plan.name)
    with tempfile.TemporaryDirectory(prefix="dnworker-check-") as temporary:
        root = Path(temporary, "capability", plan.name)
        if directory.is_dir():
            await copy_capability(directory, root)
        write(plan, root, force=True)
        texts = [encode(event).decode() for event in events]
        scene = Scene(list(handlers), texts, limits=[timeout] * len(events))
        await _Check(
            plan, root, load_manifest(root), handlers, events, scene, on_progress, run_in_notebook,
            sdk or _sdk_here(), held, report,
        ).run()  # fmt: skip
    return report


def _sdk_here() -> str | None:
    try:
        importlib.metadata.version("dreadnode")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable
