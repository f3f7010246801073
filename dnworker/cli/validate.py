"""`dnworker validate`: check manifests, and with `--strict` all that would keep a worker from starting."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

from dnworker.capability.components import read_components
from dnworker.capability.environment import UnsetVariable, interpolate
from dnworker.capability.manifest import MANIFEST_NAME, CapabilityManifest, WorkerDefinition, load_manifest
from dnworker.cli.text import printable
from dnworker.core.errors import ManifestError
from dnworker.core.models import ComponentInfo
from dnworker.engine.capability import run_check

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
        "process of its own, and looks for every command",
    )
    parser.set_defaults(command=validate)


def validate(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    roots = [root for path in options.path for root in _roots(path)]
    results = []
    for number, root in enumerate(roots, 1):
        _progress(f"checking {root} ({number} of {len(roots)})")
        results.append(check(root, strict=options.strict))
    _progress("")
    if options.json:
        print(json.dumps(results))
    else:
        for result in results:
            print(f"{result['path']}: {'ok' if result['ok'] else 'not ok'}{_counted(result['counts'])}")
            for problem in result["problems"]:
                print(printable(f"  {problem}"))
    return 0 if all(result["ok"] for result in results) else 1


def check(root: Path, *, strict: bool) -> Result:
    """Check one capability; for callers without an event loop."""
    return asyncio.run(examine(root, strict=strict))


async def examine(root: Path, *, strict: bool) -> Result:
    """Check one capability."""
    try:
        manifest = load_manifest(root.resolve())
    except ManifestError as exc:
        return {"path": str(root), "ok": False, "counts": {}, "problems": list(exc.problems)}
    parts = read_components(manifest)
    problems = [w.problem for w in manifest.workers.values() if w.problem is not None]
    problems += [f"{entry.kind} {entry.name}: {entry.error}" for entry in parts.others if entry.error]
    problems += [server.problem for server in parts.mcp.values() if server.problem]
    ran = await _run_checks(manifest)
    problems += [f"check {entry.name}: {entry.error}" for entry in ran if entry.error is not None]
    if strict:
        for worker in manifest.workers.values():
            _progress(f"starting {manifest.name}:{worker.name}")
            problems += _why_not(manifest, worker)
    counts = {
        "worker": len(manifest.workers),
        "agent": len(parts.agents),
        "skill": len(parts.skills),
        "MCP server": len(parts.mcp),
    }
    return {"path": str(root), "ok": not (problems and strict), "counts": counts, "problems": problems}


async def _run_checks(manifest: CapabilityManifest) -> list[ComponentInfo]:
    return list(await asyncio.gather(*(run_check(c, manifest.root) for c in manifest.checks)))


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
        "-m",
        "dnworker.cli.probe",
        str(manifest.root),
        manifest.name,
        worker.name,
        str(worker.path),
    ]
    try:
        done = subprocess.run(
            probe,
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return [f"{subject}: its module was still being imported after {IMPORT_TIMEOUT:g} s"]
    if done.returncode == 0:
        return []
    lines = (done.stderr or done.stdout).strip().splitlines()
    return [f"{subject}: {lines[-1] if lines else f'its module ended with code {done.returncode}'}"]


def _roots(path: Path) -> list[Path]:
    """Return the path, or the capabilities in it when it is none itself."""
    if (path / MANIFEST_NAME).exists() or not path.is_dir():
        return [path]
    return sorted(d for d in path.iterdir() if (d / MANIFEST_NAME).is_file()) or [path]


def _counted(counts: dict[str, int]) -> str:
    shown = [f"{count} {what if count == 1 else what + 's'}" for what, count in counts.items() if count]
    return f" ({', '.join(shown)})" if shown else ""


def _progress(text: str) -> None:
    """Show what is being done, where somebody may be watching."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
