"""Finds the notebook's file, its saved cells and its journal; used by exports, magics and `stale`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "DNWORKER_JOURNAL"
_OFF = ("off", "0", "false", "no")


@dataclass(frozen=True)
class SavedNotebook:
    """The notebook as it is saved: the sources of its code cells by id, and when, in seconds since 1970."""

    sources: dict[str, str]
    saved_at: float


def notebook_path(shell: Any) -> Path | None:
    """Return the notebook's file, where the front end names it: Jupyter's server, or VS Code."""
    named = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return Path(named) if isinstance(named, str) and named.endswith(".ipynb") else None


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return SavedNotebook(sources, saved_at) if sources else None


def journal_file(shell: Any) -> Path | None:
    """Return the journal's file: `DNWORKER_JOURNAL`, or one of this notebook's own; None where it is `off`.

    Where the front end does not name the notebook's file, the working directory takes its place.
    """
    return journal_of(notebook_path(shell) or Path.cwd())


def journal_of(subject: Path) -> Path | None:
    """Return the journal's file of a notebook, by the notebook's own; None where it is `off`."""
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() in _OFF:
        return None
    if named:
        return Path(named).expanduser()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", subject.stem)[:40] or "notebook"
    digest = hashlib.sha256(str(subject.absolute()).encode()).hexdigest()[:8]
    return Path.home() / ".dreadnode" / "dnworker" / "journals" / f"{stem}-{digest}.db"
