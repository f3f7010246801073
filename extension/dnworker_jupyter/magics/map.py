"""`%map`: shows what flows where, of all workers or around one; as a picture, as text, or in a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.files import write_atomically
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser


class MapOptions(msgspec.Struct, frozen=True):
    """The options of a `%map` line."""

    name: str | None
    minutes: float = 15
    mermaid: bool = False
    svg: bool = False
    json: bool = False
    output: Path | None = None


def map_parser() -> Parser:
    """Return the parser of the `%map` line."""
    parser = Parser("%map", "Show what flows where.")
    parser.add_argument("name", nargs="?", help="the worker to show with those beside it; all when left out")
    parser.add_argument(
        "--minutes", type=float, default=15, metavar="N", help="what is counted: 15 at most, 0 for nothing"
    )
    parser.add_argument("--mermaid", action="store_true", help="a Mermaid flowchart, as GitHub draws it")
    parser.add_argument("--svg", action="store_true", help="the text of an SVG file")
    parser.add_argument("--json", action="store_true", help="the boxes and ribbons with their places")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it there; .svg, .mmd and .json name the form"
    )
    return parser


async def run_map(context: MagicContext, options: MapOptions) -> object:
    """Return the map to be displayed, its text, or where it was written.

    Raises:
        UsageError: there is no such worker, the options do not go together, or the file cannot be written.
    """
    from dnworker.flow.flow_map import OPTIONS, form_of  # not before a map is drawn

    wanted = [name for name in OPTIONS if getattr(options, name)]
    form = form_of(wanted, options.output)
    only = None if options.name is None else context.worker(options.name).qualified_name
    try:
        made = context.runtime.map(options.minutes, only=only)
    except ValueError as exc:
        raise UsageError(f"%map --minutes: {exc}", code="DN916") from None
    if options.output is not None:
        path = options.output.expanduser()
        try:
            write_atomically(path, made.as_text(form), mode=0o644)
        except OSError as exc:
            raise UsageError(f"%map: {path} cannot be written: {exc.strerror or exc}", code="DN916") from None
        return Note(f"the map is in {path}")
    return Note(made.as_text(form)) if wanted else made
