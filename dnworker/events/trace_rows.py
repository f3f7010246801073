"""`Row`: one line of a trace, and how rows become text, in colours for terminals; `trace` makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from dnworker.core.invocation import Outcome
    from dnworker.core.logs import LogLine

BAR_WIDTH = 20
"""Characters of a waterfall's bar."""

LONGEST_ALIGNED = 96
"""Characters of the longest line that the bars are aligned after."""


class Row(msgspec.Struct, frozen=True):
    """One line of a trace, as text and HTML show it.

    `depth` counts the invocations and events above it. `bar` is the begin and the end of an invocation as
    shares of the trace's duration; None where there is only one invocation.
    """

    depth: int
    category: Literal["event", "invocation", "log", "error", "value", "warning", "note"]
    text: str
    outcome: Outcome = "ok"
    line: LogLine | None = None
    bar: tuple[float, float] | None = None

    def bar_text(self) -> str:
        """Return the bar as text of a fixed width; empty without one."""
        if self.bar is None:
            return ""
        first = min(int(self.bar[0] * BAR_WIDTH), BAR_WIDTH - 1)
        length = max(1, round((self.bar[1] - self.bar[0]) * BAR_WIDTH))
        return f"{' ' * first}{'█' * length}"[:BAR_WIDTH].ljust(BAR_WIDTH)


Paint = Callable[[Row, str], str]
"""Returns a line of text for a row, with colours or without."""

MARKS = {"ok": "+", "warning": "!", "error": "x", "running": "~", "cancelled": "-"}

_RESET = "\x1b[0m"
_OUTCOMES = {
    "ok": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "running": "\x1b[34m",
    "cancelled": "\x1b[2m",
}
_CATEGORIES = {
    "event": "\x1b[36m",
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "note": "\x1b[2m",
    "value": "\x1b[2m",
}


def as_it_is(row: Row, line: str) -> str:
    """Return a line without colours."""
    return line


def in_colours(row: Row, line: str) -> str:
    """Return a line in the colours of terminals: by outcome, and events apart from what was printed."""
    code = _OUTCOMES[row.outcome] if row.category == "invocation" else _CATEGORIES.get(row.category)
    if row.category == "event" and not row.depth:
        code = "\x1b[1m"
    if row.line is not None and row.line.level in ("error", "critical"):
        code = _CATEGORIES["error"]
    return line if code is None else f"{code}{line}{_RESET}"


def lines_of(rows: Sequence[Row], paint: Paint = as_it_is) -> list[str]:
    """Return rows as lines of text: published events after `>`, what was printed after `|`."""
    shown: list[tuple[Row, str, str]] = []
    for row in rows:
        indent = "  " * row.depth
        match row.category:
            case "event":
                shown.append((row, f"{indent}> {row.text}" if row.depth else row.text, ""))
            case "invocation":
                shown.append((row, f"{indent}{MARKS[row.outcome]} {row.text}", row.bar_text()))
            case "log":
                shown.append((row, f"{indent}  | {row.text}", ""))
            case _:
                shown.append((row, f"{indent}  {row.text}", ""))
    width = max((len(text) for _, text, bar in shown if bar and len(text) <= LONGEST_ALIGNED), default=0)
    return [paint(row, f"{text:<{width}}  {bar}".rstrip() if bar else text) for row, text, bar in shown]


def rich_text(lines: Sequence[str]) -> object:
    """Return coloured lines as rich has them, which is there where it asks."""
    from rich.text import Text

    return Text.from_ansi("\n".join(lines))
