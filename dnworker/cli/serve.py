"""`dnworker serve`: run capabilities until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.capability.discovery import search_path
from dnworker.capability.flags import parse_cli_flags
from dnworker.cli.cluster_options import add_cluster_arguments, joined_to_json, place_of, shared_broker_of
from dnworker.cli.debug_options import (
    add_debug_arguments,
    check_debugged,
    debug_workers,
    debugged_to_json,
    shown,
)
from dnworker.cli.durable_options import add_durable_arguments, broker_of, catchup_of
from dnworker.cli.ending import STOP_WITHIN, Ending
from dnworker.cli.restart_options import add_restart_arguments, policy_of
from dnworker.cli.retry_options import add_retry_arguments, check_retried, retry_of
from dnworker.cli.roots import roots_of
from dnworker.cli.running import forget, forget_own, own_token_file, register
from dnworker.cli.state_options import add_state_arguments, check_kept
from dnworker.cli.storm_options import add_storm_arguments, apply_storm_options
from dnworker.cli.streams import streams
from dnworker.cli.text import ErrorCodes, print_json, printable
from dnworker.core.errors import UsageError
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.limits import parse_limits
from dnworker.core.logs import LogLine
from dnworker.engine.left_behind import owner_of, place, who
from dnworker.engine.output import kept_output
from dnworker.engine.own_loop import contained
from dnworker.engine.replicas_text import replicas_of
from dnworker.engine.tokens import exposure
from dnworker.engine.watchdog import Block, Watchdog
from dnworker.engine.watching import watch
from dnworker.workers.blocking import way_in_line

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `serve`."""
    parser.add_argument(
        "path", nargs="*", type=Path, help="capabilities, or directories of them (default: the search path)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--capabilities-dir",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="search this directory too; capabilities that come and go in it are noticed",
    )
    parser.add_argument("--token-file", type=Path, help="read the bearer token here, or write the minted one")
    parser.add_argument(
        "--insecure-token-file", action="store_true", help="take a token file that others may read, too"
    )
    parser.add_argument(
        "--worker-scope",
        choices=("operator", "worker"),
        default="operator",
        help="what the tokens of worker processes may do: all, or what a worker needs (default: %(default)s)",
    )
    parser.add_argument("--flag", action="append", default=[], metavar="CAP.FLAG=on", help="set a flag")
    parser.add_argument(
        "--watch", action="store_true", help="reload a capability when what is read to load it changes"
    )
    parser.add_argument("--watch-all", action="store_true", help="the same for every file in its directory")
    _add_kept(parser)
    add_restart_arguments(parser)
    add_retry_arguments(parser)
    add_storm_arguments(parser)
    add_debug_arguments(parser)
    add_state_arguments(parser)
    add_cluster_arguments(parser)
    parser.add_argument(
        "--no-observe",
        action="store_true",
        help="let workers of the reference's SDK run without reporting what their handlers do",
    )
    parser.add_argument("--verbose", action="store_true", help="log what the runtime does to stderr")
    parser.set_defaults(command=serve)


def _add_kept(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments for what is kept, and how much of it."""
    parser.add_argument("--journal", type=Path, metavar="FILE", help="keep what happens in this file")
    add_durable_arguments(parser)
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how much the runtime may use, such as history=128MB; docs/reference/limits.md has all",
    )
    parser.add_argument(
        "--locals",
        action="store_true",
        help="keep the values of variables with errors of worker processes; see docs/understand/security.md",
    )


def serve(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code. It is the last thing that its process does."""
    with streams(as_json=options.json) as standard:
        level = logging.INFO if options.verbose else logging.WARNING
        logging.basicConfig(
            level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
        )
        for handler in logging.getLogger().handlers:
            handler.addFilter(ErrorCodes())
        ending = Ending(standard, forget_own)
        ending.on_signals()
        return ending.run(_serve(options, ending))


async def _serve(options: argparse.Namespace, ending: Ending) -> int:
    stop = asyncio.create_task(ending.requested(), name="dnworker end")
    runtime = ending.engine = make_runtime(options)
    runtime.logs.listen(_print_error)
    runtime.history.listen(_print_mistakes)
    runtime.history.hints.add(lambda invocation, text: _say(f"{invocation.label}: {text}"))
    debug_workers(runtime, options)
    watchdog = watch_loop(runtime)
    runtime.services.log_files.print_line = _print_output
    if not await _is_started(runtime, stop, ending):
        return 0
    file, from_environment = runtime.tokens.file, _token_of_environment()
    if file is None and from_environment is None:
        file = own_token_file(runtime.tokens.main)
    known = register(runtime, file)
    tasks = [asyncio.create_task(ending.keep_signals(), name="dnworker signals")]
    kept = ExitStack()
    try:
        kept.enter_context(kept_output(runtime))
        kept.enter_context(contained(runtime.note_unhandled))
        with runtime.progress.loading():
            loading = asyncio.create_task(_load(runtime, options))
            if not await _finishes_before(stop, loading):
                return 0
            loading.result()
        runtime.turns.release(without_agent=True)
        check_debugged(runtime)
        check_kept(runtime)
        check_retried(runtime)
        gc.collect()
        gc.freeze()  # what is loaded by now stays: the collector need not visit it again
        _announce(runtime, file, as_json=options.json)
        if options.watch or options.watch_all:
            tasks.append(asyncio.create_task(watch(runtime, every_file=options.watch_all)))
        await stop
        return 0
    finally:
        ending.begin()
        for task in tasks:
            task.cancel()
        if not await runtime.stop(within=STOP_WITHIN):
            ending.note_left_behind()
        watchdog.stop()
        kept.close()
        forget(known)


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


def make_runtime(options: argparse.Namespace) -> Runtime:
    """Return the runtime that the options describe."""
    from dnworker.runtime import Runtime

    named = os.environ.get("DREADNODE_RUNTIME_TOKEN_FILE")
    token_file = options.token_file or (Path(named) if named else None)
    exposed = exposure(token_file) if token_file is not None else None
    if exposed is not None and not options.insecure_token_file:
        raise UsageError(f"{exposed}; --insecure-token-file takes it as it is", code="DN907")
    node, labels, require = place_of(options)
    replicas, ordered_by = replicas_of(options.replicas, options.ordered_by, options.keep_state)
    runtime = Runtime(
        host=options.host,
        port=options.port,
        token=_token_of_environment(),
        token_file=token_file,
        worker_scope=options.worker_scope,
        runtime_id=os.environ.get("DREADNODE_RUNTIME_ID"),
        flags=parse_cli_flags(options.flag),
        capability_dirs=_directories(options),
        journal=options.journal,
        limits=parse_limits(options.limit),
        restart=policy_of(options),
        keep_state=options.keep_state,
        process_locals=options.locals,
        observe=not options.no_observe,
        broker=shared_broker_of(options) or broker_of(options),
        catchup=catchup_of(options),
        retry=retry_of(options),
        node=node,
        labels=labels,
        require=require,
        replicas=replicas,
        ordered_by=ordered_by,
    )
    apply_storm_options(options, runtime)
    return runtime


def _token_of_environment() -> str | None:
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or os.environ.get("SANDBOX_AUTH_TOKEN") or None


def _directories(options: argparse.Namespace) -> list[Path]:
    """Return what to search: everything when no capability is named, else only those."""
    for directory in options.capabilities_dir:
        if not directory.is_dir():
            raise UsageError(f"--capabilities-dir {directory}: there is no such directory", code="DN413")
    if options.path:
        return [directory.absolute() for directory in options.capabilities_dir]
    return search_path(options.capabilities_dir)


async def _load(runtime: Runtime, options: argparse.Namespace) -> None:
    """Load the named capabilities, then the discovered ones; after a second, print what it waits for."""
    slow = asyncio.get_running_loop().call_later(1.0, _print_waiting, runtime)
    try:
        for root in [root for path in options.path for root in roots_of(path, _say)]:
            await runtime.load(root)
        await runtime.discover()
    finally:
        slow.cancel()


def _print_error(line: LogLine) -> None:
    """Print an error of the runtime on stderr; all other lines are in the log only."""
    if line.source == "runtime" and line.level == "error":
        _say(f"{line.worker}: {line.text}")


def _print_mistakes(invocation: Invocation) -> None:
    """Print the mistakes that were noticed in an invocation, once it has ended."""
    if invocation.warnings and invocation.outcome != "running":
        for warning in invocation.warnings:
            _say(f"{invocation.label}: {warning}")


def _say(text: str) -> None:
    try:
        print(printable(text), file=sys.stderr, flush=True)
    except BaseException:  # a worker has put a stream of its own there: it may even say sys.exit()
        print(printable(text), file=sys.__stderr__, flush=True)


def _print_output(worker: str, line: str) -> None:
    """Print a line of a worker process, for which there is no file."""
    print(printable(f"{worker}: {line}"), file=sys.stderr, flush=True)


def _print_waiting(runtime: Runtime) -> None:
    starting = [w.qualified_name for w in runtime.workers() if w.state is WorkerState.STARTING]
    awaited = f"the startup of {', '.join(starting)}" if starting else "capabilities and their checks"
    print(f"waiting for {awaited}; Ctrl-C stops", file=sys.stderr, flush=True)


async def _is_started(runtime: Runtime, stop: asyncio.Task[None], ending: Ending) -> bool:
    """Start the runtime; returns False, with nothing left of it, where its end is asked for first."""
    starting = asyncio.create_task(runtime.start(), name="dnworker start")
    if await _finishes_before(stop, starting):
        starting.result()
        return True
    ending.begin()
    await asyncio.wait({starting})
    return False


async def _finishes_before(stop: asyncio.Task[None], task: asyncio.Task[Any]) -> bool:
    """Return whether the task ends before `stop` does; if not, it is cancelled."""
    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return True
    task.cancel()
    return False


def _announce(runtime: Runtime, token_file: Path | None, *, as_json: bool) -> None:
    workers = {w.qualified_name: {"state": str(w.state), "error": w.error} for w in runtime.workers()}
    failed = {c.root.name: c.failure for c in runtime.capabilities.all() if c.failure is not None}
    if as_json:
        report: dict[str, Any] = {"ok": True, "url": runtime.url, "workers": workers, "failed": failed}
        print_json(report | debugged_to_json(runtime) | joined_to_json(runtime))
        return
    where = f"the token is in {token_file}" if token_file else "the token is that of DREADNODE_RUNTIME_TOKEN"
    print(f"serving at {runtime.url}; {where}", flush=True)
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
