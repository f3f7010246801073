"""`Table`: rows as text: aligned where they are piped; at a terminal they fit its width, and have colours.

Where a terminal is too narrow, whole columns are left out first (`less`), then cells are folded.
"""

from __future__ import annotations

from collections.abc import Sequence

from dnworker.cli.terminal import is_coloured, is_terminal, width
from dnworker.cli.text import printable

COLOURS = {
    "running": "green",
    "up": "green",
    "ok": "green",
    "OK": "green",
    "starting": "blue",
    "under way": "blue",
    "warning": "yellow",
    "error": "bold red",
    "failed": "bold red",
    "problem": "bold red",
    "not ok": "bold red",
    "gone": "red",
    "stopped": "dim",
    "gated_off": "dim",
}
"""Of cells that begin with such a word; the word says the same without a colour."""

GAP = 2
"""Columns between two cells."""

READABLE = 24
"""Columns that the last cell of a row gets, if it needs them, before columns are left out."""

LONGEST_CELL = 2_000
"""Characters of a cell at a terminal; what is beyond is marked by `...`, and whole where piped."""

Rows = Sequence[Sequence[str]]


def aligned(table: Rows) -> list[str]:
    """Return rows as lines whose columns begin at the same place; control characters are escaped."""
    rows = [[printable(cell) for cell in row] for row in table]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_table(table: Rows, *, less: Sequence[str] = ()) -> None:
    """Print rows, of which the first has the titles.

    Args:
        table: the rows; cells are foreign text.
        less: titles of the columns that a narrow terminal may lack, the first of them first.
    """
    print("\n".join(table_lines(table, less=less)), flush=True)


def table_lines(table: Rows, *, less: Sequence[str] = ()) -> list[str]:
    """Return what `print_table` prints."""
    found = _lines_by_rich(table, less) if is_terminal() or is_coloured() else None
    return aligned(table) if found is None else found


def _lines_by_rich(table: Rows, less: Sequence[str]) -> list[str] | None:
    """Return rows in the width of the terminal; None where rich is not installed."""
    try:
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        return None
    rows = [[_shown(cell) for cell in row] for row in table]
    needed = [max(cell_len(line) for row in rows for line in row[n].split("\n")) for n in range(len(rows[0]))]
    room = width() if is_terminal() else sum(needed) + GAP * len(needed)
    kept = _kept(rows[0], needed, room, less)
    widths = _widths([needed[n] for n in kept], room)
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for n, columns in zip(kept, widths, strict=True):
        made.add_column(Text(rows[0][n]), width=columns, overflow="fold")
    for row in rows[1:]:
        made.add_row(*(Text(row[n], style=_colour(row[n]), overflow="fold") for n in kept))
    console = Console(
        markup=False,
        highlight=False,
        emoji=False,
        width=room,
        force_terminal=True,
        color_system="standard" if is_coloured() else None,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(made)
    return [line.rstrip() for line in captured.get().splitlines()]


def _shown(cell: str) -> str:
    shown = printable(cell)
    return shown if len(shown) <= LONGEST_CELL else f"{shown[: LONGEST_CELL - 3]}..."


def _colour(cell: str) -> str:
    """Return the style of a cell that begins with such a word; of `2 ok, 1 failed`, the worst."""
    found = []
    for part in cell.split(", "):
        plain = part.lstrip("0123456789 ") if part[:1].isdigit() else part
        found += [COLOURS[word] for word in COLOURS if plain == word or plain.startswith(f"{word} ")]
    return next((style for style in found if "red" in style), found[0] if found else "")


def _kept(titles: Sequence[str], needed: Sequence[int], room: int, less: Sequence[str]) -> list[int]:
    """Return the numbers of the columns that there is room for."""
    kept = list(range(len(titles)))
    for title in less:
        wanted = [needed[n] for n in kept]
        wanted[-1] = min(wanted[-1], READABLE)
        if sum(wanted) + GAP * (len(kept) - 1) <= room:
            break
        if title in titles:
            kept.remove(titles.index(title))
    return kept


def _widths(needed: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns that together fit: the last one gives first, then the widest."""
    found = list(needed)
    over = sum(found) + GAP * (len(found) - 1) - room
    given = max(0, min(over, found[-1] - READABLE))
    found[-1] -= given
    for _ in range(max(0, over - given)):
        widest = max(found)
        if widest <= 1:
            break  # more columns than the terminal has room for characters
        found[found.index(widest)] -= 1
    return found
