"""Where a notebook's journal is: history survives a restart of the kernel."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from dnworker_jupyter.live.stale import notebook_path

VARIABLE = "DNWORKER_JOURNAL"
_OFF = ("off", "0", "false", "no")


def journal_file(shell: Any) -> Path | None:
    """Return the journal's file: `DNWORKER_JOURNAL`, or one of this notebook's own; None where it is `off`.

    Where the front end does not tell the notebook's file, the working directory stands for it.
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
