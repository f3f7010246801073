"""Tells which cell magic a cell begins with; used by exports of what runs."""

from __future__ import annotations

import re

_CELL_MAGIC = re.compile(r"%%(\w+)(?=\s|$)")


def cell_magic(source: str) -> str | None:
    """Return the name of the magic that a cell begins with, below blank lines and comments; None without one.

    A line further down that looks like one is within a text, or an error.
    """
    for line in source.split("\n"):  # as Python counts lines: a form feed does not end one
        if line.strip() and not line.lstrip().startswith("#"):
            match = _CELL_MAGIC.match(line)
            return match[1] if match is not None else None
    return None
