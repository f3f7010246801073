"""What `serve` prints: its start, and what goes wrong while it runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dnworker.cli.cluster_options import joined_to_json
from dnworker.cli.debug_options import debugged_to_json, shown
from dnworker.cli.json_lines import Entry, speaking
from dnworker.cli.text import print_json, printable
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.logs import LogLine
from dnworker.engine.left_behind import owner_of, place, who
from dnworker.engine.watchdog import Block, Watchdog
from dnworker.workers.blocking import way_in_line

if TYPE_CHECKING:
    from dnworker.mcp_server.process import Listening
    from dnworker.runtime import Runtime


def announce(
    runtime: Runtime, token_file: Path | None, *, as_json: bool, mcp: Listening | None = None
) -> None:
    """Print where the runtime is, and what runs there."""
    workers = {w.qualified_name: {"state": str(w.state), "error": w.error} for w in runtime.workers()}
    failed = {c.root.name: c.failure for c in runtime.capabilities.all() if c.failure is not None}
    addresses = [] if runtime.server is None else runtime.server.addresses
    others = [one for one in addresses if one != runtime.url]
    if as_json:
        report: dict[str, Any] = {"ok": True, "url": runtime.url, "workers": workers, "failed": failed}
        report |= {"addresses": others} if others else {}
        print_json(report | debugged_to_json(runtime) | joined_to_json(runtime) | _mcp_to_json(mcp))
        return
    where = f"the token is in {token_file}" if token_file else "the token is that of DREADNODE_RUNTIME_TOKEN"
    tell(f"serving at {runtime.url}; {where}", url=runtime.url)
    for one in others:
        tell(f"serving at {one}, too")
    if runtime.listening is not None and runtime.listening.is_open_to_readers:
        say(
            f"{runtime.listening.host} is open to the network as plain text, the token too; --tls-cert, or a "
            "proxy named by --trusted-proxy, encrypts it"
        )
    tell(f"the panel is at {runtime.url}/panel; `dnworker panel` opens it")
    _tell_mcp(mcp)
    if joined := joined_to_json(runtime):
        tell("node {node} of the namespace {namespace} at {broker}".format(**joined), **joined)
    for name, worker in workers.items():
        why = f": {worker['error']}" if worker["error"] else ""
        level = "error" if worker["error"] else "info"
        tell(f"  {name} is {worker['state']}{why}", level, worker=name, state=worker["state"])
    for text in shown(runtime):
        tell(text)
    for server in runtime.mcp.all():
        name, status = server.server.qualified_name, server.state.status
        tell(f"  MCP server {name} is {'connected' if status == 'ok' else status}", "info")
    for capability in runtime.capabilities.all():
        for check in capability.checks:
            if check.error is not None:
                tell(f"  check {check.name} of {capability.name} failed: {check.error}", "error")
    for name, why in failed.items():
        tell(f"  {name} could not be loaded: {why}", "error")
    if not failed and all(capability.live for capability in runtime.capabilities.all()):
        tell(
            "  no capability was found; name a directory, or put one into .dreadnode/capabilities", "warning"
        )


def _mcp_to_json(mcp: Listening | None) -> dict[str, Any]:
    return {} if mcp is None else {"mcp": {"url": mcp.url, "token_file": mcp.token_file}}


def _tell_mcp(mcp: Listening | None) -> None:
    if mcp is not None:
        tell(f"agents reach it by MCP at {mcp.url}; the token is in {mcp.token_file}", url=mcp.url)


def tell(text: str, level: str = "info", *, worker: str | None = None, **more: Any) -> None:
    """Print a line on stdout; where lines are JSON, it has the further fields."""
    with speaking(Entry(text.strip(), level, worker=worker, more=more)):
        print_line(text, sys.stdout)


def print_line(text: str, file: TextIO | None) -> None:
    """Write a line to a stream in one piece; without a stream nowhere, as `print` does."""
    if file is not None:
        file.write(f"{printable(text)}\n")
        file.flush()


def print_error(line: LogLine) -> None:
    """Print an error of the runtime on stderr; all other lines are in the log only.

    Each line of it begins with the worker: one of a message could look like what another worker did.
    """
    if line.source == "runtime" and line.level == "error":
        entry = Entry(
            line.text, "error", worker=line.worker, invocation=line.invocation_id, event=line.event_id
        )
        parts = line.text.split("\n")
        say("\n".join(f"{line.worker}: {part}" if part else f"{line.worker}:" for part in parts), entry=entry)


def print_mistakes(invocation: Invocation) -> None:
    """Print the mistakes that were noticed in an invocation, once it has ended."""
    if invocation.warnings and invocation.outcome != "running":
        for warning in invocation.warnings:
            say_of(invocation, str(warning))


def say_of(invocation: Invocation, text: str) -> None:
    """Print a line on stderr about an invocation."""
    event = None if invocation.event is None else invocation.event.event_id
    entry = Entry(text, "warning", worker=invocation.worker, invocation=invocation.id, event=event)
    say(f"{invocation.label}: {text}", entry=entry)


def say(text: str, level: str = "warning", *, entry: Entry | None = None) -> None:
    """Print a line on stderr; where lines are JSON, it is the entry."""
    with speaking(entry or Entry(text, level)):
        try:
            print_line(text, sys.stderr)
        except BaseException:  # a worker has put a stream of its own there: it may even say sys.exit()
            print_line(text, sys.__stderr__)


def print_output(worker: str, line: str) -> None:
    """Print a line of a worker process, for which there is no file."""
    say(f"{worker}: {line}", entry=Entry(line, "info", "output", worker=worker))


def print_waiting(runtime: Runtime) -> None:
    starting = [w.qualified_name for w in runtime.workers() if w.state is WorkerState.STARTING]
    awaited = f"the startup of {', '.join(starting)}" if starting else "capabilities and their checks"
    say(f"waiting for {awaited}; Ctrl-C stops", "info")


def watch_loop(runtime: Runtime, *, on_debugger: Callable[[], None] = lambda: None) -> Watchdog:
    """Say on stderr, and in its worker's log, who makes the running loop stand still, and for how long.

    `on_debugger` is called on another thread, a few times a second, while a debugger holds the loop.
    """

    def note(block: Block, text: str) -> None:
        invocation = block.invocation
        worker = invocation.worker if invocation is not None else owner_of(runtime, block.file)
        say(text, entry=Entry(text, "warning", worker=worker))
        if worker is not None:
            runtime.log_line(worker, text, source="runtime", level="warning", invocation=invocation)

    def blocked(block: Block) -> None:
        if not block.is_known and block.invocation is None:
            return  # the machine may be busy with others: said afterwards, if it was not
        note(
            block,
            f"the event loop stands still, and every worker waits: {who(runtime, block)} holds it at "
            f"{place(block)}; {way_in_line(block.source)}",
        )

    def released(block: Block) -> None:
        if not block.is_known and block.invocation is None and block.cpu_seconds < block.seconds / 2:
            return
        held = f"{who(runtime, block)} at {block.location}" if block.is_known else block.location
        note(block, f"the event loop runs again: it stood still for {block.seconds:.1f} s, by {held}")

    watchdog = Watchdog(
        asyncio.get_running_loop(), on_blocked=blocked, on_released=released, on_debugger=on_debugger
    )
    watchdog.start()
    return watchdog
