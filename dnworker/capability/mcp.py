"""`McpServer`: an MCP server of a capability, and what the API shows of it; catalog and components use it."""

from __future__ import annotations

from typing import Any

import msgspec

from dnworker.capability.flags import Flag, gate_is_open
from dnworker.core.models import ComponentInfo

SIGN_IN = "Server requires authentication — use Authenticate in Services to connect"
CHECK = "Check server command/URL and authentication credentials"
"""What the reference says of a server that cannot be connected."""


class McpState(msgspec.Struct):
    """What became of a server: the status of its component, its tools, and the last lines of its log."""

    status: str = "stopped"
    error: str | None = None
    detail: str | None = None
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """Each with `name`, `description` and `input_schema`, by the server's own names."""
    recent_stderr: list[str] = msgspec.field(default_factory=list)
    log_path: str | None = None


class McpServer(msgspec.Struct, frozen=True):
    """One declared MCP server; `problem` is why it can never be connected."""

    name: str
    capability: str
    fields: dict[str, Any]
    when: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def qualified_name(self) -> str:
        """`capability:server`."""
        return f"{self.capability}:{self.name}"

    @property
    def transport(self) -> str:
        """`stdio` for a command, `streamable-http` for a URL; a command wins (contract 12)."""
        return "stdio" if "command" in self.fields else "streamable-http"

    def component(self, flags: dict[str, Flag], state: McpState | None = None) -> ComponentInfo:
        """Return its health entry; without a state it is one that no runtime runs."""
        state = state or McpState()
        is_open = gate_is_open(self.when, flags)
        status = "error" if self.problem else state.status if is_open else "gated_off"
        closed = f"Requires flag: {', '.join(self.when)}"
        return ComponentInfo(
            kind="mcp_server",
            name=self.name,
            status=status,
            error=self.problem or state.error,
            detail=closed if status == "gated_off" else state.detail,
            qualified_name=self.qualified_name,
            capability=self.capability,
            transport=self.transport,
            tool_count=len(state.tools),
            when=list(self.when) or None,
        )

    def detail(self, flags: dict[str, Flag], state: McpState | None = None) -> dict[str, Any]:
        """Return the detail of contract 6.3; the status of one that is connected is `connected`."""
        state = state or McpState()
        shown = self.component(flags, state)
        auth = self.fields.get("auth")
        args = self.fields.get("args")
        return {
            "name": self.name,
            "qualified_name": shown.qualified_name,
            "capability": self.capability,
            "status": "connected" if shown.status == "ok" else shown.status,
            "error": shown.error,
            "detail": shown.detail,
            "transport": self.transport,
            "command": self.fields.get("command"),
            "args": list(args) if isinstance(args, list | tuple) else [],
            "url": self.fields.get("url"),
            "auth_type": auth.get("type", "oauth") if isinstance(auth, dict) else None,
            "log_path": state.log_path,
            "recent_stderr": list(state.recent_stderr),
            "tool_count": shown.tool_count,
            "tools": [dict(tool) for tool in state.tools],
        }
