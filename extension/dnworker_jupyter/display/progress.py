"""`ProgressBar`: shows how far a long magic is: a bar in a notebook, a line in a terminal, else nothing."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

from IPython.display import display

WIDTH = 20
"""Characters of the bar in text."""


class ProgressBar:
    """Shows what is waited for, and how many of how many steps are done.

    Args:
        title: what the whole is.
        terminal: write to the terminal instead of a notebook's cell.
    """

    def __init__(self, title: str, *, terminal: bool = False) -> None:
        self._title = title
        self._terminal = terminal
        self._handle: Any = None
        self._now = ("", 0, 0)
        self._started = time.monotonic()

    def __call__(self, waits_for: str, done: int, total: int) -> None:
        """Show the step, in the place of the one before."""
        if (waits_for, done, total) == self._now:
            return
        self._now = (waits_for, done, total)
        self._show()

    def close(self, ended: str) -> None:
        """Show how it ended, in the place of the bar; in a terminal the line is removed."""
        if not self._now[0]:
            return
        self._now = (f"{ended} after {time.monotonic() - self._started:.1f} s", 0, 0)
        if not self._terminal:
            self._show()
        elif sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _show(self) -> None:
        if self._terminal:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{self}")
                sys.stderr.flush()
        elif self._handle is None:
            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        text, done, total = self._now
        bar = f"[{'#' * (WIDTH * done // total):.<{WIDTH}}] {done}/{total} " if total else ""
        return f"{self._title}: {bar}{text}"

    def _repr_html_(self) -> str:
        text, done, total = self._now
        bar = (
            f'<progress value="{done}" max="{total}" aria-label="{escape(self._title)}"></progress> '
            if total
            else ""
        )
        return f"<div>{bar}{escape(self._title)}: {escape(text)}</div>"
