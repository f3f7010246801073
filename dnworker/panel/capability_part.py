"""The part `capabilities`: each with its flags and what they would start and stop, checks and manifest.

{} -> {"all": [capability], "more": 0, "whyNoExport": null}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dnworker.core.text import shorten, valid_text
from dnworker.panel.serialize import LONGEST_TEXT

if TYPE_CHECKING:
    from dnworker.engine.capability import Capability
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

CAPABILITY_INTERVAL = 0.5
CAPABILITIES_SHOWN = 200
NAMES_SHOWN = 50
"""Workers, agents or other components that are named of one capability, of each kind."""

LONGEST_NAME, LONGEST_DESCRIPTION, LONGEST_COMMAND = 200, 500, 500


async def capabilities_to_json(model: PanelModel, pace: Pace) -> dict[str, Any]:
    """Return all capabilities, and why nothing can be exported here, if so."""
    everything = model.engine.capabilities.all()
    found = []
    for capability in everything[:CAPABILITIES_SHOWN]:
        found.append(capability_to_json(capability))
        await pace.rest()
    return {
        "all": found,
        "more": max(0, len(everything) - CAPABILITIES_SHOWN),
        "whyNoExport": model.actions.why_no_export(),
    }


def capability_to_json(capability: Capability) -> dict[str, Any]:
    """Return a capability with its flags, its checks, and what its manifest says."""
    manifest = capability.manifest
    return {
        "name": capability.name,
        "version": manifest.version,
        "description": manifest.description[:LONGEST_DESCRIPTION],
        "root": None if capability.live else valid_text(str(capability.root)),
        "failure": None if capability.failure is None else capability.failure[:LONGEST_TEXT],
        "flags": [flag_to_json(capability, name) for name in capability.flags],
        "checks": [*_checks(capability)],
        "servers": [*_servers(capability)],
        "facts": [*_facts(capability)],
        "notes": [note[:LONGEST_TEXT] for note in manifest.notes[:NAMES_SHOWN]],
    }


def flag_to_json(capability: Capability, name: str) -> dict[str, Any]:
    """Return a flag, the workers that it gates, and which of them the switch would start and stop."""
    flag = capability.flags[name]
    starts, stops = capability.effect_of(name)
    return {
        "name": flag.name,
        "description": flag.description[:LONGEST_DESCRIPTION],
        "value": flag.effective,
        "default": flag.default,
        "source": flag.source,
        "fixed": why_fixed(flag.source),
        "gates": [w.name for w in capability.workers.values() if flag.name in w.definition.when],
        "starts": starts,
        "stops": stops,
    }


def why_fixed(source: str) -> str | None:
    """Return why a switch has no effect: a stronger layer sets the flag (contract 4.5); None if it has."""
    return {
        "env": "set by an environment variable, which wins",
        "cli": "set on the command line, which wins",
    }.get(source)


def _checks(capability: Capability) -> Iterator[dict[str, Any]]:
    known = {one.name: one for one in capability.checks}
    for check in capability.manifest.checks:
        found = known.get(check.name)
        yield {
            "name": check.name,
            "command": check.command[:LONGEST_COMMAND],
            "status": "not run" if found is None else found.status,
            "error": None if found is None or found.error is None else found.error[:LONGEST_TEXT],
        }


def _servers(capability: Capability) -> Iterator[dict[str, Any]]:
    """Go through the MCP servers: how each is, why, its tools, and the end of its log."""
    for server in list(capability.parts.mcp.values())[:NAMES_SHOWN]:
        state = capability.mcp_states.get(server.name)
        component = server.component(capability.flags, state)
        tools = [] if state is None else [str(tool["name"]) for tool in state.tools]
        why_wrong = "Its entry in the manifest is wrong" if server.problem else None
        error, _, said = (component.error or "").partition("\n\nServer stderr:\n")
        yield {
            "name": server.name,
            "status": component.status,
            "transport": component.transport,
            "error": error[:LONGEST_TEXT] or None,
            "output": said[:LONGEST_TEXT] or None,
            "detail": None if component.detail is None else component.detail[:LONGEST_TEXT],
            "tools": [shorten(name, LONGEST_NAME) for name in tools[:NAMES_SHOWN]],
            "toolCount": len(tools),
            "whyNot": component.detail if component.status == "gated_off" else why_wrong,
        }


def _facts(capability: Capability) -> Iterator[tuple[str, str]]:
    """Go through what is to be known of a capability, a name and a text each."""
    manifest, parts = capability.manifest, capability.parts
    if manifest.author:
        name, email = manifest.author.get("name", ""), manifest.author.get("email", "")
        yield "Author", shorten(f"{name} <{email}>" if email else name, LONGEST_NAME)
    if manifest.license:
        yield "Licence", shorten(manifest.license, LONGEST_NAME)
    named = {
        "Workers": [*capability.workers],
        "Agents": [agent.name for agent in parts.agents],
        "Skills": [skill.name for skill in parts.skills],
        "MCP servers": [*parts.mcp],
        "Other parts": [f"{one.kind} {one.name}" for one in parts.others],
        "Paths": list(manifest.path_entries),
    }
    for title, names in named.items():
        if names:
            more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
            yield title, shorten(", ".join(names[:NAMES_SHOWN]), LONGEST_TEXT) + more
