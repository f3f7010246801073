"""Words what a check found, as findings of its report; used by check."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.envelope import EventEnvelope
from dnworker.core.handlers import HandlerKey
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner
from dnworker_jupyter.export.check.compare import LACKING, Verdict, shown_effect
from dnworker_jupyter.export.check.patterns import STILL, Bucket
from dnworker_jupyter.export.check.record import EVENTS_LIMIT, RAISES, CheckRun, WorkerStart
from dnworker_jupyter.export.check.report import CheckReport
from dnworker_jupyter.export.check.values import shown

NOTHING_FIRED = "no recorded event that its workers listen to: handlers of events were not tried"

NAMED = 8
"""How many names a list in a report has."""


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
    here: WorkerStart | None = None,
) -> None:
    """Note the state of a worker of the export, and its handlers.

    Args:
        report: takes the findings.
        name: of the worker.
        worker: what the harness says of it.
        expected: the handlers of the notebook's worker; None for a program.
        exact: whether `expected` are those that run; False where the cells were only read.
        here: how the worker came up in the notebook, from a fresh start; None where no notebook runs.
    """
    is_well = worker["state"] == "running" and (worker["up"] or expected is None)
    error = str(worker["error"] or "").partition(SubprocessWorkerRunner.OUTPUT_ERROR_MARKER)[0]
    output = [] if is_well else [*error.splitlines(), *worker["output"]]
    state = worker["state"] if worker["up"] or worker["state"] != "running" else "running, and hears nothing"
    details = [line for line in output if line]
    if here is not None and here.state != "running":
        is_well, details = False, [*_start_lines(here, is_well=is_well), *details]
    report.note(is_well, f"{name} is {state}, {worker['topology']}", details)
    if expected is not None and worker["handlers"] is not None:
        there = sorted(HandlerKey(*h) for h in worker["handlers"])
        _note_handlers(report, name, sorted({HandlerKey(*h) for h in expected}), there, exact=exact)


def _start_lines(here: WorkerStart, *, is_well: bool) -> list[str]:
    """Return what to say of a worker that does not come up in the notebook, started beside itself."""
    reason = shown(here.error or f"it was {here.state} when its time was up", 300)
    if is_well:
        lines = [f"the export comes up; in the notebook, started once more, it does not: {reason}"]
    else:
        lines = [f"it comes up on neither side; in the notebook, started once more: {reason}"]
    if "in use" in reason or "lock" in reason.lower():
        lines.append("the worker that runs here may hold what both need; stop it first: %worker stop NAME")
    return lines


def _note_handlers(
    report: CheckReport, name: str, here: list[HandlerKey], there: list[HandlerKey], *, exact: bool
) -> None:
    if not exact:  # a trigger that is not a literal in the cells is known to the running worker only
        here = [h if h in there else _of_same_name(h, there) for h in here]
    details = [f"- {' '.join(h)}" for h in here if h not in there]
    if exact or details:  # what a loop or a call registers, cells that were only read do not show
        details += [f"+ {' '.join(h)}" for h in there if h not in here]
    source = "as in the notebook" if exact else "as the cells say"
    report.note(
        not details, f"{name} has {counted(len(there), 'handler')}{'' if details else f', {source}'}", details
    )


def _of_same_name(handler: HandlerKey, there: Sequence[HandlerKey]) -> HandlerKey:
    same = (t for t in there if (t.decorator, t.name) == (handler.decorator, handler.name))
    return next(same, handler)


def note_failures(
    report: CheckReport, events: Sequence[EventEnvelope], export: CheckRun, remarks: Sequence[str] = ()
) -> None:
    """Note what fails in the export, where no notebook runs to compare it with."""
    details, others = [], []
    for run in export.runs:
        for effect in [*run.effects, *([] if run.ended else [STILL])]:
            if not effect[0].startswith((RAISES, "is ")):  # is cancelled, is still running
                continue
            line = shown_effect(run.who, effect)
            if run.root == "event":
                details.append(f"{label(events, ('event', run.event))}: {line}")
            elif run.root in ("task", "schedule") and effect[0] == STILL[0]:
                continue
            elif run.root == "task" and effect[0].removeprefix(RAISES) not in LACKING:
                others.append(f"{line}, as {run.root}")
            elif run.root != "startup":  # that is the state of its worker
                details.append(f"{line}, as {run.root}")
    details += [f"a task that a handler started, and nobody awaited, raises {e}" for e in export.unhandled]
    details = [*dict.fromkeys(details)]
    text = f"{counted(len(events), 'event')} fired at the export" if events else NOTHING_FIRED
    others = [*dict.fromkeys(others)]
    report.note(not details, "; ".join([text, *others]), [*details, *hints(details), *remarks])


def note_verdict(
    report: CheckReport,
    events: Sequence[EventEnvelope],
    verdict: Verdict,
    remarks: Sequence[str],
    remedies: Iterable[str] = (),
) -> None:
    """Note where the export does something else than the notebook, and first what fails on both sides.

    Args:
        report: takes the findings.
        events: that were fired.
        verdict: of the comparison.
        remarks: what else is to be known, whatever the verdict.
        remedies: what to do where the sides differ.
    """
    if verdict.failing:
        _note_failing(report, events, verdict)
    details = []
    for bucket, lines in verdict.lines.items():
        details += [label(events, bucket), *(f"  {line}" for line in lines)]
    if details:
        details += hints(details)
        details += [line for line in remedies if line not in details]
    report.note(not verdict.lines, _title(len(events), verdict), [*details, *verdict.background, *remarks])


def _note_failing(report: CheckReport, events: Sequence[EventEnvelope], verdict: Verdict) -> None:
    details = []
    for bucket, who, here, there in verdict.failing:
        errors = [f"{action.removeprefix(RAISES)}: {shown(value, 200)}" for action, value in (here, there)]
        details.append(f"{label(events, bucket)}: {who} raises {errors[0]}, in the notebook")
        details.append(f"{' ' * 4}and {errors[1]}, in the export")
    details += hints([line.replace("raises ", "raises ") for line in details])
    details.append("mend the handler, or fire other events: --events FILE, as %events save writes it")
    count = len({(bucket, who) for bucket, who, _, _ in verdict.failing})
    them = "handler fails" if count == 1 else "handlers fail"
    report.note(
        False,
        f"{count} {them} in the notebook and in the export alike: what they do otherwise was not seen",
        details,
        first=True,
    )


def _title(count: int, verdict: Verdict) -> str:
    if not count:
        if verdict.differs:
            return "notebook (-) and export (+) differ; no event was fired"
        return NOTHING_FIRED
    fired = f"{counted(count, 'event')} fired"
    aside = verdict.unstable_events
    note = f" ({aside} do something else in each run, and were not compared by value)" if aside else ""
    if verdict.differs:
        return f"{fired}: notebook (-) and export (+) differ{note}"
    if verdict.failing:
        failing = len({bucket for bucket, *_ in verdict.failing if bucket[0] == "event"})
        return f"{fired}: no difference was seen{note}; {failing} of them fail on both sides"
    if aside == count:
        return f"{fired}: each does something else in each run, so nothing could be compared by value"
    return f"{fired}: notebook and export do the same{note}"


def label(events: Sequence[EventEnvelope], bucket: Bucket) -> str:
    """Return what people call what began something."""
    root, number = bucket
    if 0 <= number < len(events):
        return f"#{events[number].seq} {events[number].kind}"
    names = {"startup": "at the start", "shutdown": "at the stop", "task": "tasks and schedules"}
    return names.get(root, "by itself")


def remarks_on(
    runs: Sequence[CheckRun], export: CheckRun, verdict: Verdict, events: Sequence[EventEnvelope]
) -> list[str]:
    """Return what is to be known whatever the verdict: what varies, what stands in, what has no end.

    Without runs of the notebook it is said of the export alone.
    """
    runs, found, alone = runs or [export], [], not runs
    if verdict.varying:
        found.append(f"(varies) differs between two runs of the notebook, too: {some(verdict.varying)}")
    if verdict.varying_there:
        found.append(
            f"these differ between two runs of the export, too, each a process: {some(verdict.varying_there)}"
        )
    if verdict.unstable:
        found.append(
            "these do something else in each run of the notebook: "
            f"{some([label(events, bucket) for bucket in verdict.unstable])}"
        )
    agents = dict.fromkeys(a.agent for a in runs[0].answers if a.stand_in)
    agents |= dict.fromkeys(a.agent for a in export.answers)
    if agents:
        first = next(iter(agents))
        way = (
            f"script it, by a cell that begins with %%agent {first}, to try what handlers do with its answers"
        )
        way = "in a kernel, %capability check lets the notebook's own scripts answer" if alone else way
        found.append(f"a stand-in answered for {some(agents)}: {way}")
    if prompts := max(runs[0].prompts, export.prompts):
        found.append(f"a stand-in answered {counted(prompts, 'question')} of agents to a person")
    still = {run.who for run in export.runs if not run.ended and run.root == "event"}
    if still:
        sides = "" if alone else ", on both sides as far as compared"
        found.append(f"still running when the time was up{sides}: {some(still)}")
    for number in export.endless:
        found.append(
            f"{label(events, ('event', number))} causes other events without an end; the first "
            f"{EVENTS_LIMIT:,} were {'kept' if alone else 'compared'}, and no event after it was fired"
        )
    return found


def untried(
    handlers: Mapping[str, Sequence[HandlerKey]], runs: Iterable[CheckRun], events: Sequence[EventEnvelope]
) -> list[str]:
    """Return what to say of handlers of events that nothing made run."""
    ran = {one.who for run in runs for one in run.runs}
    names = [
        f"{worker}.{key.name} ({key.trigger})"
        for worker, keys in handlers.items()
        for key in (HandlerKey(*each) for each in keys)
        if key.decorator == "on_event" and f"{worker}.{key.name}" not in ran
    ]
    return [f"not tried: {some(names)}; %fire such events first"] if names and events else []


def hints(details: Sequence[str]) -> list[str]:
    """Return remedies for errors whose cause is the clean environment."""
    errors = "\n".join(line for line in details if not line.lstrip().startswith("-"))
    named = dict.fromkeys(re.findall(r"KeyError: '([A-Za-z_]\w*)'", errors))
    found = [
        f"{name} is set here, and not in a clean environment; give it by --env '{name}=${{{name}}}'"
        for name in named
        if name in os.environ
    ]
    for agent in dict.fromkeys(re.findall(r"has no agent '([^']+)'", errors)):
        found.append(
            f"an export has no scripts of agents; put {agent} into agents/{agent}.md of the export's "
            "directory, or leave the capability out where a session is created"
        )
    if "FileNotFoundError" in errors and "dnworker-check-" in errors:
        found.append(
            "the export has an empty HOME, and PATH has what the manifest names; name places by --env"
        )
    return found


def environment_hints(scripts: Iterable[str], given: Collection[str]) -> list[str]:
    """Return the remedy for variables that scripts read, that are set here, and that no manifest gives."""
    read = dict.fromkeys(name for text in scripts for name in _READS.findall(text))
    missing = [name for name in read if name in os.environ and name not in given and name not in _EVERYWHERE]
    return [
        f"{name} is read, is set here, and is not in a clean environment; give it by "
        f"--env '{name}=${{{name}}}'"
        for name in missing
    ]


_READS = re.compile(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["']([A-Za-z_]\w*)["']""")
_EVERYWHERE = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "TERM")


def some(names: Iterable[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    listed = [*dict.fromkeys(names)]
    more = f", and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `2 events`."""
    return f"{count} {noun if count == 1 else noun + 's'}"
