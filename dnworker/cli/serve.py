"""`dnworker serve`: run capabilities until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.cli.announcing import (
    announce,
    print_error,
    print_mistakes,
    print_output,
    print_waiting,
    say,
    say_of,
    watch_loop,
)
from dnworker.cli.cluster_options import add_cluster_arguments
from dnworker.cli.config_options import add_config_arguments, hide_variables, level_of, sources_of
from dnworker.cli.debug_options import (
    add_debug_arguments,
    check_debugged,
    debug_workers,
)
from dnworker.cli.durable_options import add_durable_arguments
from dnworker.cli.ending import Ending
from dnworker.cli.listen_options import add_listen_arguments
from dnworker.cli.log_options import add_log_arguments, failed, set_up_logging
from dnworker.cli.loop_options import add_loop_arguments, loop_of
from dnworker.cli.made_runtime import make_runtime, placed, token_of_environment
from dnworker.cli.mcp_options import make_mcp, stopped
from dnworker.cli.reloading import Reloader
from dnworker.cli.restart_options import add_restart_arguments
from dnworker.cli.retry_options import add_retry_arguments, check_retried
from dnworker.cli.roots import roots_of
from dnworker.cli.service_manager import ServiceManager
from dnworker.cli.state_options import add_state_arguments, check_kept
from dnworker.cli.stop_options import EndTimes, add_stop_arguments, end_times_of
from dnworker.cli.storm_options import add_storm_arguments
from dnworker.cli.streams import streams
from dnworker.cli.telemetry_options import add_telemetry_arguments
from dnworker.core.collection import collection_held
from dnworker.core.errors import DnworkerError, UsageError
from dnworker.engine.output import kept_output
from dnworker.engine.own_loop import contained
from dnworker.engine.running import forget, forget_own, own_token_file, register

if TYPE_CHECKING:
    from dnworker.mcp_server.process import Listening, McpProcess
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.serve")


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
    _add_more(parser)
    parser.set_defaults(command=serve)


def own_parser() -> argparse.ArgumentParser:
    """Return a parser with the options of `serve` alone: each of them is a setting."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return parser


def _add_more(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that have files of their own, in the order of `--help`."""
    for add in (
        _add_kept,
        add_restart_arguments,
        add_retry_arguments,
        add_storm_arguments,
        add_debug_arguments,
        add_state_arguments,
        add_cluster_arguments,
        add_stop_arguments,
        add_listen_arguments,
        add_loop_arguments,
        add_telemetry_arguments,
        add_config_arguments,
        add_log_arguments,
    ):
        add(parser)


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
    parser.add_argument(
        "--no-observe",
        action="store_true",
        help="let workers of the reference's SDK run without reporting what their handlers do",
    )


def serve(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code. It is the last thing that its process does."""
    sources = sources_of(own_parser(), options, os.environ)
    try:
        resolved = sources.read()
    except UsageError as exc:
        return failed(exc, is_said=sources.wants_json_lines and not options.json)
    hide_variables(sources)
    resolved.put_into(options)
    json_lines = options.log_format == "json"
    try:
        times, make_loop = end_times_of(options), loop_of(options.loop)
    except UsageError as exc:
        return failed(placed(exc, resolved.values), is_said=json_lines and not options.json)
    with streams(as_json=options.json, json_lines=json_lines) as standard:
        set_up_logging(level_of(resolved.values), json_lines=json_lines)
        for note in resolved.notes:
            say(note)
        manager = ServiceManager.of(os.environ)  # before any process is started
        ending = Ending(standard, forget_own, times, make_loop)
        ending.on_signals()
        try:
            return ending.run(_serve(options, ending, times, manager, Reloader(sources, resolved, manager)))
        except (DnworkerError, OSError) as exc:
            return failed(placed(exc, resolved.values), is_said=json_lines and not options.json)
        except Exception:
            if not json_lines:
                raise
            log.critical("the runtime ends by a mistake of its own", exc_info=True)
            return 1


async def _serve(
    options: argparse.Namespace, ending: Ending, times: EndTimes, manager: ServiceManager, reloader: Reloader
) -> int:
    stop = asyncio.create_task(ending.requested(), name="dnworker end")
    with collection_held(stays=True):
        runtime = ending.engine = _made(options)
        watchdog = watch_loop(runtime, on_debugger=manager.ping)
        telling = asyncio.create_task(manager.keep(runtime), name="dnworker service manager")
        if not await _is_started(runtime, stop, ending):
            return 0
    file, from_environment = runtime.tokens.file, token_of_environment()
    if file is None and from_environment is None:
        file = own_token_file(runtime.tokens.main)
    known = register(runtime, file)
    tasks = [asyncio.create_task(ending.keep_signals(), name="dnworker signals")]
    kept, left, mcp = ExitStack(), times.within, make_mcp(options, runtime)
    try:
        kept.enter_context(kept_output(runtime))
        kept.enter_context(contained(runtime.note_unhandled))
        if not await _is_loaded(runtime, options, stop):
            return 0
        announce(runtime, file, as_json=options.json, mcp=await _until_listening(mcp, stop))
        ending.on_hangup(reloader.request)
        tasks.append(asyncio.create_task(reloader.run(runtime), name="dnworker reload"))
        if options.watch or options.watch_all:
            tasks.append(asyncio.create_task(_watch(runtime, every_file=options.watch_all)))
        manager.ready()
        await stop
        manager.stopping(times.kill)
        left = await _drain(runtime, times)
        return 0
    finally:
        ending.begin()
        manager.stopping(times.kill)
        for task in tasks:
            task.cancel()
        await stopped(mcp)
        if not await runtime.stop(within=left):
            ending.note_left_behind()
        runtime.drain.tell_unheard(say)
        telling.cancel()
        watchdog.stop()
        kept.close()
        forget(known)


async def _watch(runtime: Runtime, *, every_file: bool) -> None:
    from dnworker.engine.watching import watch  # only who edits files wants it

    await watch(runtime, every_file=every_file)


def _made(options: argparse.Namespace) -> Runtime:
    """Return the runtime, whose mistakes and output are printed."""
    runtime = make_runtime(options)
    runtime.logs.listen(print_error)
    runtime.history.listen(print_mistakes)
    runtime.history.hints.add(say_of)
    runtime.services.log_files.print_line = print_output
    debug_workers(runtime, options)
    return runtime


async def _drain(runtime: Runtime, times: EndTimes) -> float:
    """Serve on for a while, then let what runs and waits end; returns the seconds left to stop in."""
    runtime.drain.announce(times.process_ends)
    await asyncio.sleep(times.drain)
    began = time.monotonic()
    await runtime.drain.work_off(times.work_off, say)
    return times.within - (time.monotonic() - began)


async def _is_loaded(runtime: Runtime, options: argparse.Namespace, stop: asyncio.Task[None]) -> bool:
    """Load all that there is to load, and check the options; False where the end is asked for first."""
    with runtime.progress.loading():
        loading = asyncio.create_task(_load(runtime, options))
        if not await _finishes_before(stop, loading):
            return False
        loading.result()
    runtime.turns.release(without_agent=True)
    check_debugged(runtime)
    check_kept(runtime)
    check_retried(runtime)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the collector need not visit it again
    return True


async def _load(runtime: Runtime, options: argparse.Namespace) -> None:
    """Load the named capabilities, then the discovered ones; after a second, print what it waits for."""
    slow = asyncio.get_running_loop().call_later(1.0, print_waiting, runtime)
    try:
        for root in [root for path in options.path for root in roots_of(path, say)]:
            await runtime.load(root)
        await runtime.discover()
    finally:
        slow.cancel()


async def _until_listening(mcp: McpProcess | None, stop: asyncio.Task[None]) -> Listening | None:
    """Start the process that speaks MCP; None where there is none, or the end is asked for first."""
    if mcp is None:
        return None
    starting = asyncio.create_task(mcp.start(), name="dnworker mcp start")
    return starting.result() if await _finishes_before(stop, starting) else None


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
