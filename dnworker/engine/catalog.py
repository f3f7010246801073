"""`Catalog`: the tools, skills and MCP servers of a runtime; the API lists them (contract 6.3)."""

from __future__ import annotations

from typing import Any

from dnworker.capability.skills import Skill
from dnworker.core.errors import Conflict, NotFound
from dnworker.core.models import ToolInfo
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.sessions.tools import Tools


class Catalog:
    """Finds what capabilities declare and what agents may call.

    Args:
        capabilities: whose skills and MCP servers are listed.
        tools: the functions that agents may call.
    """

    def __init__(self, capabilities: CapabilityCollection, tools: Tools) -> None:
        self._capabilities = capabilities
        self._tools = tools

    def tools(self) -> list[ToolInfo]:
        """Return the tools that agents may call."""
        return [
            ToolInfo(
                name=tool.name,
                wire_name=tool.name,
                source="python",
                description=tool.description,
                capability=self._capabilities.own.name,
                parameters_schema=tool.schema,
            )
            for tool in self._tools.all()
        ]

    def skills(self) -> list[Skill]:
        """Return the skills of all capabilities, by their qualified id."""
        found = [skill for capability in self._capabilities.all() for skill in capability.parts.skills]
        return sorted(found, key=lambda skill: skill.qualified_id)

    def skill(self, name: str) -> Skill:
        """Return a skill by its name or qualified id.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        found = [s for s in self.skills() if name in (s.name, s.qualified_id)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(s.qualified_id for s in found or self.skills()) or "none"
        raise NotFound(
            f"{'several skills are' if found else 'no skill is'} named {name!r}; there are: {known}",
            code="DN412",
        )

    def mcp_detail(self, capability: str, server: str) -> dict[str, Any]:
        """Return an MCP server's detail (contract 6.3).

        Raises:
            NotFound: no capability declares it.
        """
        home = next((c for c in self._capabilities.all() if c.name == capability), None)
        if home is None or server not in home.parts.mcp:
            raise NotFound(f"no MCP server {capability}:{server}", code="DN412")
        return home.parts.mcp[server].detail(home.flags)

    def mcp_reconnect(self, capability: str, server: str) -> dict[str, Any]:
        """Return an MCP server's detail, and refuse a gated one; this runtime connects to none.

        Raises:
            NotFound: no capability declares it.
            Conflict: its gate is closed.
        """
        detail = self.mcp_detail(capability, server)
        if detail["status"] == "gated_off":
            when = list(self._capabilities.get(capability).parts.mcp[server].when)
            message = f"MCP server {capability}:{server} is gated off; turn on one of: {', '.join(when)}"
            raise Conflict({"reason": "gated_off", "message": message, "when": when}, code="DN314")
        return detail
