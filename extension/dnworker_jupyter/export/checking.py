"""`--check`: does the export do what the notebook does? It is run, and both get the same events."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.cli.validate import examine
from dnworker.errors import Refused
from dnworker.events import EventEnvelope, encode
from dnworker.process import end_at_once
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
from dnworker_jupyter.export.uvtool import UV, ask_uv
from dnworker_jupyter.export.writing import RECORD, write

Rehearse = Callable[[Sequence[EventEnvelope], Tell], Awaitable[list[Observation]]]
"""Fires events at the workers of the notebook, each time from a fresh start."""

END_SECONDS = 10.0
"""Seconds in which a run of the export that is not wanted any more may end in order."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")
_KEPT = re.compile(
    r"UV_\w+|LC_\w+|LANG|TZ|TERM|TMPDIR|SSL_CERT_\w+|(?:https?|no|all)_proxy|VIRTUAL_ENV_DISABLE_PROMPT|SYSTEMROOT",
    re.IGNORECASE,
)
"""Variables that an environment has wherever it is; all others are the user's own, and left out."""


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
            shutil.copytree(directory, root, symlinks=True, ignore=shutil.ignore_patterns(RECORD))
        write(plan, root, force=True)
        told = await examine(root, strict=False)
        report.note(
            not told["problems"], f"manifest: {_counted(len(plan.entries), 'worker')}", told["problems"]
        )
        manifest = load_manifest(root)
        environment = await _environment(Path(place), manifest)
        python = sdk or _sdk_here()
        answer = await _run_trial(root, environment, events, python, timeout, tell)
        if (problem := answer.get("environment") or answer.get("error")) is not None:
            report.note(False, "the export does not run", str(problem).splitlines())
            return report
        _compare_sdk(report, answer["sdk"], manifest)
        for name, worker in answer["workers"].items():
            _compare_worker(report, name, worker, handlers.get(name), exact=rehearse is not None)
        if events:
            export = [
                [(d[0], d[1], d[2]) for d in seen if d[0] == THE_EVENT or _worker(d) in handlers]
                for seen in answer["seen"]
            ]
            await _compare_events(report, events, export, rehearse, tell)
    return report


# -- the export's side ---------------------------------------------------------------------------------


def _sdk_here() -> str | None:
    try:
        importlib.metadata.version("dreadnode")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


async def _environment(place: Path, manifest: CapabilityManifest) -> dict[str, str]:
    """Return the environment of the trial: a new HOME, a PATH of what the manifest names, little else."""
    home, bin_ = place / "home", place / "bin"
    for made in (home, bin_):
        made.mkdir()
    for name in ("python", "python3"):
        # Not a link: Python looks for its environment where the link is.
        program = bin_ / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        program.chmod(0o755)
    (bin_ / "uv").symlink_to(UV)
    referred: set[str] = set()
    for worker in manifest.workers.values():
        texts = [worker.command or "", *worker.args, *worker.env.values()]
        referred |= {name for text in texts for name in _REFERENCE.findall(text)}
        found = shutil.which(worker.command or "")
        if found is not None and "/" not in str(worker.command) and not (bin_ / str(worker.command)).exists():
            (bin_ / str(worker.command)).symlink_to(Path(found).absolute())
    kept = {k: v for k, v in os.environ.items() if _KEPT.fullmatch(k) or k in referred}
    for variable, what in (("UV_CACHE_DIR", ("cache", "dir")), ("UV_PYTHON_INSTALL_DIR", ("python", "dir"))):
        kept.setdefault(variable, await ask_uv(*what))
    configuration = Path.home() / ".config" / "uv" / "uv.toml"
    if configuration.is_file():  # which index there is, for one
        kept.setdefault("UV_CONFIG_FILE", str(configuration))
    base = str(getattr(sys, "_base_executable", sys.executable))
    return kept | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(bin_), os.defpath]),
        "UV_PYTHON": kept.get("UV_PYTHON", base),
        "DNWORKER_JOURNAL": "off",
    }


async def _run_trial(
    root: Path,
    environment: Mapping[str, str],
    events: Sequence[EventEnvelope],
    sdk: str | None,
    timeout: float,
    tell: Tell,
) -> dict[str, Any]:
    asked = {
        "root": str(root),
        "events": [encode(e).decode() for e in events],
        "sdk": sdk,
        "timeout": timeout,
    }
    errors = root.parent.parent / "trial.log"
    with errors.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dnworker_jupyter.export.trial",
            env=environment, cwd=root, start_new_session=True, limit=64 * 1024 * 1024,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.close()
            async for line in process.stdout:
                told = json.loads(line)
                if "result" in told:
                    await process.wait()
                    result: dict[str, Any] = told["result"]
                    return result
                tell(told["step"], told["done"], told["total"])
            await process.wait()
        finally:
            await _end(process)
    said = errors.read_text(errors="replace").strip().splitlines()[-10:]
    return {"error": "\n".join([f"its runtime ended with code {process.returncode}", *said])}


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the trial: in order, with its workers, and if it will not, at once."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        await end_at_once(process)  # its guard ends the workers
    except asyncio.CancelledError:
        await end_at_once(process)
        raise


# -- comparing -----------------------------------------------------------------------------------------


def _compare_sdk(report: CheckReport, answer: Mapping[str, Any] | None, manifest: CapabilityManifest) -> None:
    if answer is None:
        return
    if (error := answer.get("error")) is not None:
        report.note(False, "the reference does not load it", [error])
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
    told = [worker["error"] or "", *worker["said"]] if not is_well else []
    state = worker["state"] if worker["up"] or worker["state"] != "running" else "running, and hears nothing"
    report.note(is_well, f"{name} is {state}, {worker['topology']}", [line for line in told if line])
    if expected is None or worker["handlers"] is None:
        return
    there: list[Handler] = sorted((h[0], h[1], h[2]) for h in worker["handlers"])
    here = sorted(set(expected))
    if not exact:  # what the source does not spell out, the running worker may know better
        here = [h if h[0] != "every" else next((t for t in there if t[::2] == h[::2]), h) for h in here]
    details = [f"- {' '.join(h)}" for h in here if h not in there]
    details += [f"+ {' '.join(h)}" for h in there if h not in here]
    of = "as in the notebook" if exact else "as the cells say"
    handlers = _counted(len(there), "handler")
    report.note(not details, f"{name} has {handlers}{'' if details else f', {of}'}", details)


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
    tell: Tell,
) -> None:
    if rehearse is None:
        details = [
            f"#{event.seq} {event.kind}: {who} {what}: {value}"
            for event, observation in zip(events, export, strict=True)
            for who, what, value in observation
            if what.startswith(("raises", "is "))  # is cancelled, is not done with
        ]
        report.note(not details, f"{_counted(len(events), 'event')} fired at the export", details)
        return
    # Twice: what differs between two runs of the same code says nothing of the export.
    first, second = await rehearse(events, tell), await rehearse(events, tell)
    details, vary = [], 0
    for event, one, other, there in zip(events, first, second, export, strict=True):
        notebook = blended(one, other)
        if notebook is None:
            vary += 1
            continue
        found = differences(notebook, there)
        details += [f"#{event.seq} {event.kind}", *(f"  {line}" for line in found)] if found else []
    aside = f" ({vary} do another thing each time, and tell nothing)" if vary else ""
    count = _counted(len(events), "event")
    same = f"{count} fired: notebook and export do the same{aside}"
    text = same if not details else f"{count} fired: notebook (-) and export (+) differ{aside}"
    report.note(not details, text, details)
