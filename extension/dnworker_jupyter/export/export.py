"""`Export`: one export of cells to a directory; `FileExport` takes them from a file, for the command line.

The command line takes `ExecutedExport` from here too, which runs the file's cells first.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.capability.reading import UnreadableFile, read_text, shown
from dnworker.core.errors import JournalError, UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.core.topology import Topology
from dnworker.events.event_files import read_events
from dnworker.events.journal import JournalReader
from dnworker_jupyter.export.check.check import RunInNotebook, check, what_runs
from dnworker_jupyter.export.check.report import CheckFailed, CheckReport
from dnworker_jupyter.export.disk.diff import CapabilityDiff, diff_files, handlers_in_script, texts_of
from dnworker_jupyter.export.disk.uv import locked, with_old_locks
from dnworker_jupyter.export.disk.write import ensure_writable, read_export, tree, write
from dnworker_jupyter.export.execute import NOT_EXECUTED as NOT_EXECUTED
from dnworker_jupyter.export.execute import ExecutedExport as ExecutedExport
from dnworker_jupyter.export.planning.files import LOCK
from dnworker_jupyter.export.planning.plan import Plan, Ran, plan_export
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.slicing.cells import read_notebook
from dnworker_jupyter.kernel.journals import journal_of

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker_jupyter.export.planning.types import OnProgress
    from dnworker_jupyter.syntax.cell import Cell

EVENTS_CHECKED = 20
"""Recorded events that a check fires, the newest that the workers listen to."""

EVENTS_SEARCHED = 1_000


class Export:
    """One export of a notebook to a directory.

    Args:
        cells: in the order in which they ran, or in that of the file.
        beside: the directory of the notebook.
        directory: the capability's.
        target: what the scripts import.
        topology: how the manifest runs them.
        registered: the names of the handlers that run live, by worker; None without a kernel.
        ran: what a kernel knows of the cells; None without one.
        name: the capability's where no cell gives one; None for that of the directory.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        beside: Path,
        directory: Path,
        *,
        target: TargetName,
        topology: Topology,
        registered: Mapping[str, Sequence[str]] | None = None,
        ran: Ran | None = None,
        name: str | None = None,
    ) -> None:
        self.directory = directory
        self._cells = cells
        self._beside = beside
        self._target = target
        self._topology = topology
        self._registered = registered
        self._ran = ran
        self._name = name

    async def plan(self, on_progress: OnProgress | None = None) -> Plan:
        """Return what the export will write; from a kernel, proved by the values there.

        Args:
            on_progress: called when it takes long.

        Raises:
            NotExportable: something cannot be exported.
            ManifestError: the manifest's head breaks a rule.
        """
        return self.make_plan(())

    def make_plan(self, suspects: Collection[str]) -> Plan:
        """Return a plan with also those changes of some names that are not sure; see `plan`."""
        return plan_export(
            self._cells,
            default_name=self._name or capability_name(self.directory),
            target=self._target,
            topology=self._topology,
            registered=self._registered,
            project=project_requirements(self._beside),
            beside=self._beside,
            existing=_existing_manifest(self.directory),
            into=self.directory,
            ran=None if self._ran is None else replace(self._ran, suspects=suspects),
        )

    async def diff(self) -> CapabilityDiff:
        """Compare what it would write with the last export into the directory.

        Raises:
            UsageError: something cannot be exported, or there is no export to compare with.
            ManifestError: a manifest breaks a rule.
        """
        old, plan = read_export(self.directory), await self.plan()
        locks = {path: data for path, data in old.items() if path.endswith(LOCK)}
        return diff_files({p: d for p, d in old.items() if p not in locks}, plan.files)

    async def check(
        self, plan: Plan, on_progress: OnProgress, *, events: Path | None = None, sdk: str | None = None
    ) -> CheckReport:
        """Run the export in a clean environment, and compare what it does with the notebook.

        Args:
            plan: what the export will write.
            on_progress: called with each step.
            events: a JSON Lines file of events to fire; None for recorded ones.
            sdk: an interpreter that has the reference's SDK.

        Raises:
            UsageError: the file of events cannot be read.
        """
        ensure_writable(plan, self.directory, force=True)  # what an export would refuse whatever comes
        self.say(what_runs(plan))
        handlers = self.handlers(plan)
        kinds = {key.trigger for keys in handlers.values() for key in keys if key.decorator == "on_event"}
        chosen = await self._choose_recorded(kinds) if events is None else _choose(events, kinds)
        try:
            return await check(
                plan,
                self.directory,
                events=chosen,
                handlers=handlers,
                run_in_notebook=self.run_in_notebook(plan),
                held=self.held(plan),
                sdk=None if sdk is None else str(Path(sdk).absolute()),
                on_progress=on_progress,
            )
        except OSError as exc:
            raise UsageError(
                f"there is no room for a check: {exc.strerror or exc}; nothing was written", code="DN505"
            ) from exc

    async def _choose_recorded(self, kinds: Collection[str]) -> list[EventEnvelope]:
        """Return the newest recorded events of these kinds."""
        return [event for event in await self.recorded() if event.kind in kinds][-EVENTS_CHECKED:]

    async def write(
        self,
        on_progress: OnProgress,
        *,
        force: bool = False,
        lock: bool = False,
        checked: bool = False,
        events: Path | None = None,
        sdk: str | None = None,
    ) -> str:
        """Write the capability, and return a summary for the user.

        Args:
            on_progress: called with each step.
            force: write over files that were edited by hand.
            lock: have uv lock the scripts that run under it.
            checked: write nothing unless the check passes; `events` and `sdk` as there.
            events: see `check`.
            sdk: see `check`.

        Raises:
            UsageError: something cannot be exported, the directory was edited by hand, or the check failed.
            ManifestError: the manifest's head breaks a rule.
        """
        plan = with_old_locks(await self.plan(on_progress), self.directory)
        self._heed_interrupt()
        ensure_writable(plan, self.directory, force=force)  # before it takes long
        if lock:
            plan = await self._lock(plan, on_progress)
        report = await self.check(plan, on_progress, events=events, sdk=sdk) if checked else None
        if report is not None and not report.ok:
            raise CheckFailed(report)
        self._heed_interrupt()
        changed = self._put_in_place(plan, force=force)
        return self._summary(plan, changed, report)

    async def write_aside(self, place: Path) -> Plan:
        """Write the capability to a directory from where the caller moves it to its own; returns the plan.

        Raises:
            UsageError: something cannot be exported.
            ManifestError: the manifest's head breaks a rule.
            OSError: the disk refuses a write.
        """
        plan = await self.plan()
        write(plan, place)
        return plan

    async def _lock(self, plan: Plan, on_progress: OnProgress) -> Plan:
        try:
            return await locked(plan, self.directory, on_progress)
        except OSError as exc:
            raise UsageError(
                f"there is no room for a lock: {exc.strerror or exc}; nothing was written", code="DN505"
            ) from exc

    def _put_in_place(self, plan: Plan, *, force: bool) -> list[str]:
        """Write the files; returns the names of those that changed or were removed."""
        try:
            return write(plan, self.directory, force=force)
        except OSError as exc:
            why = exc.strerror or exc
            raise UsageError(
                f"{self.directory} could not be written: {why}; nothing was changed", code="DN505"
            ) from exc

    def _summary(self, plan: Plan, changed: list[str], report: CheckReport | None) -> str:
        unchanged = "" if changed else " (nothing changed)"
        lines = [f"capability {plan.name} is in {self.directory}{unchanged}"]
        lines += tree(self.directory.resolve())
        lines += [f"removed: {name}" for name in changed if name not in plan.files]
        lines += plan.notes
        lines += [f"warning: {warning}" for warning in plan.warnings]
        lines += [] if report is None else [str(report)]
        return "\n".join(lines)

    def _heed_interrupt(self) -> None:
        """Let an interrupt that came while nothing was awaited take effect: nothing is written yet.

        Not by giving way to the loop: ipykernel 7.4 deals in between with what a front end sends, and where
        that ends after this cell, it takes the next cell for this one.

        Raises:
            CancelledError: there was one.
        """
        task = asyncio.current_task()
        if self.was_interrupted() or (task is not None and task.cancelling()):
            raise asyncio.CancelledError

    def say(self, text: str) -> None:
        """Say what is about to run; standard output is the answer's alone."""
        sys.stderr.write(f"{shown(text)}\n")

    # -- what a kernel knows better --------------------------------------------------------------------

    def handlers(self, plan: Plan) -> dict[str, list[HandlerKey]]:
        """Return the handlers of the notebook's workers: here those that the scripts show."""
        texts = texts_of(plan.files)
        return {
            name: handlers_in_script(plan.files[p].decode(), p, texts) for name, p in plan.scripts.items()
        }

    async def recorded(self) -> list[EventEnvelope]:
        """Return recorded events that came from outside."""
        return []

    def was_interrupted(self) -> bool:
        """Return whether the user interrupted, and the loop does not know it yet."""
        return False

    def run_in_notebook(self, plan: Plan) -> RunInNotebook | None:
        """Return what fires events at the notebook; None where nothing runs."""
        return None

    def held(self, plan: Plan) -> list[str]:
        """Return the names of containers that handlers reach and that are not empty; none for a file."""
        return []


class FileExport(Export):
    """An export of an `.ipynb` file, without a kernel.

    Raises:
        UsageError: the file is no notebook.
    """

    def __init__(
        self,
        file: Path,
        directory: Path,
        *,
        target: TargetName,
        topology: Topology,
        name: str | None = None,
    ) -> None:
        beside = file.resolve().parent
        super().__init__(read_notebook(file), beside, directory, target=target, topology=topology, name=name)
        self._file = file

    async def recorded(self) -> list[EventEnvelope]:
        """Return the events that came from outside, of the notebook's journal where it has one."""
        journal = journal_of(self._file.resolve())
        if journal is None or not journal.is_file():
            return []
        try:
            with JournalReader(journal) as reader:
                return await asyncio.to_thread(reader.events, EVENTS_SEARCHED, from_outside=True)
        except JournalError as exc:
            raise UsageError(f"{exc}; name a file of events: --events FILE", code="DN509") from exc


def _choose(file: Path, kinds: Collection[str]) -> list[EventEnvelope]:
    """Return the events of a file that workers listen to.

    Raises:
        UsageError: there are none, or the file cannot be read.
    """
    found = read_events(file)
    chosen = [event for event in found if event.kind in kinds]
    if not chosen:
        have = ", ".join(dict.fromkeys(event.kind for event in found)) or "none"
        heard = ", ".join(sorted(kinds)) or "nothing"
        raise UsageError(
            f"{file} has events of {have}, and the workers listen to {heard}; name another file", code="DN509"
        )
    return chosen


def _existing_manifest(directory: Path) -> str | None:
    try:
        return read_text(directory / MANIFEST_NAME)
    except UnreadableFile:
        return None


def project_requirements(directory: Path) -> list[str]:
    """Return the dependencies of the project in a directory; none where there is no project."""
    try:
        project = tomllib.loads(read_text(directory / "pyproject.toml")).get("project", {})
    except (OSError, ValueError, RecursionError):
        return []
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return [text for group in groups for text in group if isinstance(text, str)]


def capability_name(directory: Path) -> str:
    """Make a legal capability name from a directory's name."""
    name = re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-")
    return name or "notebook"
