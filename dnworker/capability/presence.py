"""Rules about all components of a capability together (contract 4.1); the manifest's checker uses them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dnworker.capability.agents import AgentDefinition, read_agent
from dnworker.capability.exports import agent_files, exports, python_files, skill_directories
from dnworker.capability.frontmatter import FrontMatterError
from dnworker.capability.mcp_entries import read_mcp
from dnworker.capability.reading import Budget
from dnworker.capability.yamltree import Path as Where

Problem = tuple[Where, str, str]
"""Where in the manifest, the message, and the code of the rule."""


def component_problems(data: dict[str, Any], root: Path, flags: Collection[str]) -> Iterator[Problem]:
    """Yield the broken rules of the components below the directory `root`, without its workers' own rules."""
    agents: dict[str, list[str]] = {}
    for file, agent in _agents(data, root):
        agents.setdefault(agent.name, []).append(file.relative_to(root).as_posix())
    for name, files in agents.items():
        if len(files) == 1:
            continue
        if len(set(files)) == 1:
            why = f"{files[0]} is found in a directory and listed too; take it off the list"
        else:
            why = f"two agents are called {name!r}: {' and '.join(files)}; rename one"
        yield ("agents",), why, "VALID-010"
    if not agents and not data.get("workers") and not data.get("commands") and not _others(data, root, flags):
        yield (), "the capability has no component; declare a worker, an agent or another", "VALID-008"


def _agents(data: dict[str, Any], root: Path) -> Iterator[tuple[Path, AgentDefinition]]:
    budget = Budget()
    for export in exports(root, data.get("agents"), "agents"):
        for file in agent_files(export, budget):
            if not budget.may_read(file):
                return  # as where they are listed, which says so
            try:
                yield file, read_agent(file, "")
            except FrontMatterError:
                continue  # it is listed with its error, and counts for nothing


def _others(data: dict[str, Any], root: Path, flags: Collection[str]) -> bool:
    """Return whether there is a skill, a file of tools or hooks, or an MCP server."""
    if any(skill_directories(export) for export in exports(root, data.get("skills"), "skills")):
        return True
    if any(python_files(exports(root, data.get(key), key)) for key in ("tools", "hooks")):
        return True
    servers = read_mcp(data.get("mcp"), root, flags).servers.values()
    return any(server.problem is None for server in servers)
