"""`%runtime`: shows the runtime, examines it, stops it, says what is done about event storms."""

from __future__ import annotations

from dataclasses import dataclass

from dnworker.core.errors import UsageError
from dnworker.core.topology import SILENT
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.doctor import diagnose
from dnworker_jupyter.magics.durable import make_durable, stop_workers
from dnworker_jupyter.magics.storms import show_or_set
from dnworker_jupyter.syntax.options import Parser

WORDS = ("status", "doctor", "url", "stop", "nest", "storm", "observe", "durable")


@dataclass(frozen=True)
class RuntimeOptions:
    """The options of a `%runtime` line."""

    what: str
    mode: str | None = None
    limit: int | None = None

    @property
    def needs_runtime(self) -> bool:
        """Whether it waits until the runtime has started; another file is the way out where that fails."""
        return self.what != "durable"


def runtime_parser() -> Parser:
    """Return the parser of the `%runtime` line."""
    parser = Parser("%runtime", "Show the runtime, or examine it.")
    parser.add_argument("what", nargs="?", default="status", choices=WORDS)
    parser.add_argument(
        "mode",
        nargs="?",
        metavar="hold|warn|off|on|FILE",
        help="with storm: what is done about one; with observe: on or off; with durable: on, off or a file",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="with storm: the events that make one")
    return parser


async def run_runtime(context: MagicContext, options: RuntimeOptions) -> object:
    """Run a `%runtime` line.

    Raises:
        UsageError: a package is missing, or an option is for something else.
        BrokerError: the file that is to keep the events cannot be used.
    """
    takes_mode = options.what in ("storm", "observe", "durable")
    if (options.mode is not None and not takes_mode) or (
        options.limit is not None and options.what != "storm"
    ):
        raise UsageError(
            f"%runtime {options.what} takes nothing more; %runtime storm takes a mode and --limit, "
            "%runtime observe takes on or off, and %runtime durable on, off or a file"
        )
    match options.what:
        case "storm":
            return show_or_set(context, options.mode, options.limit)
        case "observe":
            return _observe(context, options.mode)
        case "durable":
            return await make_durable(context, options.mode)
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


async def _stop(context: MagicContext) -> Note:
    await stop_workers(context)
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
