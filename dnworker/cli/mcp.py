"""`dnworker mcp`: lets a coding agent look at a running runtime, and work in a notebook, by MCP."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from dnworker.cli.remote import add_address, is_named, make_client
from dnworker.core.errors import UsageError
from dnworker.engine.running import running
from dnworker.mcp_server.api import Api
from dnworker.mcp_server.program import check_installed, run_http, run_stdio

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient
    from dnworker.mcp_server.answers import Known


class _Here:
    """The runtimes of this machine; each tool takes which is meant, where there are several."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def known(self) -> list[Known]:
        """Return those that run."""
        return [
            {
                "url": one.url,
                "is_notebook": one.is_notebook,
                "notebook": one.notebook,
                "directory": one.working_dir,
            }
            for one in running()
        ]

    def client(self, url: str | None) -> RuntimeClient:
        """Return a client of one, or of the only one."""
        return make_client(argparse.Namespace(**vars(self._options) | {"url": url}))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `mcp`."""
    parser.add_argument(
        "--http", action="store_true", help="over streamable HTTP, with a token, in place of stdin and stdout"
    )
    parser.add_argument("--port", type=int, default=0, help="with --http: of 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--allow-write",
        action="store_true",
        help="offer write_worker; the notebook must allow it, too: %%runtime mcp --allow-write",
    )
    parser.add_argument("--name", help="what the user sees the agent called (default: as its client says)")
    parser.add_argument("--skill", action="store_true", help="print the guide for agents, and end")
    add_address(parser)
    parser.set_defaults(command=_mcp)


def _mcp(options: argparse.Namespace) -> int:
    if options.skill:
        print(files("dnworker.mcp_server").joinpath("SKILL.md").read_text(encoding="utf-8"), end="")
        return 0
    if not 0 <= options.port <= 65_535 or (options.port and not options.http):
        wrong = "goes with --http" if not options.http else "is no port"
        raise UsageError(f"--port {options.port} {wrong}; leave it out for a free one", code="DN908")
    check_installed()
    source = Api(partial(make_client, options)) if is_named(options) else _Here(options)
    run = {"name": options.name, "may_write": options.allow_write}
    if options.http:
        asyncio.run(run_http(source, port=options.port, as_json=options.json, **run))
    else:
        asyncio.run(run_stdio(source, **run))
    return 0
