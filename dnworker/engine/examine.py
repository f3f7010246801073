"""Examines a capability without starting its workers; `dnworker validate` and checks of exports use it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.capability.components import read_components
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.core.errors import ManifestError
from dnworker.engine.capability import run_check


@dataclass(frozen=True)
class Examination:
    """The findings about one capability."""

    manifest: CapabilityManifest | None
    """None when it cannot be read."""
    problems: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    """How many of each kind of component it declares."""


async def examine(root: Path) -> Examination:
    """Read a capability's manifest and components, and run its checks."""
    try:
        manifest = load_manifest(root.resolve())
    except ManifestError as exc:
        return Examination(None, list(exc.problems))
    parts = read_components(manifest)
    problems = [w.problem for w in manifest.workers.values() if w.problem is not None]
    problems += [f"agent {agent.name}: {agent.note}" for agent in parts.agents if agent.note]
    problems += [f"{entry.kind} {entry.name}: {entry.error}" for entry in parts.others if entry.error]
    problems += [server.problem for server in parts.mcp.values() if server.problem]
    entries = manifest.path_entries
    ran = await asyncio.gather(*(run_check(check, manifest.root, entries) for check in manifest.checks))
    problems += [f"check {entry.name}: {entry.error}" for entry in ran if entry.error is not None]
    counts = {
        "worker": len(manifest.workers),
        "agent": len(parts.agents),
        "skill": len(parts.skills),
        "MCP server": len(parts.mcp),
    }
    return Examination(manifest, problems, counts)
