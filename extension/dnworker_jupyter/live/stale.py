"""Finds stale handlers, which run although their cell was edited, failed or deleted; used by `%worker`."""

from __future__ import annotations

from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.notebook_file import SavedNotebook
from dnworker_jupyter.live.records import Registration
from dnworker_jupyter.syntax.cell import Cell


def why_stale(registration: Registration, cells: CellBook, saved: SavedNotebook | None) -> str | None:
    """Return why a registration is stale; None when it is current, as far as can be known.

    A kernel knows only the cells that ran. The saved file shows which cells were changed or deleted since,
    if it was saved after the registration.
    """
    cell = registration.cell
    latest = cells.latest(cell.key)
    if latest is not None and not latest[1] and latest[0].source != cell.source:
        return f"its cell failed when it ran again as {latest[0].label}"
    if saved is None or cell.id is None or saved.saved_at < registration.at:
        return None
    if ":" in cell.id:  # VS Code names cells by address, and the file by ids of its own: compare the text
        texts = {_text(source) for source in saved.sources.values()}
        return None if _text(cell.source) in texts else "its cell was edited since, or deleted"
    if cell.id not in saved.sources:
        return "its cell was deleted"
    if _text(saved.sources[cell.id]) != _text(cell.source):
        return "its cell was edited since and has not run"
    return None


def _text(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def label(cell: Cell, why: str | None) -> str:
    """Return where a handler is from, as `%worker` shows it, with why it is stale."""
    return cell.label if why is None else f"{cell.label} (stale: {why})"
