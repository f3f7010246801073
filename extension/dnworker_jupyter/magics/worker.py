"""`%worker` shows and controls workers; `%%worker` cells with `--command` or `--test` run here too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from IPython.core.page import page

from dnworker.core.causes import because
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import TOPOLOGIES, Topology
from dnworker.engine.replay import find
from dnworker.workers.debugging import ProcessDebug
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.silence import why_not_retried
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.display.logs import LINES_SHOWN, LogQuery, line_of, log_text
from dnworker_jupyter.display.tables import (
    WORKER_VERBS,
    Note,
    Table,
    handler_origins,
    worker_table,
    workers_table,
)
from dnworker_jupyter.kernel.descriptors import RUNTIME
from dnworker_jupyter.live.notice import notice, notice_of
from dnworker_jupyter.live.processes import ProcessWorker, until_up
from dnworker_jupyter.live.report import failing
from dnworker_jupyter.magics import state
from dnworker_jupyter.magics.attached import mark_here
from dnworker_jupyter.magics.case import run_case
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.program import declare_program
from dnworker_jupyter.magics.remove import names_handler, remove_handler
from dnworker_jupyter.magics.storms import resume
from dnworker_jupyter.syntax.options import Parser, WorkerLine, nearest

TRIES_SHOWN = 5
"""Events that wait for their next try of which `%worker NAME` says when that is."""


class WorkerOptions(msgspec.Struct, frozen=True):
    """The options of a `%worker` line."""

    words: list[str]
    last: int | None = None
    drop: bool = False
    cell: int | None = None
    trigger: str | None = None
    before: str | None = None
    restore: str | None = None
    keep: list[str] = msgspec.field(default_factory=list)
    changes: Literal["on", "off"] | None = None
    all: bool = False
    grep: str | None = None
    event: str | None = None
    show: int | None = None
    debug: bool = False
    wait: bool = False


def worker_line_parser() -> Parser:
    """Return the parser of the `%worker` line."""
    parser = Parser("%worker", "See and control workers.")
    parser.add_argument("words", nargs="*", metavar="[list] | NAME | VERB NAME", help=", ".join(WORKER_VERBS))
    add = parser.add_argument
    add("--last", type=int, metavar="N", help=f"with logs: the newest N lines, not {LINES_SHOWN}")
    add("--before", metavar="NUMBER", help="with logs: the lines before this one; with state: the event")
    add("--all", action="store_true", help="with logs: all lines, in a pager where they are many")
    add("--grep", metavar="TEXT", help="with logs: the lines with this text, in any case")
    add("--event", metavar="#12", help="with logs: the lines of the handlers of this event")
    add("--show", type=int, metavar="NUMBER", help="with logs: one line whole, with what was displayed")
    add("--drop", action="store_true", help="with resume: let go of what is held")
    add("--cell", type=int, metavar="N", help="with remove NAME.HANDLER: that of cell [N]")
    add(
        "--for",
        dest="trigger",
        metavar="KIND",
        help="with remove NAME.HANDLER: that for this kind or schedule",
    )
    add("--restore", metavar="#SEQ", help="with state: put it back as before this event")
    add(
        "--keep",
        action="append",
        default=[],
        metavar="KEY",
        help="with state: this key was not kept; take what the worker has now",
    )
    add("--changes", choices=["on", "off"], help="with state: whether traces say what handlers change in it")
    add("--debug", action="store_true", help="with topology: let a debugger attach to the process")
    add("--wait", action="store_true", help="with --debug: begin when one has attached")
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
    _check_options(options)
    match options.words:
        case [] | ["list"]:
            return _list(context)
        case ["resume", *names] if len(names) < 2:
            return resume(context, context.worker(names[0]) if names else None, drop=options.drop)
        case [verb] if verb in WORKER_VERBS:
            raise UsageError(f"%worker {verb} needs the worker's name", code="DN101")
        case [name]:
            return await _table(context, context.worker(name))
        case ["topology", name, topology]:
            debug = ProcessDebug(options.wait) if options.debug else None
            return await _move(context, context.worker(name), _topology(topology), debug)
        case ["topology", *_]:
            raise UsageError(
                f"%worker topology takes a name and one of {', '.join(sorted(TOPOLOGIES))}", code="DN322"
            )
        case ["remove", name] if names_handler(context, name):
            return await remove_handler(context, name, options.cell, options.trigger)
        case ["remove", _] if options.cell is not None or options.trigger is not None:
            raise UsageError(
                "--cell and --for go with one handler: %worker remove NAME.HANDLER --cell N", code="DN103"
            )
        case ["state", name]:
            return await _state_of(context, context.worker(name), options)
        case ["logs", name]:
            return await _logs(context, name, options)
        case ["rollback", name, number]:
            return await _roll_back(context, context.worker(name), _generation(number))
        case [verb, name] if verb in _ACTIONS:
            with because(_BY_HAND.get(verb, "")):
                return await _ACTIONS[verb](context, context.worker(name))
        case [verb, *names] if verb in WORKER_VERBS:
            raise UsageError(f"%worker {verb} takes one name, not {' '.join(names)!r}", code="DN101")
    words = " ".join(options.words)
    hint = nearest(options.words[0], WORKER_VERBS)
    raise UsageError(
        f"%worker takes {', '.join(WORKER_VERBS)} and one name, not {words!r}{hint}", code="DN101"
    )


_LINES = {
    "logs": "%worker logs NAME",
    "state": "%worker state NAME",
    "remove": "%worker remove NAME.HANDLER",
    "resume": "%worker resume",
    "topology": "%worker topology NAME TOPOLOGY",
}

_VERBS_OF = {
    "last": ("logs",),
    "all": ("logs",),
    "grep": ("logs",),
    "event": ("logs",),
    "show": ("logs",),
    "before": ("state", "logs"),
    "restore": ("state",),
    "keep": ("state",),
    "changes": ("state",),
    "drop": ("resume",),
    "cell": ("remove",),
    "trigger": ("remove",),
    "debug": ("topology",),
    "wait": ("topology",),
}
"""The verbs that each option goes with, by its field; with all others it would do nothing."""


def _check_options(options: WorkerOptions) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: there is one.
    """
    given = [name for name in _VERBS_OF if _is_given(getattr(options, name))]
    verb = options.words[0] if options.words else ""
    if len(options.words) > 1 and verb not in WORKER_VERBS:
        return  # a wrong verb, which is told with one that is near
    for name in given:
        if verb not in _VERBS_OF[name]:
            lines = " or ".join(_LINES[one] for one in _VERBS_OF[name])
            raise UsageError(f"{_flag(name)} goes with: {lines}", code="DN103")
    if options.wait and not options.debug:
        raise UsageError("--wait waits for a debugger, and goes with --debug", code="DN103")
    if verb == "state":
        if len([name for name in given if name != "keep"]) > 1:
            raise UsageError("--before, --restore and --changes each stand alone", code="DN103")
        if "keep" in given and "before" not in given and "restore" not in given:
            raise UsageError(
                "--keep goes with --before or --restore: %worker state NAME --restore #12 --keep KEY",
                code="DN103",
            )
    if "show" in given and len(given) > 1:
        others = ", ".join(_flag(name) for name in given if name != "show")
        raise UsageError(f"--show shows one line whole, whichever it is; leave {others} out", code="DN103")
    if "all" in given and "last" in given:
        raise UsageError("--all shows all lines, --last the newest N; leave one of them out", code="DN103")


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != []


def _flag(name: str) -> str:
    return "--for" if name == "trigger" else f"--{name}"


async def _state_of(context: MagicContext, managed: ManagedWorker, options: WorkerOptions) -> object:
    if options.changes is not None:
        return state.switch(context, managed, options.changes)
    if options.restore is not None:
        return await state.restore(context, managed, options.restore, options.keep)
    if options.before is not None:
        return state.show_before(context, managed, options.before, options.keep)
    return state.show(context, managed)


async def _logs(context: MagicContext, name: str, options: WorkerOptions) -> object:
    book = context.runtime.logs
    worker = name if name == RUNTIME else context.worker(name).qualified_name
    if options.show is not None:
        return line_of(book, worker, name, options.show)
    event = None
    if options.event is not None:
        event = (await find(context.runtime, options.event)).event_id
    last = LINES_SHOWN if options.last is None else options.last
    query = LogQuery(last, _line_number(options.before), options.all, options.grep, event)
    text = log_text(book, worker, name, query)
    if not text.is_long:
        return text
    page(str(text))
    return None


def _line_number(text: str | None) -> int | None:
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise UsageError(
        f"--before {text}: the number of a line of the log is wanted, as in --before 299", code="DN305"
    )


def _list(context: MagicContext) -> Table:
    table = workers_table(context.runtime.workers())
    table.mark = mark_here(context)
    return table


async def _table(context: MagicContext, managed: ManagedWorker) -> Table:
    table = await _handlers(context, managed)
    table.mark = mark_here(context)
    return table


async def _handlers(context: MagicContext, managed: ManagedWorker) -> Table:
    live, tries = context.live.running(managed), _tries(context, managed)
    if live is None:
        return worker_table(managed, {}, context.runtime.clock, tries=tries)
    context.stale.note_saved(await context.location.fresh())
    stale = [*context.stale.of(live)]
    return worker_table(managed, handler_origins(live, stale), context.runtime.clock, stale, tries)


def _tries(context: MagicContext, managed: ManagedWorker) -> list[str]:
    """Return what waits for its next try, and how many dead letters there are, as lines."""
    runtime, name = context.runtime, managed.qualified_name
    found, now = runtime.history.next_tries.of_worker(name), runtime.clock.monotonic()
    lines = [
        f"{', '.join(one.handlers)}: next try {one.when(now)} ({one.number} of {one.times})"
        for one in found[:TRIES_SHOWN]
    ]
    if len(found) > TRIES_SHOWN:
        lines.append(f"and {len(found) - TRIES_SHOWN:,} later tries")
    if (why := why_not_retried(managed)) is not None:
        lines.append(why)
    if dead := len(runtime.dead_letters.all(name)):
        lines.append(f"{dead:,} dead letter{'s' if dead > 1 else ''}: %dead")
    return lines


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


async def remove_worker(context: MagicContext, managed: ManagedWorker) -> Note:
    """Stop a worker and forget it, with what its cells registered."""
    await context.runtime.remove(managed.qualified_name)
    context.transactions.forget(managed)
    context.runtime.services.debugged.put(managed.qualified_name, None)
    context.runtime.retries.put(managed.qualified_name, None)
    return Note(f"{managed.name} is removed")


async def _roll_back(context: MagicContext, managed: ManagedWorker, number: int | None = None) -> Note:
    live = context.live_worker(managed)
    with notice_of(live):
        change = await live.rollback(number)
    which = "its previous handlers" if number is None else f"the handlers of generation {number}"
    text = f"{live.name} is {live.state_now} with {which}, as generation {live.generation}"
    return Note("\n".join([text, *failing(change)]))


async def _move(
    context: MagicContext, managed: ManagedWorker, topology: Topology, debug: ProcessDebug | None
) -> Note:
    live = context.live_worker(managed)
    if topology == "in-process" and debug is not None:
        raise UsageError(
            f"{live.name} would run in this kernel: JupyterLab's debugger (the bug icon) stops in its cells; "
            f"--debug is for processes, as in: %worker topology {live.name} python --debug",
            code="DN120",
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
    "remove": remove_worker,
}
"""What the verbs do that take a name alone."""


def _state(managed: ManagedWorker) -> Note:
    why = f": {managed.error}" if managed.error else ""
    return Note(f"{managed.name} is {managed.state}{why}")


_BY_HAND = {
    "start": "Started by hand",
    "stop": "Stopped by hand",
    "restart": "Restart by hand",
    "remove": "Removed",
}
"""Why a worker is started and stopped, by the verb; the others say so themselves."""


def _generation(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(
            f"%worker rollback NAME GENERATION takes the number of a generation, not {text!r}", code="DN112"
        )
    return int(text)


def _topology(text: str) -> Topology:
    for topology in TOPOLOGIES:
        if topology == text:
            return topology
    hint = nearest(text, TOPOLOGIES)
    raise UsageError(
        f"there is no topology {text!r}; there are: {', '.join(sorted(TOPOLOGIES))}{hint}", code="DN322"
    )


def _how(topology: Topology) -> str:
    return topology if topology == "in-process" else f"as a process ({topology})"
