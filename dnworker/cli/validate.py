"""`dnworker validate`: check manifests, and with `--strict` all that would keep a worker from starting."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TypedDict

from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.capability.manifest import (
    CapabilityManifest,
    CheckDefinition,
    WorkerDefinition,
)
from dnworker.capability.reading import shown
from dnworker.cli.roots import roots_of
from dnworker.cli.tables import print_table
from dnworker.cli.terminal import is_terminal
from dnworker.cli.text import printable
from dnworker.engine.checks import run_bounded
from dnworker.engine.examine import examine

TITLES = ["CAPABILITY", "RESULT", "HAS", "PROBLEMS"]

IMPORT_TIMEOUT = 60.0
"""Seconds that the import of a worker's module may take."""


class Result(TypedDict):
    """The findings about one capability."""

    path: str
    ok: bool
    counts: dict[str, int]
    problems: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `validate`."""
    parser.add_argument(
        "path", nargs="+", type=Path, help="directories with a capability.yaml, or with such directories"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail for what would keep a worker from starting, too: imports every worker module, in a "
        "process of its own, which runs its code, and looks for every command",
    )
    parser.add_argument(
        "--no-checks",
        action="store_true",
        help="do not run the shell commands that manifests list under checks:",
    )
    parser.set_defaults(command=validate)


def validate(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    roots = [root for path in options.path for root in roots_of(path, _say)]
    results = []
    for number, root in enumerate(roots, 1):
        _progress(f"checking {root} ({number} of {len(roots)})")
        results.append(check(root, strict=options.strict, with_checks=not options.no_checks))
    _progress("")
    if options.json:
        print(json.dumps(results))
    elif is_terminal():
        rows = [[one["path"], "ok" if one["ok"] else "not ok", _has(one), _problems(one)] for one in results]
        print_table(
            [TITLES, *rows] if any(row[-1] for row in rows) else [row[:-1] for row in [TITLES, *rows]]
        )
    else:
        for result in results:
            print(f"{result['path']}: {'ok' if result['ok'] else 'not ok'}{_counted(result['counts'])}")
            for problem in result["problems"]:
                print(printable(f"  {problem}"))
    return 0 if all(result["ok"] for result in results) else 1


def _has(result: Result) -> str:
    return _counted(result["counts"]).strip(" ()")


def _problems(result: Result) -> str:
    return "\n".join(result["problems"])


def check(root: Path, *, strict: bool, with_checks: bool = True) -> Result:
    """Check one capability, and with `strict` also what would keep its workers from starting here.

    Before code of the capability runs, a line on standard error says what does.
    """
    found = asyncio.run(examine(root, with_checks=with_checks, on_run=partial(_say_check, root)))
    problems = [*found.problems]
    if found.manifest is not None and found.manifest.checks and not with_checks:
        _say(f"{root}: shell checks are not run: {', '.join(c.name for c in found.manifest.checks)}")
    if strict and found.manifest is not None:
        for worker in found.manifest.workers.values():
            problems += _why_not(found.manifest, worker)
    ok = found.manifest is not None and not (problems and strict)
    return {"path": str(root), "ok": ok, "counts": found.counts, "problems": problems}


def _why_not(manifest: CapabilityManifest, worker: WorkerDefinition) -> list[str]:
    """Return why a worker could not start here, if it could not."""
    subject = f"worker {manifest.name}:{worker.name}"
    if worker.problem is not None:
        return []  # reported already
    if worker.command is not None:
        try:
            command = interpolate(worker.command, os.environ, subject)
            for argument in [*worker.args, *worker.env.values()]:
                interpolate(argument, os.environ, subject)
        except UnsetVariable as exc:
            return [str(exc)]
        found = shutil.which(command if "/" not in command else str(manifest.root / command))
        return [] if found else [f"{subject}: command {command!r} is not found, or cannot be executed"]
    return _imported(manifest, worker, subject)


def _imported(manifest: CapabilityManifest, worker: WorkerDefinition, subject: str) -> list[str]:
    """Import the module in a process of its own, so that it cannot harm this one."""
    probe = [
        sys.executable,
        "-P",  # not from where it was started: that may be a capability, with a module of any name
        "-m",
        "dnworker.cli.import_probe",
        str(manifest.root),
        manifest.name,
        worker.name,
        str(worker.path),
    ]
    _say(f"{manifest.root}: importing {worker.path}, which runs its code")
    try:
        code, errors = asyncio.run(run_bounded(probe, IMPORT_TIMEOUT))
    except TimeoutError:
        return [f"{subject}: its module was still being imported after {IMPORT_TIMEOUT:g} s"]
    if code == 0:
        return []
    lines = errors.strip().splitlines()
    return [f"{subject}: {shown(lines[-1]) if lines else f'its module ended with code {code}'}"]


def _counted(counts: dict[str, int]) -> str:
    shown = [f"{count} {what if count == 1 else what + 's'}" for what, count in counts.items() if count]
    return f" ({', '.join(shown)})" if shown else ""


def _say_check(root: Path, check: CheckDefinition) -> None:
    _say(f"{root}: running check {check.name!r}: {check.command}")


def _say(text: str) -> None:
    """Say on standard error what is about to run: standard output is the answer's alone."""
    _progress("")
    print(printable(shown(text)), file=sys.stderr, flush=True)


def _progress(text: str) -> None:
    """Show what is being done, where somebody may be watching."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
