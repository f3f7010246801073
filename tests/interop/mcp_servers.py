"""Run by the reference's Python: what it would connect to, and what it gets of servers that it connects to, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from dreadnode.agents.mcp.client import MCPClient
from dreadnode.app.server.capability_manager import _stamp_mcp_tools
from dreadnode.capabilities import load_capability
from dreadnode.capabilities.flags import evaluate_when
from loguru import logger


def settings(server: Any) -> dict[str, Any]:
    """Return what a server is connected with, or that it cannot be."""
    try:
        config = server.to_server_config()
    except ValueError:
        return {"refused": True}
    found = {
        key: getattr(config, key, None)
        for key in ("command", "args", "env", "url", "headers", "init_timeout")
    }
    found["cwd"] = None if getattr(config, "cwd", None) is None else str(config.cwd)
    return found


def declared(root: Path) -> dict[str, Any]:
    """Return the servers of a capability: whether the gate is open, and their settings."""
    try:
        capability = asyncio.run(load_capability(root))
    except Exception:
        return {}
    flags = capability.resolved_flags
    return {
        server.name: {"open": evaluate_when(server.when, flags), **settings(server)}
        for server in capability.mcp_server_defs
    }


async def connected(root: Path, calls: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """Connect to the servers of a capability, and return their tools and what calls give."""
    capability = await load_capability(root)
    found: dict[str, Any] = {"servers": {}, "calls": []}
    clients = {}
    for server in capability.mcp_server_defs:
        client = clients[server.name] = MCPClient.from_config(server.to_server_config())
        try:
            await client.connect()
        except Exception as exc:
            found["servers"][server.name] = {"status": client.status.value, "error": str(exc)}
            continue
        _stamp_mcp_tools(client, cap_name=capability.name, server_name=server.name)
        tools = [[t.name, t.wire_name, t.description, t.parameters_schema] for t in client.tools]
        found["servers"][server.name] = {"status": client.status.value, "tools": tools}
    for server_name, tool_name, arguments in calls:
        tool = next(t for t in clients[server_name].tools if t.name == tool_name)
        answer = await tool.fn(**arguments)
        is_error = type(answer).__name__ == "ErrorModel"
        text = answer.content if is_error else "\n".join(part.text for part in answer)
        found["calls"].append([is_error, text])
    for client in clients.values():
        await client.disconnect()
    return found


logger.remove()
asked = json.load(sys.stdin)
if "calls" in asked:
    answer: Any = asyncio.run(connected(Path(asked["root"]), asked["calls"]))
else:
    answer = {root: declared(Path(root)) for root in asked["roots"]}
json.dump(answer, sys.stdout)
