"""Reads the notebook's file: its saved cells, and what it is known by; used by `journals` and `stale`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec

LONG_TEXT = 30
"""Characters from which on a cell's text says which notebook it is of; shorter ones are in many."""


class SavedNotebook(msgspec.Struct, frozen=True):
    """The notebook as it is saved: the sources of its code cells by id, and when, in seconds since 1970."""

    sources: dict[str, str]
    saved_at: float


def read_saved(path: Path | None) -> SavedNotebook | None:
    """Read the saved notebook; None where there is none, or it cannot be read."""
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return SavedNotebook(sources, saved_at) if sources else None


def cell_ids(path: Path) -> frozenset[str] | None:
    """Return what a notebook is known by, whatever it is called: the ids of its cells.

    Of a file without ids (before nbformat 4.5), marks of its longer cells. None where it cannot be read.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        ids = {str(cell["id"]) for cell in cells if "id" in cell}
        texts = ["".join(cell["source"]).strip() for cell in cells]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    marks = (f"text:{hashlib.sha256(t.encode()).hexdigest()[:16]}" for t in texts if len(t) >= LONG_TEXT)
    return frozenset(ids or marks)
