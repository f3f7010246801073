"""`%dead`: what workers could not handle and gave up; shows it, has it delivered again, drops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import ApiError, UsageError, code_of
from dnworker.engine import dead_letters
from dnworker.engine.dead_letters import Summary
from dnworker.engine.redelivery import redeliver
from dnworker_jupyter.display.tables import Note, Table
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser, nearest

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

VERBS = ("list", "show", "retry", "drop")

ROWS_SHOWN = 100


class DeadOptions(msgspec.Struct, frozen=True):
    """The options of a `%dead` line."""

    words: list[str]
    all: bool = False
    worker: str | None = None


def dead_parser() -> Parser:
    """Return the parser of the `%dead` line."""
    parser = Parser("%dead", "See, retry and drop what workers could not handle: their dead letters.")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[list | show ID | retry ID | drop ID]",
        help="ID is that of the event, its first digits, or #12",
    )
    parser.add_argument("--all", action="store_true", help="with retry and drop: every dead letter")
    parser.add_argument("--worker", metavar="NAME", help="those of one worker alone")
    return parser


async def run_dead(context: MagicContext, options: DeadOptions) -> object:
    """Run a `%dead` line.

    Raises:
        UsageError: the line is wrong, there is no such dead letter, or it cannot be delivered.
    """
    runtime = context.runtime
    worker = None if options.worker is None else _worker(context, options.worker)
    letters = runtime.dead_letters
    await letters.ready()
    match options.words:
        case [] | ["list"] if not options.all:
            return _table(letters.all(worker))
        case ["show", name] if not options.all:
            return await _show(runtime, letters.find(_checked(runtime, name, worker), worker))
        case [("retry" | "drop") as verb, *names] if options.all != bool(names) and len(names) < 2:
            found = letters.all(worker)[::-1]
            if names:
                found = [letters.find(_checked(runtime, names[0], worker), worker)]
            return await (_retry if verb == "retry" else _drop)(runtime, found)
        case [("retry" | "drop") as verb, *_]:
            raise UsageError(f"%dead {verb} takes one ID, as %dead lists them, or --all", code="DN319")
    text = " ".join([*options.words, *(["--all"] if options.all else [])])
    hint = nearest(options.words[0], VERBS) if options.words else ""
    raise UsageError(f"%dead takes list, show ID, retry ID or drop ID, not {text!r}{hint}", code="DN101")


def _worker(context: MagicContext, name: str) -> str:
    """Return the qualified name of a worker, which may be one that is gone and has left dead letters."""
    has_left = any(one.worker == name for one in context.runtime.dead_letters.all())
    return name if has_left else context.worker(name).qualified_name


def _checked(runtime: Engine, name: str, worker: str | None) -> str:
    """Return the name of a dead letter that is there.

    Raises:
        UsageError: it is not; says what can be named.
    """
    try:
        runtime.dead_letters.find(name, worker)
    except ApiError as exc:
        raise UsageError(
            str(exc).replace("list shows", "%dead shows"), code=code_of(exc) or "DN319"
        ) from None
    return name


async def _show(runtime: Engine, one: Summary) -> Note:
    letter = await runtime.dead_letters.read(one)
    lines = [dead_letters.heading(one), f"payload: {letter.event.payload}"]
    for failed in letter.handlers:
        lines += [f"{failed.handler}, last at {failed.at:%Y-%m-%d %H:%M:%S}:"]
        lines += [f"  {line}" for line in failed.error.lines()]
    return Note(
        "\n".join([*lines, f"%dead retry {one.id[:8]} delivers it again, %dead drop {one.id[:8]} drops it"])
    )


async def _retry(runtime: Engine, found: list[Summary]) -> Note:
    lines = []
    for one in found:
        try:
            event = await redeliver(runtime, one)
        except ApiError as exc:
            lines.append(f"#{one.seq} stays: {exc}")
        else:
            lines.append(f"#{one.seq} is delivered to {one.worker} again, as #{event.seq}")
    return Note("\n".join(lines) or "there is no dead letter")


async def _drop(runtime: Engine, found: list[Summary]) -> Note:
    for one in found:
        await runtime.dead_letters.drop(one)
    return Note(f"{len(found):,} dead letter{' is' if len(found) == 1 else 's are'} dropped")


def _table(found: list[Summary]) -> Table:
    rows = [
        [
            f"#{one.seq}",
            one.id[:8],
            one.kind,
            f"{one.worker}: {', '.join(one.handlers)}",
            str(one.attempts),
            f"{one.failed_at:%Y-%m-%d %H:%M:%S}",
            one.why,
            one.error.partition("\n")[0],
        ]
        for one in found[:ROWS_SHOWN]
    ]
    more = len(found) - len(rows)
    note = f"and {more:,} older ones" if more else ""
    headings = ["event", "id", "kind", "handlers", "attempts", "failed at", "why", "last error"]
    return Table(headings, rows, "no dead letters", note=note)
