"""`--check`: does the export do what the notebook does? It is run, and both get the same events."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.errors import Refused
from dnworker.events import EventEnvelope, encode
from dnworker.process import SubprocessWorkerRunner
from dnworker_jupyter.export.difference import Handler
from dnworker_jupyter.export.observing import (
    EVENT_SECONDS,
    THE_EVENT,
    Observation,
    Tell,
    blended,
    differences,
)
from dnworker_jupyter.export.plan import Plan
from dnworker_jupyter.export.stranger import run_trial
from dnworker_jupyter.export.trial import Asked
from dnworker_jupyter.export.writing import write

Rehearse = Callable[[Sequence[EventEnvelope], Tell], Awaitable[list[Observation]]]
"""Fires events at the workers of the notebook, each time from a fresh start."""


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


class CheckFailed(Refused):
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
    handlers: Mapping[str, Sequence[Handler]],
    events: Sequence[EventEnvelope] = (),
    rehearse: Rehearse | None = None,
    held: Sequence[str] = (),
    sdk: str | None = None,
    tell: Tell = lambda text, done, total: None,
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
        tell: takes what is waited for.
        timeout: seconds for what an event causes.

    Raises:
        OSError: there is no room for it.
    """
    report = CheckReport(plan.name)
    with tempfile.TemporaryDirectory(prefix="dnworker-check-") as place:
        root = Path(place, "capability", plan.name)
        if directory.is_dir():
            await asyncio.to_thread(_copy, directory, root)
        write(plan, root, force=True)
        manifest = load_manifest(root)
        texts = [encode(event).decode() for event in events]
        asked = Asked(str(root), list(handlers), texts, sdk or _sdk_here(), timeout)
        answer = await run_trial(asked, manifest, Path(place), tell)
        problems = [text.replace(f"{root}/", "").replace(place, "") for text in answer.get("problems", [])]
        report.note(not problems, f"manifest: {_counted(len(plan.entries), 'worker')}", problems)
        if (problem := answer.get("environment") or answer.get("error")) is not None:
            report.note(False, "the export does not run", str(problem).splitlines())
            return report
        _compare_sdk(report, answer["sdk"], manifest)
        for name, worker in answer["workers"].items():
            _compare_worker(report, name, worker, handlers.get(name), exact=rehearse is not None)
        if not events:
            report.note(True, "no recorded event that its workers listen to: handlers were not tried")
        else:
            export = [
                [(d[0], d[1], d[2]) for d in seen if d[0] == THE_EVENT or _worker(d) in handlers]
                for seen in answer["seen"]
            ]
            await _compare_events(report, events, export, rehearse, held, tell)
    return report


def _sdk_here() -> str | None:
    try:
        importlib.metadata.version("dreadnode")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


def _copy(directory: Path, to: Path) -> None:
    """Copy what is in a capability's directory: its files and links, and nothing that is neither."""

    def neither(place: str, names: list[str]) -> list[str]:
        found = [Path(place, name) for name in names]
        return [f.name for f in found if not (f.is_symlink() or f.is_file() or f.is_dir())]

    try:
        shutil.copytree(directory, to, symlinks=True, ignore=neither)
    except (shutil.Error, OSError) as exc:
        first = exc.args[0][0][2] if isinstance(exc, shutil.Error) else exc
        raise Refused(f"{directory} could not be copied for the check: {first}; nothing was written") from exc


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
    expected: Sequence[Handler] | None,
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
    there: list[Handler] = sorted((h[0], h[1], h[2]) for h in worker["handlers"])
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


def _worker(did: Sequence[Any]) -> str:
    """Return the worker that did something; programs in other languages have no side in the notebook."""
    return str(did[0]).partition(".")[0]


async def _compare_events(
    report: CheckReport,
    events: Sequence[EventEnvelope],
    export: Sequence[Observation],
    rehearse: Rehearse | None,
    held: Sequence[str],
    tell: Tell,
) -> None:
    if rehearse is None:
        details = [
            f"#{event.seq} {event.kind}: {who} {what}: {value}"
            for event, observation in zip(events, export, strict=True)
            for who, what, value in observation
            if what.startswith(("raises", "is "))  # is cancelled, is not done with
        ]
        details += _hints(details)
        report.note(not details, f"{_counted(len(events), 'event')} fired at the export", details)
        return
    # Twice: what differs between two runs of the same code says nothing of the export.
    first, second = await rehearse(events, tell), await rehearse(events, tell)
    details, vary, failing = [], 0, 0
    for event, one, other, there in zip(events, first, second, export, strict=True):
        notebook = blended(one, other)
        if notebook is None:
            vary += 1
            continue
        found = differences(notebook, there)
        details += [f"#{event.seq} {event.kind}", *(f"  {line}" for line in found)] if found else []
        failing += any(what.startswith("raises") for _, what, _ in there) and not found
    details += _hints(details)
    if details and held:
        details.append(
            f"the notebook's side began with what these hold by now: {', '.join(held)}; an export begins "
            "with what the cells say. What is to be kept belongs into worker.state"
        )
    aside = f" ({vary} do another thing each time, and tell nothing)" if vary else ""
    if failing:
        aside += f"; {failing} of them fail in both"
    count = _counted(len(events), "event")
    same = f"{count} fired: notebook and export do the same{aside}"
    text = same if not details else f"{count} fired: notebook (-) and export (+) differ{aside}"
    report.note(not details, text, details)
