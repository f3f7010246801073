"""Text as people read it: lines out of pieces, long text cut, what UTF-8 cannot hold replaced.

Used wherever text is kept, sent or shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable

LONGEST_PARTIAL = 65_536
"""Characters that wait for the end of their line; then they are a line."""


_SURROGATES = re.compile("[\ud800-\udfff]")


def is_valid_text(text: str) -> bool:
    """Return whether UTF-8 has a form for the text: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def valid_text(text: str) -> str:
    """Return text that UTF-8 has a form for: lone surrogates, as in odd file names, are replaced."""
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str, longest: int) -> str:
    """Return `text`, cut to `longest` characters with `...` at its end where it is longer."""
    return text if len(text) <= longest else f"{text[: max(0, longest - 3)]}..."


class LineSplitter:
    """Puts pieces of text together to lines, for any number of writers.

    A carriage return begins the line anew, so that of a progress bar the last state is kept. Writers may be
    threads, and finalizers that run in the middle of another write.
    """

    def __init__(self) -> None:
        self._partial: dict[Hashable, str] = {}
        self._lock = threading.RLock()

    def add(self, writer: Hashable, text: str, *, is_last: bool = False) -> list[str]:
        """Return the lines that are whole now; with `is_last` what is left, too."""
        with self._lock:
            *lines, rest = (self._partial.pop(writer, "") + text).split("\n")
            lines = [_shown(line) for line in lines]
            if "\r" in rest[:-1]:  # one at the very end may belong to a line end that comes in pieces
                rest = _shown(rest[:-1]) + rest[-1:]
            if rest and (is_last or len(rest) > LONGEST_PARTIAL):
                lines.append(_shown(rest))
            elif rest:
                self._partial[writer] = rest
        return lines

    def end(self, writer: Hashable) -> list[str]:
        """Return what a writer that writes no more has left."""
        return self.add(writer, "", is_last=True)


def _shown(line: str) -> str:
    """Return what a terminal shows of a line in the end: what follows the last carriage return."""
    return line.rstrip("\r").rpartition("\r")[2]
