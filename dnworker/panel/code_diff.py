"""The code of a generation, and what changed between two, as lines; for the part `code`.

Comparing takes time that grows with the square of the lines, so both are bounded; it runs in a thread.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

LINES_COMPARED = 3_000
"""Lines of a text that are compared; of longer ones it is only said that they differ."""

LINES_SHOWN = 600
LONGEST_LINE = 300
CONTEXT = 3

TOO_LONG = f"it has more than {LINES_COMPARED:,} lines, which are not compared"
NOT_KEPT = "its text is not kept: it is too large, or too old"


class Section(NamedTuple):
    """A piece of the code of a generation: a cell, or a file."""

    key: str
    """What makes it the same piece in another generation."""
    name: str
    """What people call it, such as `cell [9]`."""
    text: str | None
    """None where it is not kept."""


class Code(NamedTuple):
    """One generation of a worker: its number, when it began in seconds since 1970, why, and its code."""

    number: int
    at: float
    why: str
    sections: tuple[Section, ...]


Lines = list[list[str]]
"""Lines with a sign each: `+`, `-`, a space; `@` for a gap."""


@lru_cache(maxsize=8)
def plain(sections: tuple[Section, ...]) -> dict[str, Any]:
    """Return the code of one generation."""
    found, room = [], LINES_SHOWN
    for section in sections:
        lines = (section.text or "").splitlines()
        why = NOT_KEPT if section.text is None else None
        shown = [[" ", line[:LONGEST_LINE]] for line in lines[:room]]
        room -= len(shown)
        found.append({"name": section.name, "lines": shown, "cut": len(lines) - len(shown), "why": why})
    return {"sections": found}


@lru_cache(maxsize=8)
def diff_of(before: tuple[Section, ...], after: tuple[Section, ...]) -> dict[str, Any]:
    """Return what changed from one generation to another, by section; without those that are the same."""
    old, found, room = {one.key: one for one in before}, [], LINES_SHOWN
    gone = [one for one in before if one.key not in {new.key for new in after}]
    pairs = [(old.get(new.key), new) for new in after] + [(one, None) for one in gone]
    for one, new in pairs:
        named = new or one
        if named is None or (one is not None and new is not None and one.text == new.text):
            continue
        texts = ["" if side is None else side.text for side in (one, new)]
        why, lines = _compared(*texts)
        shown = lines[: max(0, room)]
        room -= len(shown)
        found.append({"name": named.name, "lines": shown, "cut": len(lines) - len(shown), "why": why})
    return {"sections": found, "why": None if found else "the code is the same"}


def _compared(before: str | None, after: str | None) -> tuple[str | None, Lines]:
    if before is None or after is None:
        return NOT_KEPT, []
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > LINES_COMPARED:
        return TOO_LONG, []
    return None, list(_signed(old, new))


def _signed(old: list[str], new: list[str]) -> Iterator[list[str]]:
    hunks = difflib.unified_diff(old, new, n=CONTEXT, lineterm="")
    for n, line in enumerate(hunks):
        if n < 2:
            continue  # the names of the files
        if line.startswith("@@"):
            if n > 2:
                yield ["@", ""]
        else:
            yield [line[0], line[1 : LONGEST_LINE + 1]]
