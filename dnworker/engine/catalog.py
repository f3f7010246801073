"""`Catalog`: the tools and skills of a runtime; the API lists them (contract 6.3)."""

from __future__ import annotations

from dnworker.capability.skills import Skill
from dnworker.core.errors import NotFound
from dnworker.core.models import ToolInfo
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.mcp_client.servers import McpServers
from dnworker.sessions.tools import Tools


class Catalog:
    """Finds what capabilities declare and what agents may call.

    Args:
        capabilities: whose skills are listed.
        tools: the functions that agents may call.
        mcp: whose tools agents may call, too.
    """

    def __init__(self, capabilities: CapabilityCollection, tools: Tools, mcp: McpServers) -> None:
        self._capabilities = capabilities
        self._tools = tools
        self._mcp = mcp

    def tools(self) -> list[ToolInfo]:
        """Return the tools that agents may call: functions, and those of MCP servers."""
        functions = [
            ToolInfo(
                name=tool.name,
                wire_name=tool.name,
                source="python",
                description=tool.description,
                capability=self._capabilities.own.name,
                parameters_schema=tool.schema,
            )
            for tool in self._tools.functions()
        ]
        names = {tool.name for tool in functions}
        return functions + [
            ToolInfo(
                name=tool.bare_name,
                wire_name=tool.name,
                source="mcp",
                server=tool.server,
                description=tool.description,
                capability=tool.capability,
                parameters_schema=tool.schema,
            )
            for tool in self._mcp.tools()
            if tool.name not in names
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
