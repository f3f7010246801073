"""`%runtime`: shows the runtime, examines it, stops it, says what is done about event storms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnworker.core.errors import BrokerError, UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.topology import SILENT
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.doctor import diagnose
from dnworker_jupyter.magics.storms import show_or_set
from dnworker_jupyter.syntax.options import Parser

WORDS = ("status", "doctor", "url", "stop", "nest", "storm", "observe", "durable")


@dataclass(frozen=True)
class RuntimeOptions:
    """The options of a `%runtime` line."""

    what: str
    mode: str | None = None
    limit: int | None = None


def runtime_parser() -> Parser:
    """Return the parser of the `%runtime` line."""
    parser = Parser("%runtime", "Show the runtime, or examine it.")
    parser.add_argument("what", nargs="?", default="status", choices=WORDS)
    parser.add_argument(
        "mode",
        nargs="?",
        metavar="hold|warn|off|on|FILE",
        help="with storm: what is done about one; with observe: on or off; with durable: a file, or off",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="with storm: the events that make one")
    return parser


async def run_runtime(context: MagicContext, options: RuntimeOptions) -> object:
    """Run a `%runtime` line.

    Raises:
        UsageError: a package is missing, or an option is for something else.
    """
    takes_mode = options.what in ("storm", "observe", "durable")
    if (options.mode is not None and not takes_mode) or (
        options.limit is not None and options.what != "storm"
    ):
        raise UsageError(
            f"%runtime {options.what} takes nothing more; %runtime storm takes a mode and --limit, "
            "%runtime observe takes on or off, and %runtime durable a file or off"
        )
    match options.what:
        case "storm":
            return show_or_set(context, options.mode, options.limit)
        case "observe":
            return _observe(context, options.mode)
        case "durable":
            return await _make_durable(context, options.mode)
        case "url":
            return Note(str(context.runtime.url))
        case "doctor":
            return await diagnose(context)
        case "stop":
            return await _stop(context)
        case "nest":
            return _nest(context)
    return _status(context)


def _status(context: MagicContext) -> Note:
    runtime = context.runtime
    states = [str(worker.state) for worker in runtime.workers()]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)) or "none"
    return Note(
        f"runtime {runtime.runtime_id} at {runtime.url}; {runtime.bus.latest_seq} events; workers: {counts}"
    )


def _observe(context: MagicContext, mode: str | None) -> Note:
    """Set whether workers of the reference's SDK are made to report, where that is said; return what it is.

    Raises:
        UsageError: the mode is neither on nor off.
    """
    observation = context.runtime.services.observation
    if mode is not None:
        if mode not in ("on", "off"):
            raise UsageError(f"%runtime observe {mode}: on or off is wanted")
        observation.is_on = mode == "on"
    what = "report what their handlers do" if observation.is_on else SILENT.replace("runs", "run")
    again = "; those that run now are as they were started: %worker restart" if mode is not None else ""
    return Note(f"worker processes of the SDK {what}{again}")


async def _make_durable(context: MagicContext, mode: str | None) -> Note:
    """Have events kept in a file until workers have handled them, or no longer; workers start again.

    Raises:
        UsageError: there is no file to keep them in.
        BrokerError: the file cannot be used; the runtime goes on as it was.
    """
    runtime = context.runtime
    before = runtime.bus.broker
    journal = None if runtime.journal is None else runtime.journal.path
    file = journal if mode is None else Path(mode).expanduser()
    if file is None:
        raise UsageError("this notebook has no journal; name a file: %runtime durable events.db")
    broker: Broker = MemoryBroker() if mode == "off" else SqliteBroker(file)
    await _stop_workers(context)
    runtime.use_broker(broker, journal)
    try:
        await context.startup.ready()
    except BrokerError:
        kept = None if before.journal is None else before.journal.path
        runtime.use_broker(MemoryBroker() if kept is None else SqliteBroker(kept), journal)
        await context.startup.ready()
        raise
    if mode == "off":
        return Note("events are kept in memory again, and are lost when the kernel ends")
    return Note(
        f"events are kept in {file} until workers have handled them; "
        "what they had not when the kernel ends, they get when it starts again"
    )


async def _stop_workers(context: MagicContext) -> None:
    """Stop the runtime, and note which workers ran."""
    up = (WorkerState.RUNNING, WorkerState.STARTING)
    running = [worker.qualified_name for worker in context.runtime.workers() if worker.state in up]
    await context.runtime.stop()
    context.startup.note_stopped(running)


async def _stop(context: MagicContext) -> Note:
    await _stop_workers(context)
    return Note("the runtime is stopped, and its workers with it; the next magic starts them again")


def _nest(context: MagicContext) -> Note:
    """Make asyncio re-entrant, for those who must call blocking helpers in cells."""
    try:
        import nest_asyncio2
    except ImportError:
        raise UsageError(
            "%runtime nest needs nest-asyncio2; install it with: %pip install nest-asyncio2"
        ) from None
    nest_asyncio2.apply()
    context.is_nested = True
    return Note(
        "asyncio is re-entrant in this kernel from now on: asyncio.run(...) works in cells, and every task "
        "costs more; %runtime doctor measures it. A restart of the kernel undoes it"
    )
