"""`%events`: shows the latest events or what a kind looks like, saves events, or makes one a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.envelope import EventEnvelope, has_payload
from dnworker.core.errors import NotFound, UsageError
from dnworker.core.payload_masks import PayloadMasks
from dnworker.engine.copies import places_of
from dnworker.engine.replay import recorded
from dnworker.events.event_files import write_events
from dnworker.runtime import Runtime
from dnworker_jupyter.display.tables import Note, Table
from dnworker_jupyter.magics.attached import mark_here
from dnworker_jupyter.magics.case import offer_case
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser, nearest

if TYPE_CHECKING:
    from dnworker_jupyter.display.kinds import KindView
    from dnworker_jupyter.magics.pull import PullOptions

VERBS = ("save", "test", "pull", "schema")
SHOWN = 20
"""Events that are shown or saved, where nobody says how many."""


class EventsOptions(msgspec.Struct, frozen=True):
    """The options of an `%events` line."""

    words: list[str]
    worker: str | None
    kind: str | None
    last: int | None
    all: bool
    since: str | None = None
    session: str | None = None
    mask: str = ""
    save: str | None = None
    cloudevents: bool = False
    token_file: str | None = None
    ca: str | None = None


def events_parser() -> Parser:
    """Return the parser of the `%events` line."""
    parser = Parser("%events", "Show the latest events, or save them.")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[save FILE | test #SEQ | pull URL | schema KIND]",
        help="save: those from outside, to a JSON Lines file, for %%replay FILE; test: a cell below that "
        "tests what became of one; pull: copy recorded events of a running runtime into this notebook; "
        "schema: what payloads of a kind look like, and who publishes and hears it",
    )
    parser.add_argument("--worker", metavar="NAME", help="with test: whose doing is tested")
    parser.add_argument("--kind", metavar="K", help="only this kind; with pull also order.*")
    parser.add_argument(
        "--last",
        type=int,
        default=None,
        metavar="N",
        help="how many: 20; with pull 100, or all since --since",
    )
    parser.add_argument("--all", action="store_true", help="all, of earlier runs too, from the journal")
    parser.add_argument(
        "--since", metavar="TIME", help="with pull: such as 15m, 2h, 3d, or a date in ISO-8601"
    )
    parser.add_argument("--session", metavar="ID", help="with pull: only this session's")
    parser.add_argument(
        "--mask", default="", metavar="RULES", help="with pull and save: fields to hide: email,items.*.card"
    )
    parser.add_argument("--save", metavar="FILE", help="with pull: into a file, and not into this notebook")
    parser.add_argument(
        "--cloudevents", action="store_true", help="with save and --save: a batch of CloudEvents 1.0"
    )
    parser.add_argument("--token-file", metavar="FILE", help="with pull: has the token of that runtime")
    parser.add_argument("--ca", metavar="FILE", help="with pull of https: the authorities that count, PEM")
    return parser


async def run_events(context: MagicContext, options: EventsOptions) -> object:
    """Run an `%events` line.

    Raises:
        UsageError: the line is wrong, or the file cannot be written.
    """
    if options.words[:1] == ["pull"]:
        from dnworker_jupyter.magics.pull import run_pull

        return await run_pull(context, _pull_options(options))
    _check(options)
    match options.words:
        case []:
            events = await _latest(context.runtime, options)
            table = _table(events, options, await places_of(context.runtime, events))
            table.mark = mark_here(context)
            return table
        case ["test", event]:
            return await offer_case(context, event, options.worker)
        case ["schema", kind]:
            return await _schema_of(context, kind)
        case ["save", file]:
            path, masks, last = Path(file).expanduser(), PayloadMasks(options.mask), options.last or SHOWN
            found = await recorded(context.runtime, last, kind=options.kind, everything=options.all)
            if options.mask:
                from dnworker.client.pulling import masked

                found = [masked(event, masks) for event in found]
                masks.check()
            count = await asyncio.to_thread(partial(write_events, path, found, cloud=options.cloudevents))
            return Note(f"{count} events are in {path}; fire them again with: %replay {path}")
    hint = "" if options.words[0] in VERBS else nearest(options.words[0], VERBS)
    raise UsageError(
        f"%events takes: save FILE, test #SEQ, pull URL, or schema KIND; not "
        f"{' '.join(options.words)!r}{hint}",
        code="DN101",
    )


async def _schema_of(context: MagicContext, kind: str) -> KindView:
    """Return what a kind looks like.

    Raises:
        UsageError: there is no such kind.
    """
    from dnworker.engine.event_catalogue import EventCatalogue  # what follows is imported where it is used
    from dnworker_jupyter.display.kinds import KindView

    try:
        return KindView(await EventCatalogue(context.runtime, context.suggestions).entry(kind))
    except NotFound as exc:
        raise UsageError(str(exc), code="DN227") from exc


def _pull_options(options: EventsOptions) -> PullOptions:
    """Return the options of a pull.

    Raises:
        UsageError: the line has no address, or more than one.
    """
    if len(options.words) != 2:
        raise UsageError("%events pull URL: where? as in: %events pull http://10.0.0.5:8787", code="DN101")
    if options.worker is not None or options.all:
        flag = "--all" if options.all else "--worker"
        raise UsageError(f"{flag} does not go with pull; leave it out", code="DN103")
    from dnworker.client.pulling import PullQuery
    from dnworker_jupyter.magics.pull import PullOptions

    return PullOptions(
        options.words[1],
        PullQuery(options.last, (options.kind,) if options.kind else (), options.since, options.session),
        options.mask,
        None if options.save is None else Path(options.save).expanduser(),
        cloudevents=options.cloudevents,
        token_file=None if options.token_file is None else Path(options.token_file).expanduser(),
        ca=options.ca,
    )


def _check(options: EventsOptions) -> None:
    """Refuse what does not go without `pull`, and no number of events."""
    if options.last is not None and options.last < 1:
        raise UsageError(f"--last {options.last}: show at least one", code="DN101")
    for name in ("since", "session", "save", "token_file", "ca"):
        if getattr(options, name) is not None:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} goes with pull: %events pull URL --{flag} ...", code="DN103")
    if (options.mask or options.cloudevents) and options.words[:1] != ["save"]:
        flag = "mask" if options.mask else "cloudevents"
        raise UsageError(f"--{flag} goes with pull and save: %events save FILE --{flag} ...", code="DN103")


async def _latest(runtime: Runtime, options: EventsOptions) -> Sequence[EventEnvelope]:
    """Return the latest events: of this run, or with `--all` of earlier runs too."""
    if options.all:
        return await recorded(runtime, options.last or SHOWN, kind=options.kind, everything=True)
    events = runtime.history.events(runtime.history.kept)
    return [event for event in events if options.kind in (None, event.kind)][-(options.last or SHOWN) :]


def _table(events: Sequence[EventEnvelope], options: EventsOptions, places: Mapping[str, str]) -> Table:
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
    headings = ["event", "id", "at", "kind", "session", "payload"]
    if places:  # the column is there only where events of another runtime are
        headings.insert(4, "from")
        for row, event in zip(rows, events, strict=True):
            row.insert(4, places.get(event.event_id, ""))
    empty = f"no events of kind {options.kind}" if options.kind else "no events yet"
    return Table(headings, rows, empty)
