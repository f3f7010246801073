"""`dnworker serve`: run capabilities until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.capability.discovery import search_path
from dnworker.capability.flags import parse_cli_flags
from dnworker.cli.running import forget, forget_own, own_token_file, register
from dnworker.cli.text import printable
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.limits import parse_limits
from dnworker.core.logs import LogLine
from dnworker.engine.output import kept_output

if TYPE_CHECKING:
    from dnworker.runtime import Runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `serve`."""
    parser.add_argument(
        "path", nargs="*", type=Path, help="directories with a capability.yaml (default: the search path)"
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
    parser.add_argument("--flag", action="append", default=[], metavar="CAP.FLAG=on", help="set a flag")
    parser.add_argument("--watch", action="store_true", help="reload a capability when its files change")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="keep what happens in this file")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how much the runtime may use, such as history=128MB; docs/reference.md has all",
    )
    parser.add_argument("--verbose", action="store_true", help="log what the runtime does to stderr")
    parser.set_defaults(command=serve)


def serve(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    stop = _stop_on_signals()
    runtime = make_runtime(options)
    runtime.logs.listen(_print_error)
    runtime.services.log_files.print_line = _print_output
    await runtime.start()
    file, from_environment = runtime.tokens.file, _token_of_environment()
    if file is None and from_environment is None:
        file = own_token_file(runtime.tokens.main)
    known = register(runtime, file)
    kept = ExitStack()
    try:
        kept.enter_context(kept_output(runtime))
        with runtime.progress.loading():
            loading = asyncio.create_task(_load(runtime, options))
            if not await _finishes_before(stop, loading):
                return 0
            loading.result()
        gc.collect()
        gc.freeze()  # what is loaded by now stays: the collector need not visit it again
        _announce(runtime, file, as_json=options.json)
        watching = asyncio.create_task(_watch(runtime)) if options.watch else None
        await stop.wait()
        if watching is not None:
            watching.cancel()
        return 0
    finally:
        await runtime.stop()
        kept.close()
        forget(known)


def make_runtime(options: argparse.Namespace) -> Runtime:
    """Return the runtime that the options describe."""
    from dnworker.runtime import Runtime

    named = os.environ.get("DREADNODE_RUNTIME_TOKEN_FILE")
    return Runtime(
        host=options.host,
        port=options.port,
        token=_token_of_environment(),
        token_file=options.token_file or (Path(named) if named else None),
        runtime_id=os.environ.get("DREADNODE_RUNTIME_ID"),
        flags=parse_cli_flags(options.flag),
        capability_dirs=_directories(options),
        journal=options.journal,
        limits=parse_limits(options.limit),
    )


def _token_of_environment() -> str | None:
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or os.environ.get("SANDBOX_AUTH_TOKEN") or None


def _directories(options: argparse.Namespace) -> list[Path]:
    """Return what to search: everything when no capability is named, else only those."""
    for directory in options.capabilities_dir:
        if not directory.is_dir():
            raise UsageError(f"--capabilities-dir {directory}: there is no such directory")
    if options.path:
        return [directory.resolve() for directory in options.capabilities_dir]
    return search_path(options.capabilities_dir)


async def _load(runtime: Runtime, options: argparse.Namespace) -> None:
    """Load the named capabilities, then the discovered ones; after a second, print what it waits for."""
    slow = asyncio.get_running_loop().call_later(1.0, _print_waiting, runtime)
    try:
        for path in options.path:
            await runtime.load(path)
        await runtime.discover()
    finally:
        slow.cancel()


def _print_error(line: LogLine) -> None:
    """Print an error of the runtime on stderr; all other lines are in the log only."""
    if line.source == "runtime" and line.level == "error":
        print(printable(f"{line.worker}: {line.text}"), file=sys.stderr, flush=True)


def _print_output(worker: str, line: str) -> None:
    """Print a line of a worker process, for which there is no file."""
    print(printable(f"{worker}: {line}"), file=sys.stderr, flush=True)


def _print_waiting(runtime: Runtime) -> None:
    starting = [w.qualified_name for w in runtime.workers() if w.state is WorkerState.STARTING]
    awaited = f"the startup of {', '.join(starting)}" if starting else "capabilities and their checks"
    print(f"waiting for {awaited}; Ctrl-C stops", file=sys.stderr, flush=True)


async def _watch(runtime: Runtime) -> None:
    from dnworker.engine.watching import watch

    with suppress(asyncio.CancelledError):
        await watch(runtime)


def _stop_on_signals() -> asyncio.Event:
    """Return an event that the first SIGINT or SIGTERM sets; a second signal ends the process at once.

    The guard then ends the workers' processes, because this process is gone.
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            forget_own()
            os._exit(1)
        stop.set()
        print("stopping; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return stop


async def _finishes_before(stop: asyncio.Event, task: asyncio.Task[Any]) -> bool:
    """Return whether the task ends before `stop` is set; if not, it is cancelled."""
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return True
    task.cancel()
    return False


def _announce(runtime: Runtime, token_file: Path | None, *, as_json: bool) -> None:
    workers = {w.qualified_name: {"state": str(w.state), "error": w.error} for w in runtime.workers()}
    failed = {c.root.name: c.failure for c in runtime.capabilities.all() if c.failure is not None}
    if as_json:
        report = {"ok": True, "url": runtime.url, "workers": workers, "failed": failed}
        print(json.dumps(report), flush=True)
        return
    where = f"the token is in {token_file}" if token_file else "the token is that of DREADNODE_RUNTIME_TOKEN"
    print(f"serving at {runtime.url}; {where}", flush=True)
    print(f"the panel is at {runtime.url}/panel; `dnworker panel` opens it", flush=True)
    for name, worker in workers.items():
        why = f": {worker['error']}" if worker["error"] else ""
        print(printable(f"  {name} is {worker['state']}{why}"), flush=True)
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
