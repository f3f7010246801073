"""The components of a capability beside its workers: agents, skills, MCP servers; read by the engine.

They are found, named and judged as the reference's loader does (contract 4.1), so that both list the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.agents import AgentDefinition, read_agent
from dnworker.capability.exports import Export, agent_files, exports, python_files, skill_directories
from dnworker.capability.frontmatter import FrontMatterError
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.capability.mcp import McpServer
from dnworker.capability.mcp_entries import read_mcp
from dnworker.capability.python_parts import PartKind, python_parts
from dnworker.capability.reading import Budget, UnreadableFile, exists, resolved, shown
from dnworker.capability.skills import SKILL_FILE, Skill, read_skill
from dnworker.core.errors import ManifestError
from dnworker.core.models import ComponentInfo

_PYTHON: tuple[tuple[PartKind, str], ...] = (("tool", "tools"), ("hook", "hooks"), ("policy", "policies"))


class Components(msgspec.Struct):
    """The components of one capability that are no workers; `others` are those that cannot be used here."""

    agents: list[AgentDefinition] = msgspec.field(default_factory=list)
    skills: list[Skill] = msgspec.field(default_factory=list)
    skills_paths: list[Path] = msgspec.field(default_factory=list)
    """The directories of which each subdirectory is a skill."""
    mcp: dict[str, McpServer] = msgspec.field(default_factory=dict)
    others: list[ComponentInfo] = msgspec.field(default_factory=list)


def read_capability(root: Path) -> tuple[CapabilityManifest, Components]:
    """Read a capability's manifest and components; it may take a second, so the loop has a thread do it.

    Raises:
        ManifestError: the manifest is missing or breaks rules.
    """
    manifest = load_manifest(root)
    return manifest, read_components(manifest)


def real_root(path: str | os.PathLike[str]) -> Path:
    """Return the directory of a capability, absolute and without symbolic links.

    Raises:
        ManifestError: its links form a loop, or no directory can have such a name.
    """
    try:
        return resolved(Path(path))
    except UnreadableFile as exc:
        raise ManifestError([str(exc)], code="DN402") from exc


def read_components(manifest: CapabilityManifest) -> Components:
    """Read a capability's components; a broken one is listed with its error."""
    found = Components()
    _read_agents(manifest, found)
    _read_skills(manifest, found)
    servers = read_mcp(manifest.raw.get("mcp"), manifest.root, manifest.flags)
    found.mcp = {
        e.name: McpServer(e.name, manifest.name, e.fields, e.when, e.problem)
        for e in servers.servers.values()
    }
    found.others += servers.dropped
    for kind, key in _PYTHON:
        places, missing = _exports(manifest, key)
        budget = Budget()
        found.others += [_missing(kind, key, export) for export in missing]
        found.others += python_parts(kind, python_files(places, budget), manifest.root)
        found.others += _left_out(kind, key, budget)
    return found


def _exports(manifest: CapabilityManifest, key: str) -> tuple[list[Export], list[Export]]:
    """Return the places of one kind that are there, and those that are listed and missing."""
    listed: Any = manifest.raw.get(key)
    found = exports(manifest.root, listed, key)
    return [e for e in found if exists(e.path)], [e for e in found if not exists(e.path)]


def _read_agents(manifest: CapabilityManifest, found: Components) -> None:
    places, missing = _exports(manifest, "agents")
    found.others += [_missing("agent", "agents", export) for export in missing]
    budget = Budget()
    for file in (file for export in places for file in agent_files(export, budget)):
        if not budget.may_read(file):
            break
        try:
            found.agents.append(read_agent(file, manifest.name))
        except FrontMatterError as exc:
            entry = ComponentInfo(kind="agent", name=shown(file.stem), status="error", error=str(exc))
            found.others.append(entry)
    found.others += _left_out("agent", "agents", budget)


def _read_skills(manifest: CapabilityManifest, found: Components) -> None:
    places, missing = _exports(manifest, "skills")
    found.others += [_missing("skill", "skills", export) for export in missing]
    found.skills_paths = [export.path for export in places]
    budget = Budget()
    for directory in (d for export in places for d in skill_directories(export, budget)):
        if not budget.may_read(directory / SKILL_FILE):
            break
        try:
            found.skills.append(read_skill(directory, manifest.name))
        except FrontMatterError as exc:
            entry = ComponentInfo(kind="skill", name=shown(directory.name), status="error", error=str(exc))
            found.others.append(entry)
    found.others += _left_out("skill", "skills", budget)


def _missing(kind: str, key: str, export: Export) -> ComponentInfo:
    why = f"{key} of the manifest lists {export.written}, which is not there"
    return ComponentInfo(kind=kind, name=shown(export.written), status="degraded", error=shown(why))


def _left_out(kind: str, key: str, budget: Budget) -> list[ComponentInfo]:
    """Return the entries that say which files were not looked at."""
    return [ComponentInfo(kind=kind, name=key, status="degraded", error=why) for why in budget.problems]
