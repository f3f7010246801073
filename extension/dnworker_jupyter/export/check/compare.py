"""Compares what an export did in the sandbox with the notebook, and fills the report; used by check."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.envelope import EventEnvelope
from dnworker.core.handlers import HandlerKey
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner
from dnworker_jupyter.export.check.observe import CheckRun, Effect, blended, differences, shown
from dnworker_jupyter.export.check.report import CheckReport

NOTHING_FIRED = "no recorded event that its workers listen to: handlers of events were not tried"

_LACKING = (
    "NameError",
    "UnboundLocalError",
    "ImportError",
    "ModuleNotFoundError",
    "AttributeError",
    "KeyError",
)
"""Errors of tasks that say that the export lacks something; other errors may come from a missing service."""


def note_sdk(report: CheckReport, answer: Mapping[str, Any] | None, manifest: CapabilityManifest) -> None:
    """Note whether the reference's SDK loads the export; nothing where there is no SDK."""
    if answer is None:
        return
    if (error := answer.get("error")) is not None:
        report.note(False, "dreadnode does not load it", [error])
        return
    ours, theirs = sorted(manifest.workers), answer["workers"]
    details = [] if ours == theirs else [f"its workers there are {', '.join(theirs)}, not {', '.join(ours)}"]
    report.note(not details, f"dreadnode {answer['version']} loads it", details)


def note_worker(
    report: CheckReport,
    name: str,
    worker: Mapping[str, Any],
    expected: Sequence[HandlerKey] | None,
    *,
    exact: bool,
) -> None:
    """Note the state of a worker of the export, and its handlers.

    Args:
        report: takes the findings.
        name: of the worker.
        worker: what the harness says of it.
        expected: the handlers of the notebook's worker; None for a program.
        exact: whether `expected` are those that run; False where the cells were only read.
    """
    is_well = worker["state"] == "running" and (worker["up"] or expected is None)
    error = str(worker["error"] or "").partition(SubprocessWorkerRunner.OUTPUT_ERROR_MARKER)[0]
    output = [] if is_well else [*error.splitlines(), *worker["output"]]
    state = worker["state"] if worker["up"] or worker["state"] != "running" else "running, and hears nothing"
    report.note(is_well, f"{name} is {state}, {worker['topology']}", [line for line in output if line])
    if expected is not None and worker["handlers"] is not None:
        there = sorted(HandlerKey(*h) for h in worker["handlers"])
        _note_handlers(report, name, sorted({HandlerKey(*h) for h in expected}), there, exact=exact)


def _note_handlers(
    report: CheckReport, name: str, here: list[HandlerKey], there: list[HandlerKey], *, exact: bool
) -> None:
    if not exact:  # a trigger that is not a literal in the cells is known to the running worker only
        here = [h if h in there else _of_same_name(h, there) for h in here]
    details = [f"- {' '.join(h)}" for h in here if h not in there]
    details += [f"+ {' '.join(h)}" for h in there if h not in here]
    source = "as in the notebook" if exact else "as the cells say"
    report.note(
        not details, f"{name} has {counted(len(there), 'handler')}{'' if details else f', {source}'}", details
    )


def _of_same_name(handler: HandlerKey, there: Sequence[HandlerKey]) -> HandlerKey:
    same = (t for t in there if (t.decorator, t.name) == (handler.decorator, handler.name))
    return next(same, handler)


def note_failures(report: CheckReport, events: Sequence[EventEnvelope], export: CheckRun) -> None:
    """Note what fails in the export, where no notebook runs to compare it with."""
    details = [
        f"#{event.seq} {event.kind}: {shown(effect)}"
        for event, effects in zip(events, export.events, strict=True)
        for effect in effects
        if effect[1].startswith(("raises", "is "))  # is cancelled, is still running
    ]
    background = [shown(effect) for effect in export.background]
    lacking = [line for line in background if any(f"raises {name}" in line for name in _LACKING)]
    details += [*lacking, *_hints([*details, *lacking])]
    text = f"{counted(len(events), 'event')} fired at the export" if events else NOTHING_FIRED
    others = [line for line in background if line not in lacking]
    report.note(not details, f"{text}; {'; '.join(others)}" if others else text, details)


def note_differences(
    report: CheckReport,
    events: Sequence[EventEnvelope],
    export: CheckRun,
    runs: tuple[CheckRun, CheckRun],
    held: Sequence[str],
) -> None:
    """Note where the export does something else than the notebook did in both of its runs."""
    details, varying, failing = [], 0, 0
    for event, one, other, there in zip(events, runs[0].events, runs[1].events, export.events, strict=True):
        notebook = blended(one, other)
        if notebook is None:
            varying += 1
            found = _errors_of_neither([*one, *other], there)
        else:
            found = differences(notebook, there)
            failing += any(action.startswith("raises") for _, action, _ in there) and not found
        details += [f"#{event.seq} {event.kind}", *(f"  {line}" for line in found)] if found else []
    known = {effect[:2] for run in runs for effect in run.background}
    details += [f"+ {shown(effect)}" for effect in export.background if effect[:2] not in known]
    details += _hints(details)
    if details and held:
        details.append(
            f"the notebook's side began with what these are by now: {', '.join(held)}; an export begins "
            "with what the cells say. What is to be kept belongs into worker.state"
        )
    report.note(not details, _title(len(events), bool(details), varying, failing), details)


def _errors_of_neither(notebook: Sequence[Effect], export: Sequence[Effect]) -> list[str]:
    """Return the errors of the export that neither run of the notebook has."""
    known = {effect[:2] for effect in notebook}
    return [f"+ {shown(e)}" for e in export if e[1].startswith("raises") and e[:2] not in known]


def _title(count: int, differs: bool, varying: int, failing: int) -> str:
    fired = f"{counted(count, 'event')} fired"
    aside = f" ({varying} do something else in each run, and were not compared)" if varying else ""
    if failing:
        aside += f"; {failing} of them fail in both"
    if differs:
        return f"{fired}: notebook (-) and export (+) differ{aside}"
    if not count:
        return NOTHING_FIRED
    if varying == count:
        return f"{fired}: each does something else in each run, so nothing could be compared"
    return f"{fired}: notebook and export do the same{aside}"


def _hints(details: Sequence[str]) -> list[str]:
    """Return remedies for errors whose cause is the clean environment."""
    errors = "\n".join(line for line in details if not line.lstrip().startswith("-"))
    named = dict.fromkeys(re.findall(r"raises KeyError: '([A-Za-z_]\w*)'", errors))
    hints = [
        f"{name} is set here, and not in a clean environment; give it by --env '{name}=${{{name}}}'"
        for name in named
        if name in os.environ
    ]
    if "FileNotFoundError" in errors and "dnworker-check-" in errors:
        hints.append(
            "the export has an empty HOME, and PATH has what the manifest names; name places by --env"
        )
    return hints


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `2 events`."""
    return f"{count} {noun if count == 1 else noun + 's'}"
