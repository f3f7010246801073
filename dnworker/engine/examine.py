"""Examines a capability without starting its workers; `dnworker validate` and checks of exports use it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.capability.components import read_capability
from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.reading import UnreadableFile, resolved
from dnworker.core.errors import ManifestError, with_code
from dnworker.engine.checks import OnRun, run_checks


@dataclass(frozen=True)
class Examination:
    """The findings about one capability."""

    manifest: CapabilityManifest | None
    """None when it cannot be read."""
    problems: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    """How many of each kind of component it declares."""


async def examine(root: Path, *, with_checks: bool = True, on_run: OnRun = lambda check: None) -> Examination:
    """Read a capability's manifest and components, and run its shell checks.

    Args:
        root: its directory.
        with_checks: whether the checks are run. Nothing else of the capability ever is.
        on_run: called with each check before it runs.
    """
    try:
        manifest, parts = await asyncio.to_thread(read_capability, resolved(root))
    except UnreadableFile as exc:
        return Examination(None, [with_code(ManifestError([str(exc)], code="DN402"))])
    except ManifestError as exc:
        return Examination(None, [with_code(exc, problem) for problem in exc.problems])
    problems = list(manifest.notes)
    problems += [w.problem for w in manifest.workers.values() if w.problem is not None]
    problems += [f"agent {agent.name}: {agent.note}" for agent in parts.agents if agent.note]
    problems += [f"{entry.kind} {entry.name}: {entry.error}" for entry in parts.others if entry.error]
    problems += [server.problem for server in parts.mcp.values() if server.problem]
    checks = manifest.checks if with_checks else ()
    ran = await run_checks(checks, manifest.root, manifest.path_entries, on_run)
    problems += [f"check {entry.name}: {entry.error}" for entry in ran if entry.error is not None]
    counts = {
        "worker": len(manifest.workers),
        "agent": len(parts.agents),
        "skill": len(parts.skills),
        "MCP server": len(parts.mcp),
    }
    return Examination(manifest, problems, counts)
