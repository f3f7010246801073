"""Calls of a tool of an MCP server: over the runtime, against the official library's own client."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from common import RUNS, median, report

from dnworker import Runtime

SERVER = Path(__file__).parents[1] / "tests" / "data" / "mcp_servers" / "good.py"
CALLS = 300
MOST_OVER_MS = 5.0
"""Milliseconds that a call may cost over the bare client."""


async def bare() -> float:
    """Return milliseconds a call by the library's client."""
    from mcp import Client, StdioServerParameters

    async with Client(
        StdioServerParameters(command=sys.executable, args=[str(SERVER)]), mode="legacy"
    ) as client:
        await client.call_tool("add", {"a": 1, "b": 2})
        began = time.perf_counter()
        for number in range(CALLS):
            await client.call_tool("add", {"a": number, "b": 1})
        return (time.perf_counter() - began) * 1000 / CALLS


async def ours(root: Path) -> tuple[float, float]:
    """Return milliseconds a call by the runtime, and seconds until the server is connected."""
    async with Runtime(port=None) as runtime:
        began = time.perf_counter()
        await runtime.load(root)
        (server,) = runtime.mcp.all()
        await server.wait()
        connected = time.perf_counter() - began
        tool = runtime.tools.get("bench__good__add")
        await tool.call({"a": 1, "b": 2})
        began = time.perf_counter()
        for number in range(CALLS):
            await tool.call({"a": number, "b": 1})
        return (time.perf_counter() - began) * 1000 / CALLS, connected


def main() -> None:
    """Measure both and report."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        servers = {"good": {"command": sys.executable, "args": [str(SERVER)]}}
        head = "schema: 1\nname: bench\nversion: 0.1.0\ndescription: Bench\n"
        (root / "capability.yaml").write_text(f"{head}mcp: {json.dumps({'servers': servers})}\n")
        bare_ms = median([asyncio.run(bare()) for _ in range(RUNS)])
        runs = [asyncio.run(ours(root)) for _ in range(RUNS)]
    call_ms = median([ms for ms, _ in runs])
    report(
        what="A tool call of an MCP server, and over the bare client",
        call_ms=call_ms,
        bare_ms=bare_ms,
        over_ms=call_ms - bare_ms,
        over_limit_ms=MOST_OVER_MS,
        connected_s=median([seconds for _, seconds in runs]),
    )


if __name__ == "__main__":
    main()
