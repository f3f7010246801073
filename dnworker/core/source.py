"""`lines_around`: the code around a location such as `cell [3], line 7`; panel and traces show errors by it.

The text of a cell comes from a reader, which a notebook adds; that of a file from the file, if it is Python.
"""

from __future__ import annotations

import linecache
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

ReadText = Callable[[str], str | None]
"""Returns the text of what a location is in, such as `cell [3]`; None for what it does not know."""

LARGEST_FILE = 2_000_000
LONGEST_LINE = 300
"""Bytes of a file that is read, and characters of a line."""

_PLACE = re.compile(r"(.+), line (\d+)", re.DOTALL)
_CELL = re.compile(r"cell \[(\d+)\]")

_readers: list[ReadText] = []


def add_reader(read: ReadText) -> Callable[[], None]:
    """Ask `read` for texts from now on; returns what ends that."""
    _readers.insert(0, read)

    def remove() -> None:
        if read in _readers:
            _readers.remove(read)

    return remove


def split_place(place: str) -> tuple[str, int] | None:
    """Return what a location is in, and its line; None for what names no line."""
    match = _PLACE.fullmatch(place)
    return (match[1], int(match[2])) if match else None


def cell_number(place: str) -> int | None:
    """Return the number of the cell that a location is in; None for other locations."""
    match = _CELL.match(place)
    return int(match[1]) if match else None


def short_place(place: str) -> str:
    """Return a location as a link shows it: `importer.py:41` of a file, a cell as it is."""
    found = split_place(place)
    if found is None or cell_number(place) is not None:
        return place
    return f"{Path(found[0]).name}:{found[1]}"


def text_of(where: str) -> list[str]:
    """Return the lines of a cell or file; none where they cannot be had."""
    for read in _readers:
        if (text := read(where)) is not None:
            return text.split("\n")
    path = Path(where)
    if path.suffix != ".py":  # a worker names it: nothing else is read for it
        return []
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return []
    except (OSError, ValueError):
        return []
    linecache.checkcache(where)
    return [line.rstrip("\n") for line in linecache.getlines(where)]


def lines_around(place: str, source: str, before: int = 3, after: int = 1) -> list[tuple[int, str]]:
    """Return the lines around a location with their numbers.

    It is only the line itself where the text is not there, or is another one by now: `source` is what stood
    there when it ran, without its indent.
    """
    found = split_place(place)
    if found is None:
        return []
    where, number = found
    own = [(number, source[:LONGEST_LINE])] if source else []
    lines = text_of(where)
    if not 0 < number <= len(lines) or (source and lines[number - 1].strip()[:200] != source[:200].strip()):
        return own
    first = max(1, number - before)
    shown = lines[first - 1 : number + after]
    return [(first + n, line[:LONGEST_LINE]) for n, line in enumerate(without_indent(shown))]


def without_indent(lines: list[str]) -> list[str]:
    """Return lines without the indent that all of them have."""
    return textwrap.dedent("\n".join(lines)).split("\n")
