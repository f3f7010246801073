"""Functions on text: split lines, cut long text, mend invalid text, find the word that was meant.

Used wherever text is kept, sent or shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable, Iterable
from typing import Any

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
    """Return valid text, cut to `longest` characters with `...` at its end where it is longer."""
    return valid_text(text if len(text) <= longest else f"{text[: max(0, longest - 3)]}...")


def clip(text: str, longest: int) -> str:
    """Return `text`, cut after `longest` characters with a note of how many more there were."""
    if len(text) > longest:
        text = f"{text[:longest]} [cut: {len(text) - longest:,} more characters]"
    return valid_text(text)


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the word of `known` that was probably meant by `word`; None where none is near.

    Args:
        word: what was written.
        known: what could have been meant.
        cutoff: how near it must be, from 0 for anything to 1 for the same word.
    """
    from difflib import get_close_matches  # only mistakes pay for it

    near = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return near[0] if near else None


_CLASS_NAME: Any = type.__dict__["__name__"]  # whatever a metaclass says


def with_article(name: str) -> str:
    """Return a name with `a` or `an`."""
    return f"an {name}" if name[:1].lower() in tuple("aeiou") else f"a {name}"


def kind_of(value: object) -> str:
    """Return what a value is: `a dict`, `an int`, `None`; nothing of the value is called."""
    return "None" if value is None else with_article(shorten(_CLASS_NAME.__get__(type(value)), 100))


class LineSplitter:
    """Joins the pieces of text that any number of writers write to whole lines.

    A carriage return starts its line again, so only the last state of a progress bar is kept. Threads may
    write, and so may finalizers that run in the middle of another write.
    """

    def __init__(self) -> None:
        self._partial: dict[Hashable, str] = {}
        self._lock = threading.RLock()

    def add(self, writer: Hashable, text: str, *, is_last: bool = False) -> list[str]:
        """Return the lines that are whole now; with `is_last` also the rest."""
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

    def has_rest(self, writer: Hashable) -> bool:
        """Return whether a writer has an unfinished line."""
        return writer in self._partial

    def end(self, writer: Hashable) -> list[str]:
        """Return the unfinished line of a writer that writes no more."""
        return self.add(writer, "", is_last=True)


def _shown(line: str) -> str:
    """Return the part of a line that a terminal shows in the end: the part after its last carriage return."""
    return line.rstrip("\r").rpartition("\r")[2]
