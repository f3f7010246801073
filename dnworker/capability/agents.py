"""`AgentDefinition`: an agent that a capability declares in `agents/*.md`, front matter and system prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnworker.capability.frontmatter import FrontMatterError, read_front_matter

INHERIT = "inherit"


@dataclass(frozen=True)
class AgentDefinition:
    """One agent of a capability; `model` is `inherit` when it has none of its own."""

    name: str
    capability: str
    description: str = ""
    model: str = INHERIT
    prompt: str = ""
    tools: tuple[str, ...] | None = None

    def info(self) -> dict[str, Any]:
        """Return the entry of contract 9, CapabilityAgentInfo."""
        return {
            "name": self.name,
            "description": self.description,
            "model": self.model,
            "capability": self.capability,
        }


def read_agent(file: Path, capability: str) -> AgentDefinition:
    """Read one agent; a file without a name in its front matter is named after itself.

    Raises:
        FrontMatterError: the file cannot be read, or a field is wrong; names file, line and field.
    """
    head, body = read_front_matter(file)
    tools = head.get("tools")
    if isinstance(tools, dict):
        tools = [name for name, wanted in tools.items() if wanted]
    if tools is not None and not _is_texts(tools):
        raise FrontMatterError(f"{file}: tools is a list of names, not {tools!r}")
    for key in ("name", "description", "model"):
        if not isinstance(head.get(key, ""), str | None):
            raise FrontMatterError(f"{file}: {key} must be text, not {head[key]!r}")
    return AgentDefinition(
        name=head.get("name") or file.stem,
        capability=capability,
        description=head.get("description") or "",
        model=head.get("model") or INHERIT,
        prompt=body.strip(),
        tools=None if tools is None else tuple(tools),
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
