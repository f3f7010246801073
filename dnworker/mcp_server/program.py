"""Runs the server: `dnworker mcp` and `python -m dnworker.mcp_server` have this in common."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.core.errors import UsageError
from dnworker.mcp_server.api import Api

if TYPE_CHECKING:
    from dnworker.mcp_server.several import Finder

EXTRA = "pip install 'dnworker[mcp]'"


def check_installed(what: str = "dnworker mcp") -> None:
    """Refuse to begin without the library; `what` needs it.

    Raises:
        UsageError: it is not installed; names the command.
    """
    if importlib.util.find_spec("mcp") is None:
        raise UsageError(f"{what} needs the library of MCP; install it with: {EXTRA}", code="DN977")


async def run_stdio(source: Api | Finder, *, name: str | None, may_write: bool) -> None:
    """Serve over standard input and output until the input ends; a signal ends the process at once.

    A thread of the library reads the input: an interrupt would wait for its next line.
    """
    from dnworker.mcp_server.server import make_server

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        await make_server(source, name=name, may_write=may_write).run_stdio_async()
    finally:
        await _close(source)


async def run_http(
    source: Api | Finder,
    *,
    name: str | None,
    may_write: bool,
    host: str = "127.0.0.1",
    port: int = 0,
    names: Sequence[str] = (),
    token_file: Path | None = None,
    as_json: bool = False,
    until_input_ends: bool = False,
) -> None:
    """Serve over streamable HTTP until a signal comes, or standard input ends where that is wanted.

    Raises:
        UsageError: the port cannot be had, or the file of the token cannot be used.
    """
    from dnworker.mcp_server.http import Place, serve
    from dnworker.mcp_server.server import make_server

    def listens(url: str, file: Path) -> None:
        if as_json:
            text = json.dumps({"url": url, "token_file": str(file)})
        else:
            text = (
                f"agents reach the runtime by MCP at {url}\n"
                f"the token is in {file}, which only you can read; Ctrl-C ends it"
            )
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    until = _input_ends() if until_input_ends else None
    try:
        server, place = (
            make_server(source, name=name, may_write=may_write),
            Place(host, port, names, token_file),
        )
        await serve(server, place=place, listens=listens, until=until)
    finally:
        await _close(source)


async def _close(source: Api | Finder) -> None:
    if isinstance(source, Api):
        await source.close()


def _input_ends() -> asyncio.Event:
    """Return what is set when standard input ends: who started this has ended, or lets go of it."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError):  # without a standard input there is nothing to wait for
            while os.read(0, 4096):  # not `sys.stdin`: the end of Python would wait for its lock, and abort
                pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="dnworker mcp input", daemon=True).start()
    return ended
