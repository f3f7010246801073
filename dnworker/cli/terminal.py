"""What standard output is, and lines for it: folded and coloured at a terminal, as they are where piped."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from dnworker.cli.text import printable

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 20
"""Columns of a terminal at least; one that says less is written to as if it had these."""

HANG = 2
"""Columns by which the lines that follow a folded one are indented."""

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
"""The numbers of the colours that are used, in an escape sequence."""

TOP, CLEAN, REST_OF_LINE, BELOW = "\x1b[H", "\x1b[2J", "\x1b[K", "\x1b[J"
"""Escape sequences: go to the top; clear the screen, the rest of a line, all below."""


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def is_coloured() -> bool:
    """Return whether colours are wanted: as NO_COLOR or FORCE_COLOR say, else at a terminal that has them."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (is_terminal() and not _is_dumb())


def can_redraw() -> bool:
    """Return whether what was shown can be replaced."""
    return is_terminal() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")


def width() -> int:
    """Return the columns of the terminal: what COLUMNS says, or the terminal itself."""
    return max(NARROWEST, shutil.get_terminal_size().columns)


def painted(line: str, style: str) -> str:
    """Return a line in a style, such as `bold red`, where colours are wanted."""
    if not style or not line or not is_coloured():
        return line
    return f"\x1b[{';'.join(CODES[word] for word in style.split())}m{line}\x1b[0m"


def folded(line: str, columns: int) -> list[str]:
    """Return a line as lines of so many columns at most; what follows the first is indented.

    Wide characters count twice. Without rich, which measures them, the line stays as it is.
    """
    if line.isascii() and len(line) <= columns:
        return [line]
    try:
        from rich.cells import cell_len
        from rich.text import Text
    except ModuleNotFoundError:
        return [line]
    if cell_len(line) <= columns:
        return [line]
    body = line.lstrip(" ")
    indent = min(len(line) - len(body), columns // 2)
    room = max(2, columns - indent - HANG)
    first, *rest = Text(body).wrap(_console(), room, overflow="fold")
    return [
        " " * indent + first.plain.rstrip(),
        *(" " * (indent + HANG) + one.plain.rstrip() for one in rest),
    ]


@cache
def _console() -> Console:
    """Return what rich wants to fold a text; making one takes longer than the folding."""
    from rich.console import Console

    return Console()


def print_line(line: str, style: str = "") -> None:
    """Print foreign text, whose control characters are escaped; each of its lines by itself."""
    shown = printable(line)
    lines = [piece for one in shown.split("\n") for piece in fitted(one)]
    print("\n".join(painted(one, style) for one in lines))


def fitted(line: str) -> list[str]:
    """Return a line as the lines that the terminal has room for; where piped, the line itself."""
    return folded(line, width()) if is_terminal() else [line]


class Screen:
    """Shows one state after another: in its place at a terminal, else below it."""

    def __init__(self) -> None:
        self._shown: str | None = None

    def show(self, lines: Sequence[str]) -> None:
        """Show lines, which are printable and fit; what is the same as before is shown once."""
        if can_redraw():
            lines = _cropped(lines, shutil.get_terminal_size().lines)
        text = "\n".join(lines)
        if text == self._shown:
            return
        if can_redraw():
            start = TOP if self._shown is not None else f"{CLEAN}{TOP}"
            body = "".join(f"{line}{REST_OF_LINE}\n" for line in lines)
            print(f"{start}{body}{BELOW}", end="", flush=True)
        else:
            print(text if self._shown is None else f"\n{text}", flush=True)
        self._shown = text


def _cropped(lines: Sequence[str], height: int) -> Sequence[str]:
    """Return as many lines as there is room for above the cursor, and how many more there are."""
    room = max(2, height - 1)
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], f"and {len(lines) - room + 1} more lines"]
