"""`%replay`: fires recorded events again, or compares what two generations of a worker do with them."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import ApiError, UsageError, code_of
from dnworker.engine.replay import Edit, find, recorded, replay
from dnworker.events.event_files import read_events
from dnworker.events.trace import Trace
from dnworker.runtime import Runtime
from dnworker.workers.shadow import Comparison, compare
from dnworker_jupyter.display.scores import Scores
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.display.trace_html import trace_html
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.fire import check_debug, check_wait
from dnworker_jupyter.magics.fork import compare_on_fork, replay_on_fork, with_edits
from dnworker_jupyter.magics.scoring import function_of, score, scores_of
from dnworker_jupyter.syntax.options import Parser, read_value

_LAST = re.compile(r"last(\d*)")


class Traces:
    """Several traces, one after the other."""

    def __init__(self, traces: list[Trace]) -> None:
        self.traces = traces

    @property
    def ok(self) -> bool:
        """Whether all are ok."""
        return all(trace.ok for trace in self.traces)

    def __iter__(self) -> Iterator[Trace]:
        return iter(self.traces)

    def __len__(self) -> int:
        return len(self.traces)

    def __getitem__(self, index: int) -> Trace:
        return self.traces[index]

    def _title(self) -> str:
        wrong = sum(1 for trace in self.traces if not trace.ok)
        return f"{len(self.traces)} events fired again: {len(self.traces) - wrong} ok, {wrong} not ok"

    def __repr__(self) -> str:
        return "\n".join([self._title(), *map(str, self.traces)])

    def _repr_html_(self) -> str:
        return f"<p>{self._title()}</p>" + "".join(map(trace_html, self.traces))


class ReplayOptions(msgspec.Struct, frozen=True):
    """The options of a `%replay` line."""

    what: list[str]
    kind: str | None
    edit: list[str]
    speed: float | None
    worker: str | None
    session: str | None
    timeout: float
    compare: bool
    debug: bool
    from_state: bool
    keep: list[str]
    score: str | None = None
    against: str | None = None


def replay_parser() -> Parser:
    """Return the parser of the `%replay` line."""
    parser = Parser("%replay", "Fire recorded events again.")
    parser.add_argument("what", nargs="*", metavar="#SEQ | ID | last [N] | FILE", help="which events")
    parser.add_argument("--kind", metavar="K", help="with last: only this kind, whoever published it")
    parser.add_argument(
        "--edit", action="append", default=[], metavar="k=v", help="change a field; a.b goes down"
    )
    parser.add_argument(
        "--speed",
        type=float,
        metavar="X",
        help="1: as they came; 2: twice as fast; left out: each when the one before has ended",
    )
    parser.add_argument("--worker", metavar="NAME", help="only this worker gets them")
    parser.add_argument("--session", metavar="ID", help="publish in this session")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="wait at most S seconds for each"
    )
    parser.add_argument(
        "--compare", action="store_true", help="run the previous and the present generation, in shadow"
    )
    parser.add_argument("--debug", action="store_true", help="stop at the first line of each handler")
    parser.add_argument(
        "--from-state", action="store_true", help="on the state as it was before it; the live one stays"
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="KEY",
        help="with --from-state: this key was not kept; take what the worker has now",
    )
    parser.add_argument(
        "--score",
        metavar="FUNCTION",
        help="give each trace to this function, and show what it returns as a table",
    )
    parser.add_argument(
        "--against", metavar="SCORES", help="with --score: show what has changed since these scores"
    )
    return parser


async def run_replay(context: MagicContext, options: ReplayOptions) -> object:
    """Run a `%replay` line.

    Raises:
        UsageError: there is no such event, file or worker, or the line is wrong.
    """
    check_wait(options.timeout, options.session)
    _check(options)
    function = None if options.score is None else function_of(options.score, context.names)
    before = scores_of(options.against, context.names)
    events = await choose(context.runtime, options.what or ["last"], kind=options.kind)
    if not events:
        what = f" of kind {options.kind}" if options.kind else ""
        return Note(f"there is nothing{what} to replay; fire something first, or see %events")
    for kind in {event.kind for event in events} if options.debug else ():
        check_debug(context, kind, options.worker)
    edits = [_edit(text, context.names) for text in options.edit]
    if options.from_state:
        return await _from_state(context, events, edits, options)
    if options.compare:
        return await compare_generations(
            context, [with_edits(event, edits) for event in events], options.worker
        )
    try:
        traces = await replay(
            context.runtime,
            events,
            edits=edits,
            speed=options.speed,
            only=options.worker,
            session_id=options.session,
            timeout=options.timeout,
        )
    except ApiError as exc:
        raise UsageError(f"%replay: {exc}", code=code_of(exc) or "DN209") from None
    if function is not None:
        return Scores(await score(traces, function, options.timeout), before)
    return traces[0] if len(traces) == 1 else Traces(traces)


def _check(options: ReplayOptions) -> None:
    """Refuse options that do not go with one another."""
    if options.speed is not None and not 0 < options.speed < math.inf:
        raise UsageError(
            f"--speed {options.speed:g}: time goes forward; 1 is the pace at which they came", code="DN101"
        )
    if options.keep and not options.from_state:
        raise UsageError("--keep goes with --from-state: %replay #12 --from-state --keep KEY", code="DN103")
    if options.debug and options.compare:
        raise UsageError(
            "--compare runs copies, which nothing stops; leave --debug or --compare out", code="DN103"
        )
    if options.compare and (options.session is not None or options.speed is not None):
        flag = "--speed" if options.session is None else "--session"
        raise UsageError(
            f"--compare publishes nothing, and at once; leave {flag} or --compare out", code="DN103"
        )
    if options.speed is not None and options.from_state:
        raise UsageError("--speed is for several events; --from-state takes one", code="DN103")
    if options.against is not None and options.score is None:
        raise UsageError(
            "--against goes with --score: %replay last 50 --score fn --against before", code="DN103"
        )
    if options.score is not None and (options.compare or options.debug or options.from_state):
        flag = next(f for f in ("compare", "debug", "from_state") if getattr(options, f)).replace("_", "-")
        raise UsageError(f"--score fires events again; leave --{flag} or --score out", code="DN103")
    if options.kind and options.what and not options.what[0].startswith("last"):
        raise UsageError("--kind chooses among the last: %replay last 5 --kind turn.completed", code="DN103")


async def choose(runtime: Runtime, words: list[str], *, kind: str | None = None) -> list[EventEnvelope]:
    """Return the events that words name: `last`, `last 5`, `#12`, ids, files.

    Raises:
        UsageError: a word names none.
    """
    match = _LAST.fullmatch(words[0])
    if match is not None and len(words) <= 2:
        count = match[1] or (words[1] if len(words) == 2 else "1")
        if not count.isdecimal() or int(count) < 1:
            raise UsageError(f"%replay last {count}: how many? as in: %replay last 5", code="DN101")
        return await recorded(runtime, int(count), kind=kind)
    events = []
    for word in words:
        path = Path(word).expanduser()
        if path.suffix in (".jsonl", ".ndjson", ".json") or path.is_file():
            events += await asyncio.to_thread(read_events, path)
        else:
            events.append(await find(runtime, word))
    return events


async def _from_state(
    context: MagicContext, events: list[EventEnvelope], edits: list[Edit], options: ReplayOptions
) -> object:
    if options.compare:
        return await compare_on_fork(context, events, worker=options.worker, keep=options.keep, edits=edits)
    return await replay_on_fork(
        context,
        events,
        worker=options.worker,
        keep=options.keep,
        edits=edits,
        timeout=options.timeout,
        session=options.session,
    )


async def compare_generations(
    context: MagicContext, events: list[EventEnvelope], name: str | None
) -> Comparison:
    """Compare what the previous and the present generation of a worker do with events.

    Raises:
        UsageError: there is not one worker with an earlier generation.
    """
    pairs = [
        (live, before)
        for live in context.live
        if name in (None, live.name) and (before := live.previous()) is not None
    ]
    if len(pairs) != 1:
        known = ", ".join(live.name for live, _ in pairs) or "none"
        raise UsageError(
            f"--compare needs one worker with an earlier generation; there are: {known}. "
            "Name it: --worker NAME",
            code="DN112",
        )
    ((live, before),) = pairs
    earlier = live.earlier
    number = f"generation {earlier.number}" if earlier is not None else "the generation before"
    labels = (f"{live.name}, {number}", f"{live.name}, generation {live.generation}")
    return await compare(before, live.make_shadow, events, context.runtime.client(), labels)


def _edit(text: str, names: Mapping[str, Any]) -> Edit:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--edit {text!r} is not of the form field=value", code="DN210")
    return path, read_value(value, names)
