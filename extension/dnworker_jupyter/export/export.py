"""`Export`: one export of cells to a directory; `FileExport` takes them from a file, for the command line."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.errors import JournalError, UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.engine.replay import read_events
from dnworker.events.journal import JournalReader
from dnworker_jupyter.export.check.check import CheckFailed, CheckReport, Rehearse, check
from dnworker_jupyter.export.disk.diff import CapabilityDiff, compare, handlers_of, texts_of
from dnworker_jupyter.export.disk.uv import LOCK, locked, with_old_locks
from dnworker_jupyter.export.disk.write import ensure_writable, read_export, tree, write
from dnworker_jupyter.export.planning.plan import Plan, plan_export
from dnworker_jupyter.export.planning.types import TargetName, Topology
from dnworker_jupyter.export.slicing.cells import read_notebook
from dnworker_jupyter.kernel.notebook_file import journal_of

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker_jupyter.export.planning.types import OnProgress
    from dnworker_jupyter.kernel.cells import Cell

EVENTS_CHECKED = 20
"""Recorded events that a check fires, the newest that the workers listen to."""

EVENTS_SEARCHED = 1_000


class Export:
    """One export of a notebook to a directory.

    Args:
        cells: that count, in the order of definition.
        beside: the directory of the notebook.
        directory: the capability's.
        target: what the scripts import.
        topology: how the manifest runs them.
        registered: the names of the handlers that run live, by worker; None without a kernel.
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
    ) -> None:
        self.directory = directory
        self._cells = cells
        self._beside = beside
        self._target = target
        self._topology = topology
        self._registered = registered

    def plan(self) -> Plan:
        """Plan it.

        Raises:
            NotExportable: something cannot travel.
            ManifestError: the manifest's head breaks a rule.
        """
        return plan_export(
            self._cells,
            default_name=capability_name(self.directory),
            target=self._target,
            topology=self._topology,
            registered=self._registered,
            project=project_requirements(self._beside),
            beside=self._beside,
            existing=_existing_manifest(self.directory),
        )

    def diff(self) -> CapabilityDiff:
        """Compare what it would write with the last one into the directory.

        Raises:
            UsageError: something cannot travel, or there is no export to compare with.
            ManifestError: a manifest breaks a rule.
        """
        old, plan = read_export(self.directory), self.plan()
        locks = {path: data for path, data in old.items() if path.endswith(LOCK)}
        return compare({p: d for p, d in old.items() if p not in locks}, plan.files)

    async def check(
        self, plan: Plan, on_progress: OnProgress, *, events: Path | None = None, sdk: str | None = None
    ) -> CheckReport:
        """Run it, somewhere else, and compare it with the notebook.

        Args:
            plan: of it.
            on_progress: called with what is waited for.
            events: a JSON Lines file of those to fire; None to take recorded ones.
            sdk: an interpreter that has the reference's SDK.

        Raises:
            UsageError: the file of events cannot be read.
        """
        ensure_writable(plan, self.directory, force=True)  # what an export would refuse whatever comes
        handlers = self.handlers(plan)
        kinds = {handler[1] for found in handlers.values() for handler in found if handler[0] == "on_event"}
        found = read_events(events) if events is not None else await self.recorded()
        chosen = [event for event in found if event.kind in kinds]
        if events is not None and not chosen:
            have = ", ".join(dict.fromkeys(event.kind for event in found)) or "none"
            heard = ", ".join(sorted(kinds)) or "nothing"
            raise UsageError(
                f"{events} has events of {have}, and the workers listen to {heard}; name another file"
            )
        try:
            return await check(
                plan,
                self.directory,
                events=chosen if events is not None else chosen[-EVENTS_CHECKED:],
                handlers=handlers,
                rehearse=self.rehearsal(plan),
                held=self.held(plan),
                sdk=None if sdk is None else str(Path(sdk).absolute()),
                on_progress=on_progress,
            )
        except OSError as exc:
            raise UsageError(
                f"there is no room for a check: {exc.strerror or exc}; nothing was written"
            ) from exc

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
        """Write it, and return what to tell the user.

        Args:
            on_progress: called with what is waited for.
            force: write over files that were edited by hand.
            lock: have uv lock the scripts that run under it.
            checked: write nothing unless the check passes; `events` and `sdk` as there.
            events: see `check`.
            sdk: see `check`.

        Raises:
            UsageError: something cannot travel, the directory was edited by hand, or the check failed.
            ManifestError: the manifest's head breaks a rule.
        """
        plan = with_old_locks(self.plan(), self.directory)
        self._heed_interrupt()
        ensure_writable(plan, self.directory, force=force)  # before it takes long
        try:
            plan = await locked(plan, self.directory, on_progress) if lock else plan
        except OSError as exc:
            raise UsageError(
                f"there is no room for a lock: {exc.strerror or exc}; nothing was written"
            ) from exc
        report = await self.check(plan, on_progress, events=events, sdk=sdk) if checked else None
        if report is not None and not report.ok:
            raise CheckFailed(report)
        self._heed_interrupt()
        try:
            changed = write(plan, self.directory, force=force)
        except OSError as exc:
            why = exc.strerror or exc
            raise UsageError(f"{self.directory} could not be written: {why}; nothing was changed") from exc
        told = f"capability {plan.name} is in {self.directory}"
        warned = [f"warning: {warning}" for warning in plan.warnings]
        told = told if changed else f"{told} (nothing changed)"
        gone = [f"removed: {name}" for name in changed if name not in plan.files]
        passed = [] if report is None else [str(report)]
        return "\n".join([told, *tree(self.directory.resolve()), *gone, *plan.notes, *warned, *passed])

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

    # -- what a kernel knows better --------------------------------------------------------------------

    def handlers(self, plan: Plan) -> dict[str, list[HandlerKey]]:
        """Return the handlers of the notebook's workers: here those that a reader sees."""
        texts = texts_of(plan.files)
        return {name: handlers_of(plan.files[p].decode(), p, texts) for name, p in plan.scripts.items()}

    async def recorded(self) -> list[EventEnvelope]:
        """Return recorded events that came from outside."""
        return []

    def was_interrupted(self) -> bool:
        """Tell whether somebody asked to stop, and the loop does not know it yet."""
        return False

    def rehearsal(self, plan: Plan) -> Rehearse | None:
        """Return what fires events at the notebook; None where nothing runs."""
        return None

    def held(self, plan: Plan) -> list[str]:
        """Return the names of containers that handlers reach, and that hold something; none in a file."""
        return []


class FileExport(Export):
    """An export of an `.ipynb` file, without a kernel.

    Raises:
        UsageError: the file is no notebook.
    """

    def __init__(self, file: Path, directory: Path, *, target: TargetName, topology: Topology) -> None:
        beside = file.resolve().parent
        super().__init__(read_notebook(file), beside, directory, target=target, topology=topology)
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
            raise UsageError(f"{exc}; name a file of events: --events FILE") from exc


def _existing_manifest(directory: Path) -> str | None:
    try:
        return (directory / MANIFEST_NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def project_requirements(directory: Path) -> list[str]:
    """Return what the project of a directory says it depends on; nothing where there is no project."""
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return []
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return [text for group in groups for text in group if isinstance(text, str)]


def capability_name(directory: Path) -> str:
    """Make a legal name of a directory's."""
    name = re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-")
    return name or "notebook"
