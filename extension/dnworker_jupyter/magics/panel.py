"""`%panel`: shows the panel of all workers, or of one."""

from __future__ import annotations

from dataclasses import dataclass

from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser


@dataclass(frozen=True)
class PanelOptions:
    """The options of a `%panel` line."""

    name: str | None


def panel_parser() -> Parser:
    """Return the parser of the `%panel` line."""
    parser = Parser("%panel", "Show the panel.")
    parser.add_argument("name", nargs="?", help="the worker to show; all when left out")
    return parser


async def run_panel(context: MagicContext, options: PanelOptions) -> object:
    """Return the panel, to be displayed.

    Raises:
        UsageError: there is no such worker.
    """
    only = None if options.name is None else context.worker(options.name).qualified_name
    return context.panels.show(only)
