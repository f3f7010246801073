"""`%panel`: shows the panel, of all workers or one: below the cell, beside the notebook, in the browser."""

from __future__ import annotations

import msgspec

from dnworker.core.errors import UsageError
from dnworker_jupyter.display.docks import PLACES
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Parser


class PanelOptions(msgspec.Struct, frozen=True):
    """The options of a `%panel` line."""

    name: str | None
    dock: str | None = None
    open: bool = False


def panel_parser() -> Parser:
    """Return the parser of the `%panel` line."""
    parser = Parser("%panel", "Show the panel.")
    parser.add_argument("name", nargs="?", help="the worker to show; all when left out")
    parser.add_argument(
        "--dock", choices=tuple(PLACES), help="open it beside the notebook, in JupyterLab; needs sidecar"
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page of this notebook's runtime in the browser"
    )
    return parser


async def run_panel(context: MagicContext, options: PanelOptions, cell: Cell | None) -> object:
    """Return the panel, or a link to its page, to be displayed by `cell`; None where it opens beside it.

    Raises:
        UsageError: there is no such worker, or what is asked for cannot be had here.
    """
    if options.open:
        if options.dock is not None or options.name is not None:
            raise UsageError("%panel --open opens the page of all workers, and stands alone", code="DN103")
        return await context.panels.open_page(cell)
    only = None if options.name is None else context.worker(options.name).qualified_name
    if options.dock is None:
        return context.panels.show(only)
    context.panels.dock(only, options.dock)
    return None
