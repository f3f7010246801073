"""`print_table` prints rows: aligned where they are piped; at a terminal rich wraps and colours them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dnworker.cli.text import printable

COLOURS = {
    "running": "green",
    "up": "green",
    "ok": "green",
    "starting": "blue",
    "under way": "blue",
    "error": "bold red",
    "failed": "bold red",
    "gone": "red",
    "stopped": "dim",
    "gated_off": "dim",
}
"""Of cells that begin with such a word; the word says the same without a colour."""


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns begin at the same place; control characters are escaped."""
    rows = [[printable(cell) for cell in row] for row in table]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_table(table: Sequence[Sequence[str]]) -> None:
    """Print rows, of which the first has the titles."""
    if not sys.stdout.isatty() or not _print_by_rich(table):
        print("\n".join(aligned(table)), flush=True)


def _print_by_rich(table: Sequence[Sequence[str]]) -> bool:
    """Print rows in the width of the terminal; returns False where rich is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        return False
    made = Table(*table[0], box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in table[1:]:
        cells = []
        for cell in row:
            shown = printable(cell)
            word = next((word for word in COLOURS if shown == word or shown.startswith(f"{word} ")), None)
            cells.append(Text(shown, style=COLOURS[word] if word else "", overflow="fold"))
        made.add_row(*cells)
    Console(markup=False, highlight=False, emoji=False).print(made)
    return True
