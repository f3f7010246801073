"""The options of `serve` for coding agents: `--mcp`, `--mcp-host` and `--mcp-token-file`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError

if TYPE_CHECKING:
    from dnworker.mcp_server.process import McpProcess
    from dnworker.runtime import Runtime

LARGEST_PORT = 65_535


def add_mcp_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--mcp",
        nargs="?",
        const=0,
        type=_port,
        metavar="PORT",
        help="let coding agents in by MCP, over streamable HTTP with a token of its own, by a process beside "
        "the runtime (without PORT, or with 0: a free one)",
    )
    parser.add_argument(
        "--mcp-host", metavar="HOST", help="with --mcp: where it listens (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--mcp-token-file",
        type=Path,
        metavar="FILE",
        help="with --mcp: read the token of agents here, or write the minted one (default: a temporary file)",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_PORT:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no port; write --mcp after the capabilities, or --mcp=0"
        )
    return int(text)


def check_mcp(options: argparse.Namespace) -> None:
    """Check what they say, and that the library is there.

    Raises:
        UsageError: they do not go together, the token's file is open to others, or the library is missing.
    """
    if options.mcp is None:
        for name in ("mcp_host", "mcp_token_file"):
            if getattr(options, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} says how agents come in, and --mcp is missing; add it", code="DN972"
                )
        return
    from dnworker.engine.tokens import exposure
    from dnworker.mcp_server.program import check_installed

    check_installed("dnworker serve --mcp")
    file = options.mcp_token_file
    if file is not None and (exposed := exposure(file)) is not None:
        raise UsageError(f"--mcp-token-file: {exposed}", code="DN907")


def make_mcp(options: argparse.Namespace, runtime: Runtime) -> McpProcess | None:
    """Return the process that speaks MCP, which is not started; None where none is wanted."""
    if options.mcp is None:
        return None
    from dnworker.mcp_server.process import COMMAND, McpProcess, WayOut

    command = [*COMMAND, "--port", str(options.mcp)]
    if options.mcp_host is not None:
        command += ["--host", options.mcp_host]
    if options.mcp_token_file is not None:
        command += ["--agents-token-file", str(options.mcp_token_file.absolute())]
    command += [f"--allowed-host={name}" for name in options.allowed_host]
    way_out = WayOut("restart `dnworker serve`", "pip install 'dnworker[mcp]'")
    return McpProcess(runtime, lambda: str(runtime.url), tuple(command), way_out=way_out, keeps_on=True)


async def stopped(mcp: McpProcess | None) -> None:
    """End the process, where there is one."""
    if mcp is not None:
        await mcp.stop()
