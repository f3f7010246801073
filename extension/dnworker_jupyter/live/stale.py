"""Handlers that still run although the cell they came from says something else by now, or is gone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnworker_jupyter.kernel.cells import Cell, CellBook
    from dnworker_jupyter.live.worker import Registration


@dataclass(frozen=True)
class SavedNotebook:
    """The notebook as it stands on the disk: the sources of its code cells by id, and when it was saved."""

    sources: dict[str, str]
    saved_at: float


def ghost(registration: Registration, cells: CellBook, saved: SavedNotebook | None) -> str | None:
    """Say why a registration is a ghost; None when it is none, as far as can be known.

    A kernel sees only what runs. Of cells that were changed or deleted since, the saved file tells, if it
    was saved after the registration.
    """
    cell = registration.cell
    latest = cells.latest(cell.key)
    if latest is not None and not latest[1] and latest[0].source != cell.source:
        return f"its cell failed when it ran again as {latest[0].label}"
    if saved is None or cell.id is None or saved.saved_at < registration.at:
        return None
    if ":" in cell.id:  # VS Code names cells by address, and the file by ids of its own: the text must tell
        texts = {_text(source) for source in saved.sources.values()}
        return None if _text(cell.source) in texts else "its cell was edited since, or deleted"
    if cell.id not in saved.sources:
        return "its cell was deleted"
    if _text(saved.sources[cell.id]) != _text(cell.source):
        return "its cell was edited since and has not run"
    return None


def _text(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def notebook_path(shell: Any) -> Path | None:
    """Return the notebook's file, where the front end tells: Jupyter's server, or VS Code."""
    named = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return Path(named) if isinstance(named, str) and named.endswith(".ipynb") else None


def read_saved(path: Path | None) -> SavedNotebook | None:
    """Read the saved notebook; None where it cannot be read, and so tells nothing."""
    if path is None:
        return None
    try:
        saved_at = path.stat().st_mtime
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = {
            cell["id"]: "".join(cell["source"])
            for cell in cells
            if cell.get("cell_type") == "code" and "id" in cell
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SavedNotebook(sources, saved_at) if sources else None


def label(cell: Cell, why: str | None) -> str:
    """Return what `%worker` shows of where a handler is from."""
    return cell.label if why is None else f"{cell.label} (ghost: {why})"
