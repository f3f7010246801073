"""`--check`: does the export do what the notebook does? It is run, and both get the same events."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.core.envelope import EventEnvelope, encode
from dnworker.core.errors import UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner
from dnworker_jupyter.export.check.harness import Asked
from dnworker_jupyter.export.check.observe import (
    EVENT_SECONDS,
    THE_EVENT,
    Observation,
    Seen,
    blended,
    differences,
    shown,
)
from dnworker_jupyter.export.check.sandbox import run_trial
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.planning.types import OnProgress

Rehearse = Callable[[Sequence[EventEnvelope], OnProgress], Awaitable[Seen]]
"""Fires events at the workers of the notebook, each time with an empty state."""

NOTHING_FIRED = "no recorded event that its workers listen to: handlers of events were not tried"

_LACKING = (
    "NameError",
    "UnboundLocalError",
    "ImportError",
    "ModuleNotFoundError",
    "AttributeError",
    "KeyError",
)
"""What tasks raise where something did not travel; that a service does not answer here is no fault of it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `details` say more where it is not as it should be."""

    ok: bool
    text: str
    details: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Return it as lines of text."""
        yield f"  {'+' if self.ok else 'x'} {self.text}"
        for detail in self.details:
            yield f"      {detail}"


@dataclass
class CheckReport:
    """What came out of a check."""

    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return all(finding.ok for finding in self.findings)

    def note(self, ok: bool, text: str, details: Sequence[str] = ()) -> None:
        """Add what was found."""
        self.findings.append(Finding(ok, text, tuple(details)))

    def __str__(self) -> str:
        wrong = sum(1 for finding in self.findings if not finding.ok)
        title = f"check of {self.name}: " + (f"{wrong} of {len(self.findings)} failed" if wrong else "passed")
        return "\n".join([title, *(line for finding in self.findings for line in finding.lines())])

    def as_json(self) -> dict[str, Any]:
        """Return it for tools."""
        found = [{"ok": f.ok, "text": f.text, "details": list(f.details)} for f in self.findings]
        return {"ok": self.ok, "capability": self.name, "findings": found}


class CheckFailed(UsageError):
    """The export does not do what the notebook does; `report` says where."""

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        super().__init__(f"{report}\nnothing was written")

    def as_json(self) -> dict[str, Any]:
        """Return it for tools."""
        return {
            "error": f"the check of {self.report.name} failed; nothing was written",
            **self.report.as_json(),
        }


async def check(
    plan: Plan,
    directory: Path,
    *,
    handlers: Mapping[str, Sequence[HandlerKey]],
    events: Sequence[EventEnvelope] = (),
    rehearse: Rehearse | None = None,
    held: Sequence[str] = (),
    sdk: str | None = None,
    on_progress: OnProgress = lambda text, done, total: None,
    timeout: float = EVENT_SECONDS,
) -> CheckReport:
    """Run what an export would write, in a place of its own, and compare it with the notebook.

    Args:
        plan: of the export.
        directory: where it goes; what others have there is looked at with it, and not touched.
        handlers: of the notebook's workers.
        events: fired at both.
        rehearse: fires events at the notebook, where it runs; without it `handlers` are those that the cells
            show, and the export's errors are told, not differences.
        held: names of the notebook that hold what handlers have put there, with which its side begins.
        sdk: an interpreter that has the reference's SDK; None to look for one here and in the scripts'
            environments.
        on_progress: called with what is waited for.
        timeout: seconds for what an event causes.

    Raises:
        OSError: there is no room for it.
    """
    report = CheckReport(plan.name)
    with tempfile.TemporaryDirectory(prefix="dnworker-check-") as place:
        root = Path(place, "capability", plan.name)
        if directory.is_dir():
            await _copied(directory, root)
        write(plan, root, force=True)
        manifest = load_manifest(root)
        texts = [encode(event).decode() for event in events]
        asked = Asked(str(root), list(handlers), texts, sdk or _sdk_here(), timeout)
        answer = await run_trial(asked, manifest, Path(place), on_progress)
        found = answer.get("problems")
        problems = [text.replace(f"{root}/", "").replace(place, "") for text in found or ()]
        if found is not None:
            report.note(not problems, f"manifest: {_counted(len(plan.entries), 'worker')}", problems)
        if (problem := answer.get("environment") or answer.get("error")) is not None:
            report.note(False, "the export does not run", str(problem).splitlines())
            return report
        _compare_sdk(report, answer["sdk"], manifest)
        for name, worker in answer["workers"].items():
            _compare_worker(report, name, worker, handlers.get(name), exact=rehearse is not None)
        export = Seen(
            [_of_workers(seen, handlers) for seen in answer["seen"]], _of_workers(answer["aside"], handlers)
        )
        if rehearse is None:
            _told_of_one_side(report, events, export)
        else:
            # Twice: what differs between two runs of the same code says nothing of the export.
            runs = await rehearse(events, on_progress), await rehearse(events, on_progress)
            _compare_events(report, events, export, runs, held)
    return report


def _sdk_here() -> str | None:
    try:
        importlib.metadata.version("dreadnode")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


async def _copied(directory: Path, to: Path) -> None:
    """Copy a directory on a thread, which ends when this is cancelled."""
    stop = threading.Event()
    copying = asyncio.ensure_future(asyncio.to_thread(_copy, directory, to, stop))
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({copying})
        copying.exception()  # what an interrupt makes of a copy is no news
        raise


def _copy(directory: Path, to: Path, stop: threading.Event) -> None:
    """Copy what is in a capability's directory: its files and links, and nothing that is neither."""

    def copy(source: str, target: str) -> str:
        if stop.is_set():
            raise InterruptedError("it was interrupted")
        return str(shutil.copy2(source, target, follow_symlinks=False))

    def neither(place: str, names: list[str]) -> list[str]:
        found = [Path(place, name) for name in names]
        return [f.name for f in found if not (f.is_symlink() or f.is_file() or f.is_dir())]

    try:
        shutil.copytree(directory, to, symlinks=True, ignore=neither, copy_function=copy)
        for link in [path for path in to.rglob("*") if path.is_symlink()]:
            place = directory / link.relative_to(to)
            if not place.readlink().is_absolute() and not place.resolve().is_relative_to(directory.resolve()):
                link.unlink()  # it leads out, and from here to somewhere else
                link.symlink_to(place.resolve())
    except (shutil.Error, OSError) as exc:
        first = exc.args[0][0][2] if isinstance(exc, shutil.Error) else exc
        raise UsageError(
            f"{directory} could not be copied for the check: {first}; nothing was written"
        ) from exc


# -- comparing -----------------------------------------------------------------------------------------


def _compare_sdk(report: CheckReport, answer: Mapping[str, Any] | None, manifest: CapabilityManifest) -> None:
    if answer is None:
        return
    if (error := answer.get("error")) is not None:
        report.note(False, "dreadnode does not load it", [error])
        return
    ours, theirs = sorted(manifest.workers), answer["workers"]
    details = [] if ours == theirs else [f"its workers there are {', '.join(theirs)}, not {', '.join(ours)}"]
    report.note(not details, f"dreadnode {answer['version']} loads it", details)


def _compare_worker(
    report: CheckReport,
    name: str,
    worker: Mapping[str, Any],
    expected: Sequence[HandlerKey] | None,
    *,
    exact: bool,
) -> None:
    is_well = worker["state"] == "running" and (worker["up"] or expected is None)
    error = str(worker["error"] or "").partition(SubprocessWorkerRunner.OUTPUT_ERROR_MARKER)[0]
    told = [*error.splitlines(), *worker["said"]] if not is_well else []
    state = worker["state"] if worker["up"] or worker["state"] != "running" else "running, and hears nothing"
    report.note(is_well, f"{name} is {state}, {worker['topology']}", [line for line in told if line])
    if expected is None or worker["handlers"] is None:
        return
    there: list[HandlerKey] = sorted(HandlerKey(*h) for h in worker["handlers"])
    here = sorted(set(expected))
    if not exact:  # what the source does not spell out, the running worker knows
        here = [h if h in there else next((t for t in there if t[::2] == h[::2]), h) for h in here]
    details = [f"- {' '.join(h)}" for h in here if h not in there]
    details += [f"+ {' '.join(h)}" for h in there if h not in here]
    of = "as in the notebook" if exact else "as the cells say"
    handlers = _counted(len(there), "handler")
    report.note(not details, f"{name} has {handlers}{'' if details else f', {of}'}", details)


def _hints(details: Sequence[str]) -> list[str]:
    """Say what to do about what a clean environment brings to light."""
    told = "\n".join(line for line in details if not line.lstrip().startswith("-"))
    named = dict.fromkeys(re.findall(r"raises KeyError: '([A-Za-z_]\w*)'", told))
    hints = [
        f"{name} is set here, and not in a clean environment; give it by --env '{name}=${{{name}}}'"
        for name in named
        if name in os.environ
    ]
    if "FileNotFoundError" in told and "dnworker-check-" in told:
        hints.append(
            "the export has an empty HOME, and PATH has what the manifest names; name places by --env"
        )
    return hints


def _counted(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what + 's'}"


def _told_of_one_side(report: CheckReport, events: Sequence[EventEnvelope], export: Seen) -> None:
    """Tell what fails at the export, where there is no notebook beside it that runs."""
    details = [
        f"#{event.seq} {event.kind}: {shown(did)}"
        for event, observation in zip(events, export.events, strict=True)
        for did in observation
        if did[1].startswith(("raises", "is "))  # is cancelled, is still running
    ]
    aside = [shown(did) for did in export.aside]
    lacking = [line for line in aside if any(f"raises {name}" in line for name in _LACKING)]
    details += [*lacking, *_hints([*details, *lacking])]
    text = f"{_counted(len(events), 'event')} fired at the export" if events else NOTHING_FIRED
    others = [line for line in aside if line not in lacking]
    report.note(not details, f"{text}; {'; '.join(others)}" if others else text, details)


def _compare_events(
    report: CheckReport,
    events: Sequence[EventEnvelope],
    export: Seen,
    runs: tuple[Seen, Seen],
    held: Sequence[str],
) -> None:
    details, vary, failing = [], 0, 0
    for event, one, other, there in zip(events, runs[0].events, runs[1].events, export.events, strict=True):
        notebook = blended(one, other)
        if notebook is None:
            vary += 1
            known = {did[:2] for did in (*one, *other)}
            found = [f"+ {shown(d)}" for d in there if d[1].startswith("raises") and d[:2] not in known]
        else:
            found = differences(notebook, there)
            failing += any(what.startswith("raises") for _, what, _ in there) and not found
        details += [f"#{event.seq} {event.kind}", *(f"  {line}" for line in found)] if found else []
    known = {did[:2] for run in runs for did in run.aside}
    details += [f"+ {shown(did)}" for did in export.aside if did[:2] not in known]
    details += _hints(details)
    if details and held:
        details.append(
            f"the notebook's side began with what these are by now: {', '.join(held)}; an export begins "
            "with what the cells say. What is to be kept belongs into worker.state"
        )
    aside = f" ({vary} do another thing each time, and tell nothing)" if vary else ""
    if failing:
        aside += f"; {failing} of them fail in both"
    count = _counted(len(events), "event")
    same = f"{count} fired: notebook and export do the same{aside}" if events else NOTHING_FIRED
    if events and vary == len(events):
        same = f"{count} fired: each does another thing each time, so nothing could be compared"
    report.note(
        not details, f"{count} fired: notebook (-) and export (+) differ{aside}" if details else same, details
    )


def _of_workers(seen: Sequence[Sequence[Any]], workers: Mapping[str, object]) -> Observation:
    """Return what workers with handlers did; programs in other languages have no side in the notebook."""
    return [(d[0], d[1], d[2]) for d in seen if d[0] == THE_EVENT or str(d[0]).partition(".")[0] in workers]
