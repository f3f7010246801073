"""`McpTool`: one tool of a connected MCP server, as agents get it; and the name that models call it by."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dnworker.core.text import clip
from dnworker.mcp_client.frames import LONGEST_ARGUMENTS, ToolDescription

LONGEST_NAME = 64
"""Characters of a tool's name that all providers take."""

SHORTEST_SEGMENT = 4
"""Characters that are left of a capability's or server's name."""

LONGEST_DESCRIPTION = 10_000
"""Characters of a description that models get; the rest of a longer one is cut."""

LONGEST_SCHEMA = 100_000
"""Bytes of a schema, as JSON: each request to a model has it."""

DEEPEST_SCHEMA = 64
"""Levels of a schema within each other."""

_UNSAFE = re.compile(r"[^a-zA-Z0-9_]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class MCPToolError(Exception):
    """A tool of an MCP server answered with an error; the text is the tool's."""


class MCPServerError(Exception):
    """A tool could not be called, or its answer not be had; the text says what became of the server."""


class NotDone(MCPServerError):
    """A server refused a call before its tool did anything: it may be called again."""


Calls = Callable[[str, dict[str, Any]], Awaitable[str]]
"""Calls a tool of the server by its own name, and returns its answer as text."""


class McpTool(msgspec.Struct, frozen=True):
    """One tool; `name` is what models call, `bare_name` what the server calls it."""

    name: str
    bare_name: str
    description: str
    schema: dict[str, Any]
    capability: str
    server: str
    calls: Calls

    async def call(self, arguments: dict[str, Any] | str) -> str:
        """Call it and return its answer as text.

        Raises:
            ValueError: the arguments are no JSON object, or too long.
            MCPToolError: the tool answered with an error.
            MCPServerError: the server did not answer.
        """
        given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        if not isinstance(given, dict):
            raise ValueError(f"arguments of {self.name} are a JSON object, not {given!r:.60}")
        if (size := len(json.dumps(given, default=str))) > LONGEST_ARGUMENTS:
            raise ValueError(
                f"the arguments of {self.name} have {size:,} bytes; at most {LONGEST_ARGUMENTS:,}"
            )
        return await self.calls(self.bare_name, given)


def wire_name(capability: str, server: str, tool: str) -> str:
    """Return what models call a tool: `capability__server__tool`, the first two cut to fit 64 characters.

    Raises:
        ValueError: it cannot be named, or no provider takes the name; says what to rename.
    """
    segments = [_UNSAFE.sub("_", segment).strip("_") for segment in (capability, server)]
    if not all(segments):
        raise ValueError(f"{capability!r} and {server!r} need a letter or digit each")
    name = "__".join([*segments, tool])
    if len(name) > LONGEST_NAME:
        room = LONGEST_NAME - len(tool) - 2
        if room <= 0:
            raise ValueError(f"its name has {len(tool)} characters; at most {LONGEST_NAME - 3}")
        budget = max(SHORTEST_SEGMENT, (room - 2) // 2)
        for shorter in (budget, budget - 1, budget - 2):  # the reference's may be 66, which nobody takes
            name = "__".join([*(_cut(segment, shorter) for segment in segments), tool])
            if len(name) <= LONGEST_NAME:
                break
    if not _NAME.fullmatch(name):
        raise ValueError("models take letters, digits, _ and - in names, up to 64")
    return name


def _cut(segment: str, budget: int) -> str:
    half = budget // 2
    return segment if len(segment) <= budget else f"{segment[:half]}_{segment[-half:]}"


def tools_of(
    capability: str, server: str, described: list[ToolDescription], calls: Calls
) -> tuple[list[McpTool], list[str]]:
    """Return the tools of a server that agents are offered, and why the others are not."""
    offered: dict[str, McpTool] = {}
    refused = []
    for one in described:
        try:
            name = wire_name(capability, server, one.name)
            if name in offered:
                raise ValueError(f"another tool has the name {name}")
            _check_schema(one.schema)
        except ValueError as exc:
            refused.append(f"{_printable(one.name[:100])}: {exc}")
            continue
        text = clip(one.description, LONGEST_DESCRIPTION)
        offered[name] = McpTool(name, one.name, text, one.schema, capability, server, calls)
    return [*offered.values()], refused


def _check_schema(schema: dict[str, Any]) -> None:
    """Check that every request to a model may have a schema.

    Raises:
        ValueError: it is too deep or too long.
    """
    level: list[Any] = [schema]
    for _ in range(DEEPEST_SCHEMA):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    if any(isinstance(one, dict | list) for one in level):
        raise ValueError(f"its schema has more than {DEEPEST_SCHEMA} levels")
    if (size := len(json.dumps(schema))) > LONGEST_SCHEMA:
        raise ValueError(f"its schema has {size:,} bytes; at most {LONGEST_SCHEMA:,}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
