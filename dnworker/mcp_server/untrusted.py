"""Text that events, handlers and logs say: data for an agent, escaped, and of bounded length."""

from __future__ import annotations

from typing import Any

LONGEST_TEXT = 600
"""Characters of one text."""

LONGEST_SOURCE = 12_000
"""Characters of the source of a worker, of a test, of a page: what was asked for."""

MOST_ITEMS = 40
"""Items of one list or object."""

DEEPEST = 6

BUDGET = 4_000
"""Characters of a page of rows, as JSON."""


def clean(text: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text without control characters, but for line breaks and tabs, cut where it is long."""
    shown = str(text)
    cut = len(shown) - longest
    shown = "".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in shown[:longest])
    return f"{shown} [cut: {cut:,} more characters]" if cut > 0 else shown


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
