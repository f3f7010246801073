"""`%worker` shows and controls workers; `%%worker` cells with `--command` or `--test` run here too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dnworker.core.errors import UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import TOPOLOGIES, Topology
from dnworker.workers.debugging import ProcessDebug
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.display.tables import (
    WORKER_VERBS,
    Note,
    Table,
    handler_origins,
    worker_log,
    worker_table,
    workers_table,
)
from dnworker_jupyter.kernel.notebook_file import read_saved
from dnworker_jupyter.live.notice import notice, notice_of
from dnworker_jupyter.live.processes import ProcessWorker, until_up
from dnworker_jupyter.magics.case import run_case
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.program import declare_program
from dnworker_jupyter.syntax.options import Parser, WorkerLine, nearest

LOG_LINES = 50


@dataclass(frozen=True)
class WorkerOptions:
    """The options of a `%worker` line."""

    words: list[str]
    last: int
    debug: bool = False
    wait: bool = False


def worker_line_parser() -> Parser:
    """Return the parser of the `%worker` line."""
    parser = Parser("%worker", "See and control workers.")
    parser.add_argument("words", nargs="*", metavar="[list] | NAME | VERB NAME", help=", ".join(WORKER_VERBS))
    parser.add_argument("--last", type=int, default=LOG_LINES, metavar="N", help="with logs: how many lines")
    parser.add_argument(
        "--debug", action="store_true", help="with topology: let a debugger attach to the process"
    )
    parser.add_argument("--wait", action="store_true", help="with --debug: begin when one has attached")
    return parser


async def run_worker_cell(context: MagicContext, line: WorkerLine, body: str) -> object:
    """Run a `%%worker` cell whose body is a test, or the file of a program.

    Raises:
        UsageError: the program cannot be run, or the test does not pass.
    """
    if line.command is not None:
        return await declare_program(context, line, line.command, body)
    return await run_case(context, line.name, body)


async def run_worker_line(context: MagicContext, options: WorkerOptions) -> object:
    """Run a `%worker` line.

    Raises:
        UsageError: the line is wrong, or there is no such worker.
    """
    if options.wait and not options.debug:
        raise UsageError("--wait waits for a debugger, and goes with --debug")
    if options.debug and options.words[:1] != ["topology"]:
        raise UsageError("--debug goes with a topology, as in: %worker topology bridge python --debug")
    match options.words:
        case [] | ["list"]:
            return workers_table(context.runtime.workers())
        case [verb] if verb in WORKER_VERBS:
            raise UsageError(f"%worker {verb} needs the worker's name")
        case [name]:
            return await _table(context, context.worker(name))
        case ["topology", name, topology]:
            debug = ProcessDebug(options.wait) if options.debug else None
            return await _move(context, context.worker(name), _topology(topology), debug)
        case ["topology", *_]:
            raise UsageError(f"%worker topology takes a name and one of {', '.join(sorted(TOPOLOGIES))}")
        case ["logs", name]:
            return worker_log(context.runtime, context.worker(name), options.last)
        case [verb, name] if verb in _ACTIONS:
            return await _ACTIONS[verb](context, context.worker(name))
        case [verb, *names] if verb in WORKER_VERBS:
            raise UsageError(f"%worker {verb} takes one name, not {' '.join(names)!r}")
    words = " ".join(options.words)
    hint = nearest(options.words[0], WORKER_VERBS)
    raise UsageError(f"%worker takes {', '.join(WORKER_VERBS)} and one name, not {words!r}{hint}")


async def _table(context: MagicContext, managed: ManagedWorker) -> Table:
    live = context.live.running(managed)
    origins: dict[HandlerKey, str] = {}
    if live is not None:
        origins = handler_origins(live, context.cells, read_saved(await context.location.fresh()))
    return worker_table(managed, origins, context.runtime.clock)


async def _start(context: MagicContext, managed: ManagedWorker) -> Note:
    return await _restart(context, managed, force=False)


async def _restart(context: MagicContext, managed: ManagedWorker, *, force: bool = True) -> Note:
    with notice(managed.name, lambda: managed, lambda: ""):
        await managed.restart(force=force)
        is_live = context.live.running(managed) is not None
        if is_live and isinstance(managed, ProcessWorker) and managed.state is WorkerState.RUNNING:
            await until_up(managed)  # a running process does not listen yet
    return _state(managed)


async def _stop(context: MagicContext, managed: ManagedWorker) -> Note:
    await managed.stop()
    return _state(managed)


async def _remove(context: MagicContext, managed: ManagedWorker) -> Note:
    await context.runtime.remove(managed.qualified_name)
    context.transactions.forget(managed)
    context.runtime.services.debugged.put(managed.qualified_name, None)
    return Note(f"{managed.name} is removed")


async def _roll_back(context: MagicContext, managed: ManagedWorker) -> Note:
    live = context.live_worker(managed)
    with notice_of(live):
        await live.rollback()
    return Note(
        f"{live.name} is {live.state_now} with its previous handlers, as generation {live.generation}"
    )


async def _move(
    context: MagicContext, managed: ManagedWorker, topology: Topology, debug: ProcessDebug | None
) -> Note:
    live = context.live_worker(managed)
    if topology == "in-process" and debug is not None:
        raise UsageError(
            f"{live.name} would run in this kernel: JupyterLab's debugger (the bug icon) stops in its cells; "
            f"--debug is for processes, as in: %worker topology {live.name} python --debug"
        )
    debugged, name = context.runtime.services.debugged, managed.qualified_name
    present = debugged.of(name)
    if live.topology == topology and debug is None and present is None:
        return Note(f"{live.name} runs {_how(topology)} already")
    if debug is not None and present is not None:
        debug.port = present.port  # an editor that knows it can attach again
    debugged.put(name, debug)
    try:
        with notice_of(live):
            await live.move(topology)
    except BaseException:
        debugged.put(name, present)  # what ran before runs on, as it was
        raise
    text = f"{live.name} is {live.state_now}, {_how(topology)}, with empty state"
    return Note("\n".join(filter(None, [text, _how_to_attach(live.managed)])))


def _how_to_attach(managed: ManagedWorker | None) -> str | None:
    return managed.how_to_attach() if isinstance(managed, SubprocessWorker) else None


_ACTIONS: dict[str, Callable[[MagicContext, ManagedWorker], Awaitable[Note]]] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "rollback": _roll_back,
    "remove": _remove,
}
"""What the verbs do that take a name alone."""


def _state(managed: ManagedWorker) -> Note:
    why = f": {managed.error}" if managed.error else ""
    return Note(f"{managed.name} is {managed.state}{why}")


def _topology(text: str) -> Topology:
    for topology in TOPOLOGIES:
        if topology == text:
            return topology
    hint = nearest(text, TOPOLOGIES)
    raise UsageError(f"there is no topology {text!r}; there are: {', '.join(sorted(TOPOLOGIES))}{hint}")


def _how(topology: Topology) -> str:
    return topology if topology == "in-process" else f"as a process ({topology})"
