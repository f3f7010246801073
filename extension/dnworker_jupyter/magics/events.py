"""`%events`: shows the latest events, saves them, or makes one a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnworker.core.envelope import EventEnvelope, has_payload
from dnworker.core.errors import UsageError
from dnworker.engine.replay import recorded, write_events
from dnworker.runtime import Runtime
from dnworker_jupyter.display.tables import Note, Table
from dnworker_jupyter.magics.attached import mark_here
from dnworker_jupyter.magics.case import offer_case
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser, nearest

VERBS = ("save", "test")


@dataclass(frozen=True)
class EventsOptions:
    """The options of an `%events` line."""

    words: list[str]
    worker: str | None
    kind: str | None
    last: int
    all: bool


def events_parser() -> Parser:
    """Return the parser of the `%events` line."""
    parser = Parser("%events", "Show the latest events, or save them.")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[save FILE | test #SEQ]",
        help="save: those from outside, to a JSON Lines file, for %%replay FILE; test: a cell below that "
        "tests what became of one",
    )
    parser.add_argument("--worker", metavar="NAME", help="with test: whose doing is tested")
    parser.add_argument("--kind", metavar="K", help="only this kind")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many")
    parser.add_argument("--all", action="store_true", help="all, of earlier runs too, from the journal")
    return parser


async def run_events(context: MagicContext, options: EventsOptions) -> object:
    """Run an `%events` line.

    Raises:
        UsageError: the line is wrong, or the file cannot be written.
    """
    if options.last < 1:
        raise UsageError(f"--last {options.last}: show at least one", code="DN101")
    match options.words:
        case []:
            table = _table(await _latest(context.runtime, options), options)
            table.mark = mark_here(context)
            return table
        case ["test", event]:
            return await offer_case(context, event, options.worker)
        case ["save", file]:
            path = Path(file).expanduser()
            found = await recorded(context.runtime, options.last, kind=options.kind, everything=options.all)
            count = write_events(path, found)
            return Note(f"{count} events are in {path}; fire them again with: %replay {path}")
    hint = nearest(options.words[0], VERBS)
    raise UsageError(
        f"%events takes: save FILE, or test #SEQ; not {' '.join(options.words)!r}{hint}", code="DN101"
    )


async def _latest(runtime: Runtime, options: EventsOptions) -> Sequence[EventEnvelope]:
    """Return the latest events: of this run, or with `--all` of earlier runs too."""
    if options.all:
        return await recorded(runtime, options.last, kind=options.kind, everything=True)
    events = runtime.history.events(runtime.history.kept)
    return [event for event in events if options.kind in (None, event.kind)][-options.last :]


def _table(events: Sequence[EventEnvelope], options: EventsOptions) -> Table:
    rows = [
        [
            f"#{e.seq}",
            e.event_id[:8],
            e.timestamp.strftime("%Y-%m-%d %H:%M:%S" if options.all else "%H:%M:%S"),
            e.kind,
            e.session_id or "",
            str(e.payload)[:80] if has_payload(e) else "(not kept any more)",
        ]
        for e in events
    ]
    empty = f"no events of kind {options.kind}" if options.kind else "no events yet"
    return Table(["event", "id", "at", "kind", "session", "payload"], rows, empty)
