"""`McpServer`: an MCP server of a capability, as the API shows it; catalog and components use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dnworker.capability.flags import Flag, gate_is_open
from dnworker.core.models import ComponentInfo

NOT_CONNECTED = "needs the reference runtime; this one lists it, and runs workers, agents and skills"


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
        return "stdio" if "command" in self.fields else "streamable-http"

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
            detail=closed if status == "gated_off" else NOT_CONNECTED,
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
        args = self.fields.get("args")
        return {
            "name": self.name,
            "qualified_name": shown.qualified_name,
            "capability": self.capability,
            "status": shown.status,
            "error": shown.error,
            "detail": shown.detail,
            "transport": self.transport,
            "command": self.fields.get("command"),
            "args": list(args) if isinstance(args, list | tuple) else [],
            "url": self.fields.get("url"),
            "auth_type": auth.get("type", "oauth") if isinstance(auth, dict) else None,
            "log_path": None,
            "recent_stderr": [],
            "tool_count": 0,
            "tools": [],
        }
