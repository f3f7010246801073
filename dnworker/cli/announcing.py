"""What `serve` prints: its start, and what goes wrong while it runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.cli.cluster_options import joined_to_json
from dnworker.cli.debug_options import debugged_to_json, shown
from dnworker.cli.text import print_json, printable
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.logs import LogLine
from dnworker.engine.left_behind import owner_of, place, who
from dnworker.engine.watchdog import Block, Watchdog
from dnworker.workers.blocking import way_in_line

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def announce(runtime: Runtime, token_file: Path | None, *, as_json: bool) -> None:
    """Print where the runtime is, and what runs there."""
    workers = {w.qualified_name: {"state": str(w.state), "error": w.error} for w in runtime.workers()}
    failed = {c.root.name: c.failure for c in runtime.capabilities.all() if c.failure is not None}
    addresses = [] if runtime.server is None else runtime.server.addresses
    others = [one for one in addresses if one != runtime.url]
    if as_json:
        report: dict[str, Any] = {"ok": True, "url": runtime.url, "workers": workers, "failed": failed}
        report |= {"addresses": others} if others else {}
        print_json(report | debugged_to_json(runtime) | joined_to_json(runtime))
        return
    where = f"the token is in {token_file}" if token_file else "the token is that of DREADNODE_RUNTIME_TOKEN"
    print(f"serving at {runtime.url}; {where}", flush=True)
    for one in others:
        print(printable(f"serving at {one}, too"), flush=True)
    if runtime.listening is not None and runtime.listening.is_open_to_readers:
        say(
            f"{runtime.listening.host} is open to the network as plain text, the token too; --tls-cert, or "
            "a proxy named by --trusted-proxy, encrypts it"
        )
    print(f"the panel is at {runtime.url}/panel; `dnworker panel` opens it", flush=True)
    if joined := joined_to_json(runtime):
        print("node {node} of the namespace {namespace} at {broker}".format(**joined), flush=True)
    for name, worker in workers.items():
        why = f": {worker['error']}" if worker["error"] else ""
        print(printable(f"  {name} is {worker['state']}{why}"), flush=True)
    for text in shown(runtime):
        print(text, flush=True)
    for capability in runtime.capabilities.all():
        for check in capability.checks:
            if check.error is not None:
                print(
                    printable(f"  check {check.name} of {capability.name} failed: {check.error}"), flush=True
                )
    for name, why in failed.items():
        print(printable(f"  {name} could not be loaded: {why}"), flush=True)
    if not workers and not failed:
        print(
            "  no capability was found; name a directory, or put one into .dreadnode/capabilities", flush=True
        )


def print_error(line: LogLine) -> None:
    """Print an error of the runtime on stderr; all other lines are in the log only."""
    if line.source == "runtime" and line.level == "error":
        say(f"{line.worker}: {line.text}")


def print_mistakes(invocation: Invocation) -> None:
    """Print the mistakes that were noticed in an invocation, once it has ended."""
    if invocation.warnings and invocation.outcome != "running":
        for warning in invocation.warnings:
            say(f"{invocation.label}: {warning}")


def say(text: str) -> None:
    """Print a line on stderr."""
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except BaseException:  # a worker has put a stream of its own there: it may even say sys.exit()
        print(printable(text), file=sys.__stderr__, flush=True)


def print_output(worker: str, line: str) -> None:
    """Print a line of a worker process, for which there is no file."""
    print(printable(f"{worker}: {line}"), file=sys.stderr, flush=True)


def print_waiting(runtime: Runtime) -> None:
    starting = [w.qualified_name for w in runtime.workers() if w.state is WorkerState.STARTING]
    awaited = f"the startup of {', '.join(starting)}" if starting else "capabilities and their checks"
    print(f"waiting for {awaited}; Ctrl-C stops", file=sys.stderr, flush=True)


def watch_loop(runtime: Runtime) -> Watchdog:
    """Say on stderr, and in its worker's log, who makes the running loop stand still, and for how long."""

    def say(block: Block, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)
        invocation = block.invocation
        worker = invocation.worker if invocation is not None else owner_of(runtime, block.file)
        if worker is not None:
            runtime.log_line(worker, text, source="runtime", level="warning", invocation=invocation)

    def blocked(block: Block) -> None:
        if not block.is_known and block.invocation is None:
            return  # the machine may be busy with others: said afterwards, if it was not
        say(
            block,
            f"the event loop stands still, and every worker waits: {who(runtime, block)} holds it at "
            f"{place(block)}; {way_in_line(block.source)}",
        )

    def released(block: Block) -> None:
        if not block.is_known and block.invocation is None and block.cpu_seconds < block.seconds / 2:
            return
        held = f"{who(runtime, block)} at {block.location}" if block.is_known else block.location
        say(block, f"the event loop runs again: it stood still for {block.seconds:.1f} s, by {held}")

    watchdog = Watchdog(asyncio.get_running_loop(), on_blocked=blocked, on_released=released)
    watchdog.start()
    return watchdog
