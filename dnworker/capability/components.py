"""The components of a capability beside its workers: agents, skills, MCP servers; read by the engine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dnworker.capability.agents import AgentDefinition, read_agent
from dnworker.capability.flags import Flag, gate_is_open
from dnworker.capability.frontmatter import FrontMatterError, read_front_matter
from dnworker.capability.manifest import ROOT_REFERENCE, CapabilityManifest
from dnworker.core.models import ComponentInfo, SkillInfo

NOT_RUN = "needs the reference runtime; this one lists it, and runs workers, agents and skills"
MCP_FILES = (".mcp.json", "mcp.json")
_FILES_LISTED = 20
"""Files beside a skill that its text names."""


@dataclass(frozen=True)
class Skill:
    """Instructions that an agent may load, from `skills/<name>/SKILL.md`."""

    name: str
    description: str
    instructions: str
    directory: Path
    capability: str
    allowed_tools: tuple[str, ...] = ()

    @property
    def qualified_id(self) -> str:
        """`capability:skill`."""
        return f"{self.capability}:{self.name}"

    def info(self) -> SkillInfo:
        """Return the entry of contract 9."""
        return SkillInfo(
            name=self.name,
            description=self.description,
            qualified_id=self.qualified_id,
            source="python",
            capability=self.capability,
        )

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.3; `rendered` is the text that an agent gets."""
        files = sorted(p for p in self.directory.rglob("*") if p.is_file() and p.name != "SKILL.md")
        beside = "".join(f"- {file.relative_to(self.directory)}\n" for file in files[:_FILES_LISTED])
        where = f"file://{quote(str(self.directory))}"
        rendered = (
            f'<skill name="{self.qualified_id}" directory="{where}">\n{self.instructions}\n'
            f"{'Files beside it, relative to its directory:' if beside else ''}\n{beside}</skill>"
        )
        return {
            "name": self.name,
            "description": self.description,
            "instructions": self.instructions,
            "allowed_tools": list(self.allowed_tools),
            "rendered": rendered,
            "qualified_id": self.qualified_id,
            "source": "python",
            "capability": self.capability,
        }


@dataclass(frozen=True)
class McpServer:
    """One declared MCP server; `problem` is why it can never be connected."""

    name: str
    capability: str
    fields: dict[str, Any]
    when: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def transport(self) -> str:
        """`stdio` for a command, `streamable-http` for a URL; a command wins (contract 12)."""
        return "stdio" if self.fields.get("command") else "streamable-http"

    def component(self, flags: dict[str, Flag]) -> ComponentInfo:
        """Return its health entry."""
        is_open = gate_is_open(self.when, flags)
        status = "error" if self.problem else "stopped" if is_open else "gated_off"
        closed = f"Requires flag: {', '.join(self.when)}"
        return ComponentInfo(
            kind="mcp_server",
            name=self.name,
            status=status,
            error=self.problem,
            detail=closed if status == "gated_off" else NOT_RUN,
            qualified_name=f"{self.capability}:{self.name}",
            capability=self.capability,
            transport=self.transport,
            tool_count=0,
            when=list(self.when) or None,
        )

    def detail(self, flags: dict[str, Flag]) -> dict[str, Any]:
        """Return the detail of contract 6.3."""
        shown = self.component(flags)
        auth = self.fields.get("auth")
        return {
            "name": self.name,
            "qualified_name": shown.qualified_name,
            "capability": self.capability,
            "status": shown.status,
            "error": shown.error,
            "detail": shown.detail,
            "transport": self.transport,
            "command": self.fields.get("command"),
            "args": list(self.fields.get("args") or ()),
            "url": self.fields.get("url"),
            "auth_type": auth.get("type") if isinstance(auth, dict) else None,
            "log_path": None,
            "recent_stderr": [],
            "tool_count": 0,
            "tools": [],
        }


@dataclass
class Components:
    """The components of one capability that are no workers; `others` are those that cannot be used here."""

    agents: list[AgentDefinition] = field(default_factory=list)
    skills: list[Skill] = field(default_factory=list)
    mcp: dict[str, McpServer] = field(default_factory=dict)
    others: list[ComponentInfo] = field(default_factory=list)


def read_components(manifest: CapabilityManifest) -> Components:
    """Read a capability's agents, skills and MCP servers; a broken one is listed with its error."""
    found = Components()
    raw, root = manifest.raw, manifest.root
    for file in component_files(root, raw.get("agents"), "agents", "*.md"):
        try:
            found.agents.append(read_agent(file, manifest.name))
        except FrontMatterError as exc:
            found.others.append(_broken("agent", file.stem, exc, file))
    for directory in component_files(root, raw.get("skills"), "skills", "*/SKILL.md"):
        file = directory if directory.name == "SKILL.md" else directory / "SKILL.md"
        try:
            found.skills.append(_read_skill(file, manifest.name))
        except FrontMatterError as exc:
            found.others.append(_broken("skill", file.parent.name, exc, file))
    found.mcp = _read_mcp(manifest, found.others)
    for kind, key in (("tool", "tools"), ("hook", "hooks"), ("policy", "policies")):
        for file in component_files(root, raw.get(key), key, "*.py"):
            if file.name != "__init__.py":
                entry = ComponentInfo(kind=kind, name=file.stem, status="degraded", detail=NOT_RUN)
                found.others.append(entry)
    return found


def component_files(root: Path, declared: Iterable[str] | None, directory: str, pattern: str) -> list[Path]:
    """Return the files of one kind: those of its directory, then those listed (contract 4.1).

    Args:
        root: of the capability.
        declared: the manifest's list; None when it has none. An empty list turns the kind off.
        directory: the conventional directory.
        pattern: of the paths there, and in a listed directory.
    """
    listed = None if declared is None else list(declared)
    if listed == []:
        return []
    found = sorted((root / directory).glob(pattern))
    for entry in listed or ():
        below = sorted((root / entry).glob(pattern)) if (root / entry).is_dir() else []
        found += below or [root / entry]
    return list(dict.fromkeys(found))


def _read_skill(file: Path, capability: str) -> Skill:
    head, body = read_front_matter(file)
    allowed = head.get("allowed-tools") or head.get("allowed_tools") or ()
    names = allowed.replace(",", " ").split() if isinstance(allowed, str) else allowed
    if not isinstance(names, list | tuple):
        raise FrontMatterError(f"{file}: allowed-tools is a list of names, not {allowed!r}")
    return Skill(
        name=str(head.get("name") or file.parent.name),
        description=str(head.get("description") or ""),
        instructions=body.strip(),
        directory=file.parent,
        capability=capability,
        allowed_tools=tuple(map(str, names)),
    )


def _broken(kind: str, name: str, exc: Exception, file: Path) -> ComponentInfo:
    status = "error" if file.exists() else "degraded"  # a missing path is not fatal (contract 4.1)
    return ComponentInfo(kind=kind, name=name, status=status, error=str(exc))


def _read_mcp(manifest: CapabilityManifest, others: list[ComponentInfo]) -> dict[str, McpServer]:
    declared = manifest.raw.get("mcp")
    if declared == {}:
        return {}
    block = declared if isinstance(declared, dict) else {}
    servers: dict[str, McpServer] = {}
    files = [manifest.root / name for name in MCP_FILES if (manifest.root / name).is_file()][:1]
    for file in [*files, *(manifest.root / str(name) for name in block.get("files") or ())]:
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            entries = read.get("mcpServers", read) if isinstance(read, dict) else None
            if not isinstance(entries, dict):
                raise TypeError("it holds no object of servers")
        except (OSError, ValueError, TypeError) as exc:
            others.append(
                ComponentInfo(kind="mcp_server", name=file.name, status="error", error=f"{file}: {exc}")
            )
            continue
        for name, fields in entries.items():
            servers[name] = _server(manifest, name, fields, from_file=True)
    for name, fields in (block.get("servers") or {}).items():  # inline wins
        servers[str(name)] = _server(manifest, str(name), fields, from_file=False)
    return servers


def _server(manifest: CapabilityManifest, name: str, fields: Any, *, from_file: bool) -> McpServer:
    if not isinstance(fields, dict):
        return McpServer(name, manifest.name, {}, problem=f"mcp server {name!r} must be a mapping of fields")
    when = fields.get("when") or ()
    problem = None
    if not fields.get("command") and not fields.get("url"):
        problem = f"mcp server {name!r} needs a command or a url"
    elif fields.get("command") and fields.get("auth"):
        problem = f"mcp server {name!r} is a command; auth is for those with a url"
    elif when and from_file:
        problem = f"mcp server {name!r}: when has no effect in a file; declare the server in the manifest"
    elif not isinstance(when, list | tuple) or any(str(flag) not in manifest.flags for flag in when):
        problem = f"mcp server {name!r}: when must list declared flags, not {when!r}"
    shown = {k: _rooted(v, str(manifest.root)) for k, v in fields.items()}
    return McpServer(name, manifest.name, shown, () if problem else tuple(when), problem)


def _rooted(value: Any, root: str) -> Any:
    if isinstance(value, str):
        return value.replace(ROOT_REFERENCE, root)
    return [_rooted(item, root) for item in value] if isinstance(value, list) else value
