"""Text that events, handlers and logs say: data for an agent, escaped, and of bounded length."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_TEXT = 600
"""Characters of one text."""

LONGEST_SOURCE = 12_000
"""Characters of the source of a worker, of a test, of a page: what was asked for."""

MOST_ITEMS = 40
"""Items of one list or object."""

DEEPEST = 6

LARGEST = 20_000
"""Characters of a value as JSON, of whatever size what was asked for is."""

_CUT = re.compile(r"\[cut: [\d,]+ more characters\]")

BUDGET = 4_000
"""Characters of a page of rows, as JSON."""


def clean(text: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text without control characters, but for line breaks and tabs, cut where it is long."""
    shown = str(text)
    cut = len(shown) - longest
    shown = "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in shown[:longest])
    return f"{shown} [cut: {cut:,} more characters]" if cut > 0 else shown


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def within(value: Any) -> Any:
    """Return a JSON value as `untrusted` does, its texts so short that all of it has a bound."""
    for longest in (LONGEST_SOURCE, 4_000, LONGEST_TEXT, 100):
        shown = untrusted(value, longest)
        if len(json.dumps(shown)) <= LARGEST:
            return shown
    return clean(json.dumps(shown), LARGEST)


def is_cut(text: str) -> bool:
    """Return whether a text has the mark of one that was cut: it must not be taken for the whole."""
    return _CUT.search(text) is not None


def untrusted(value: Any, longest: int = LONGEST_TEXT, depth: int = DEEPEST) -> Any:
    """Return a JSON value whose texts and keys are clean, and which has a bounded size."""
    if isinstance(value, str):
        return clean(value, longest)
    if depth == 0 and isinstance(value, dict | list):
        return "[cut: deeper values]"
    if isinstance(value, dict):
        shown = {clean(k, 100): untrusted(v, longest, depth - 1) for k, v in [*value.items()][:MOST_ITEMS]}
        return shown | ({"[cut]": f"{len(value) - MOST_ITEMS} more"} if len(value) > MOST_ITEMS else {})
    if isinstance(value, list):
        shown_list = [untrusted(item, longest, depth - 1) for item in value[:MOST_ITEMS]]
        more = len(value) - MOST_ITEMS
        return [*shown_list, f"[cut: {more:,} more]"] if more > 0 else shown_list
    return value


def begin_of(cursor: str | None) -> int:
    """Return the row at which a page begins.

    Raises:
        ValueError: the cursor is none that was given.
    """
    if cursor is None or (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        return int(cursor or 0)
    raise ValueError(f"cursor {clean(cursor, 40)!r} is none that was given; leave it out for the beginning")


def page(rows: list[str], cursor: str | None, budget: int = BUDGET) -> tuple[list[str], str | None]:
    """Return the rows from a cursor on that fit, at least one, and the cursor of the rest.

    Raises:
        ValueError: the cursor is none that was given.
    """
    if cursor is not None and not cursor.isdecimal():
        raise ValueError(
            f"cursor {clean(cursor, 40)!r} is none that was given; leave it out for the beginning"
        )
    begin = int(cursor or 0)
    end, left = begin, budget
    while end < len(rows) and (left >= len(rows[end]) or end == begin):
        left -= len(rows[end]) + 4
        end += 1
    return rows[begin:end], str(end) if end < len(rows) else None
