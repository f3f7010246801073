"""The endpoints of tools, skills and MCP servers (contract 6.3)."""

from __future__ import annotations

import msgspec

from dnworker.core.models import SkillInfo, ToolInfo
from dnworker.server.api import ApiCall, endpoint
from dnworker.server.rights import Right


class ToolList(msgspec.Struct):
    """Every tool that an agent may call."""

    tools: list[ToolInfo]


class SkillList(msgspec.Struct):
    """Every skill, by its qualified id."""

    skills: list[SkillInfo]


@endpoint("GET", "/api/tools", right=Right.CATALOG, answer=ToolList)
def tools(call: ApiCall) -> object:
    """List the tools that agents may call."""
    return ToolList(call.engine.catalog.tools())


@endpoint("GET", "/api/skills", right=Right.CATALOG, answer=SkillList)
def skills(call: ApiCall) -> object:
    """List the skills of all capabilities."""
    return SkillList([skill.info() for skill in call.engine.catalog.skills()])


@endpoint("GET", "/api/skills/{name}", right=Right.CATALOG, errors=(404,))
def skill(call: ApiCall) -> object:
    """Return one skill with its instructions."""
    return call.engine.catalog.skill(call.path["name"]).detail()


@endpoint("GET", "/api/mcp/{capability}/{server}", right=Right.CATALOG, errors=(404,))
def mcp(call: ApiCall) -> object:
    """Return one MCP server's definition and state."""
    return call.engine.mcp.detail(call.path["capability"], call.path["server"])


@endpoint("POST", "/api/mcp/{capability}/{server}/reconnect", right=Right.CATALOG, errors=(404, 409))
async def reconnect(call: ApiCall) -> object:
    """Connect to an MCP server again; answers when that has succeeded or failed."""
    return await call.engine.mcp.reconnect(call.path["capability"], call.path["server"])


@endpoint("POST", "/api/mcp/{capability}/{server}/reauthenticate", right=Right.CATALOG, errors=(404, 409))
async def reauthenticate(call: ApiCall) -> object:
    """Forget the sign-in to an MCP server, and connect again; `detail` has the URL to sign in at."""
    return await call.engine.mcp.reauthenticate(call.path["capability"], call.path["server"])


endpoints = [tools, skills, skill, mcp, reconnect, reauthenticate]
