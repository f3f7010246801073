"""`%runtime`: shows the runtime, examines it, stops it, says what keeps events, and about storms."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.topology import SILENT
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.attached import with_mark
from dnworker_jupyter.magics.cluster import Joining, join_cluster, leave_cluster
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.durable import make_durable, stop_workers
from dnworker_jupyter.magics.storms import show_or_set
from dnworker_jupyter.syntax.options import Parser

WORDS = (
    *("status", "doctor", "url", "stop", "nest", "storm", "observe", "durable", "join", "leave", "mcp"),
    *("attach", "detach"),
)
_OF_JOIN = (
    *("namespace", "node", "label", "creds", "broker_ca", "broker_cert", "broker_key"),
    *("replicas", "ordered_by"),
)

_OF_MCP = ("allow_write", "stop", "undo")
_OF_ATTACH = ("token_file", "ca", "shadow", "live", "only_different", "last", "worker", "as_")


class RuntimeOptions(msgspec.Struct, frozen=True):
    """The options of a `%runtime` line."""

    what: str
    mode: str | None = None
    limit: int | None = None
    # with join
    namespace: str | None = None
    node: str | None = None
    label: Sequence[str] = ()
    creds: str | None = None
    broker_ca: str | None = None
    broker_cert: str | None = None
    broker_key: str | None = None
    replicas: Sequence[str] = ()
    ordered_by: Sequence[str] = ()
    # with mcp
    allow_write: bool = False
    stop: bool = False
    undo: str | None = None
    # with attach
    token_file: str | None = None
    ca: str | None = None
    shadow: bool = False
    live: bool = False
    only_different: bool = False
    last: int | None = None
    worker: str | None = None
    as_: Sequence[str] = ()

    @property
    def needs_runtime(self) -> bool:
        """Whether it waits until the runtime has started; another broker is the way out where that fails."""
        return self.what not in ("durable", "leave")

    @property
    def joining(self) -> Joining:
        """How it joins other nodes."""
        return Joining(self.mode, self.namespace, *(getattr(self, name) for name in _OF_JOIN[1:]))


def runtime_parser() -> Parser:
    """Return the parser of the `%runtime` line."""
    parser = Parser("%runtime", "Show the runtime, or examine it.")
    parser.add_argument("what", nargs="?", default="status", choices=WORDS)
    parser.add_argument(
        "mode",
        nargs="?",
        metavar="hold|warn|off|on|FILE|URL",
        help="with storm: what is done about one; with observe: on or off; with durable: on, off or a file; "
        "with join: the servers, such as nats://10.0.0.5; with attach: another runtime",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="with storm: the events that make one")
    parser.add_argument("--namespace", metavar="NAME", help="with join: what the nodes have in common")
    parser.add_argument("--node", metavar="NAME", help="with join: the name of this one")
    parser.add_argument(
        "--label", action="append", default=[], help="with join: what this node has, such as gpu"
    )
    parser.add_argument(
        "--creds", metavar="FILE", help="with join: to sign in with; or NATS_USER, NATS_PASSWORD"
    )
    parser.add_argument("--broker-ca", metavar="FILE", help="with join: the CA of the servers' certificates")
    parser.add_argument("--broker-cert", metavar="FILE", help="with join: the certificate of this node")
    parser.add_argument("--broker-key", metavar="FILE", help="with join: its key")
    for option in ("--replicas", "--ordered-by"):
        parser.add_argument(option, action="append", default=[], help="with join: as of dnworker serve")
    parser.add_argument("--allow-write", action="store_true", help="with mcp: agents may write workers")
    parser.add_argument("--stop", action="store_true", help="with mcp: agents reach the notebook no more")
    parser.add_argument("--undo", metavar="ID", help="with mcp: undo this change of an agent")
    _add_attach_options(parser)
    return parser


def _add_attach_options(parser: Parser) -> None:
    parser.add_argument("--token-file", metavar="FILE", help="with attach: has the token of that runtime")
    parser.add_argument("--ca", metavar="FILE", help="with attach: the CA of its certificate")
    parser.add_argument(
        "--shadow", action="store_true", help="with attach: change nothing there; it is so by default"
    )
    parser.add_argument(
        "--live", action="store_true", help="with attach: do there what workers publish, notify and start"
    )
    parser.add_argument("--only-different", action="store_true", help="with attach: leave the rest out")
    parser.add_argument(
        "--last", type=int, metavar="N", help="with attach: show the newest N events, 50 by default"
    )
    parser.add_argument("--worker", metavar="NAME", help="with attach: show those of this worker")
    parser.add_argument(
        "--as",
        dest="as_",
        action="append",
        default=[],
        metavar="NAME=DEPLOYED",
        help="with attach: compare worker NAME with the deployed one of another name; may be repeated",
    )


def _check(options: RuntimeOptions) -> None:
    """Refuse options that do not go with what is wanted.

    Raises:
        UsageError: there is one.
    """
    takes_mode = options.what in ("storm", "observe", "durable", "join", "attach")
    for word, names in (("join", _OF_JOIN), ("mcp", _OF_MCP), ("attach", _OF_ATTACH)):
        given = [f"--{name.rstrip('_').replace('_', '-')}" for name in names if getattr(options, name)]
        if given and options.what != word:
            raise UsageError(f"%runtime {options.what}: {given[0]} is for %runtime {word}", code="DN103")
    if (options.mode is not None and not takes_mode) or (
        options.limit is not None and options.what != "storm"
    ):
        raise UsageError(
            f"%runtime {options.what} takes nothing more; %runtime storm takes a mode and --limit, "
            "%runtime observe takes on or off, %runtime durable on, off or a file, %runtime join servers, "
            "and %runtime attach a URL",
            code="DN101",
        )


async def run_runtime(context: MagicContext, options: RuntimeOptions) -> object:
    """Run a `%runtime` line.

    Raises:
        UsageError: a package is missing, or an option is for something else.
        BrokerError: the file, or the servers, that are to keep the events cannot be used.
    """
    _check(options)
    match options.what:
        case "storm":
            return show_or_set(context, options.mode, options.limit)
        case "observe":
            return _observe(context, options.mode)
        case "durable":
            return await make_durable(context, options.mode)
        case "join":
            return await join_cluster(context, options.joining)
        case "leave":
            return await leave_cluster(context)
        case "mcp":
            from dnworker_jupyter.magics.mcp import run_mcp  # only where agents are let in

            return await run_mcp(
                context,
                allow_write=options.allow_write,
                stop=options.stop,
                undo=options.undo,
            )
        case "attach" | "detach":
            return await _attach(context, options)
        case "url":
            return Note(str(context.runtime.url))
        case "doctor":
            from dnworker_jupyter.magics.doctor import diagnose  # it asks over HTTP, and takes long to import

            return await diagnose(context)
        case "stop":
            return await _stop(context)
        case "nest":
            return _nest(context)
    return _status(context)


async def _attach(context: MagicContext, options: RuntimeOptions) -> object:
    from dnworker_jupyter.magics.attach import Attaching, run_attach, run_detach  # only where it is used

    if options.what == "detach":
        return await run_detach(context)
    return await run_attach(context, Attaching(options.mode, *(getattr(options, one) for one in _OF_ATTACH)))


def _status(context: MagicContext) -> object:
    runtime = context.runtime
    states = [str(worker.state) for worker in runtime.workers()]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)) or "none"
    return with_mark(
        context,
        f"runtime {runtime.runtime_id} at {runtime.url}; {runtime.bus.latest_seq} events; workers: {counts}"
        f"{_telemetry(context)}",
    )


def _telemetry(context: MagicContext) -> str:
    """Return how telemetry does, in words; empty where it is off."""
    telemetry = context.runtime.telemetry
    if telemetry is None:
        return ""
    parts = []
    for use in telemetry.state():
        part = f"{use.sent:,} {use.signal} sent"
        if lost := use.dropped + use.limited:
            part += f", {lost:,} not"
        if use.failing_since is not None:
            part += f", failing since {use.failing_since:%H:%M:%S} UTC: {use.failure}"
        parts.append(part)
    return f"; telemetry: {'; '.join(parts)}"


def _observe(context: MagicContext, mode: str | None) -> Note:
    """Set whether workers of the reference's SDK are made to report, where that is said; return what it is.

    Raises:
        UsageError: the mode is neither on nor off.
    """
    observation = context.runtime.services.observation
    if mode is not None:
        if mode not in ("on", "off"):
            raise UsageError(f"%runtime observe {mode}: on or off is wanted", code="DN101")
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
            "%runtime nest needs nest-asyncio2; install it with: %pip install 'dnworker[nest]'",
            code="DN902",
        ) from None
    nest_asyncio2.apply()
    context.is_nested = True
    return Note(
        "asyncio is re-entrant in this kernel from now on: asyncio.run(...) works in cells, and every task "
        "costs more; %runtime doctor measures it. A restart of the kernel undoes it"
    )
