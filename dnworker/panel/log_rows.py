"""The log of one view: the entries that match its filter, by position; used by `view` and `messages`.

An entry is a line, or all lines of one error (`core/logs.py`); it matches if one of its lines does.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.extras import extra_needed
from dnworker.core.logs import LogBook, LogLine
from dnworker.engine.runtime_log import LEVELS

if TYPE_CHECKING:
    import regex

CHUNK = 2_000
CHUNK_SECONDS = 0.005
"""Lines that are matched before the loop turns: so many at most, and for so long."""

PATTERN_SECONDS = 0.02
TOTAL_SECONDS = 10.0
"""What a pattern may take for one line, and for all of the log."""

LONGEST_TEXT = 1_000
"""Characters of a filter's text."""

COMPILE_SECONDS = 0.1
REPEATED_GROUPS = 8
"""What the compilation of a pattern may take, and how many of its groups may be repeated: the library takes
twice as long for each that is in another, in C code that nothing interrupts."""

_REPEATED = re.compile(r"[)}]\s*[*+?{]")
_COSTLY = re.compile(r"\(\?(?:[\w-]*x|R|[+-]?\d|&|P>)")
"""The flag that lets comments hide a repetition, and calls of a group within itself."""

TRIM = 10_000

_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
"""Escape sequences: CSI, OSC and two-character ones (ECMA-48)."""

MARKS = 50
"""Places of the text that are marked in one line."""

Match = Callable[[LogLine], object]
Spans = list[tuple[int, int]]
"""Where a text begins and ends, in UTF-16 units, as browsers count."""


class LogFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which lines of the log are wanted; `level` is the lowest, `text` is found anywhere, in any case.

    Without `only`, lines that have not the text are there as well: it is marked and searched for.
    """

    worker: str | None = None
    level: str | None = None
    source: str | None = None
    text: str = ""
    is_regex: bool = msgspec.field(default=False, name="regex")
    only: bool = True
    invocation: str | None = None

    @property
    def takes_all(self) -> bool:
        """Whether every line matches."""
        return self.facets() is None and not (self.text and self.only)

    def facets(self) -> Match | None:
        """Return the test of all but the text; None if every line passes it.

        Raises:
            UsageError: there is no such level.
        """
        lowest = 0
        if self.level is not None:
            if self.level not in LEVELS:
                raise UsageError(
                    f"there is no level {self.level!r}; there are: {', '.join(LEVELS)}", code="DN915"
                )
            lowest = LEVELS[self.level]
        worker, invocation, source = self.worker, self.invocation, self.source
        if worker is None and invocation is None and source is None and not lowest:
            return None

        def passes(line: LogLine) -> object:
            return (
                (worker is None or line.worker == worker)
                and (invocation is None or line.invocation_id == invocation)
                and (source is None or line.source == source)
                and (not lowest or LEVELS.get(line.level, LEVELS["info"]) >= lowest)
            )

        return passes

    def finder(self) -> TextFinder | None:
        """Return what finds the text; None if there is none.

        Raises:
            UsageError: the text is too long, or the pattern is no regular expression, or takes too long to
                compile; says where.
        """
        return TextFinder(self.text, is_regex=self.is_regex) if self.text else None


class TextFinder:
    """Finds a text, or what a pattern matches, in any case.

    Raises:
        UsageError: see `LogFilter.finder`.
    """

    def __init__(self, text: str, *, is_regex: bool) -> None:
        if len(text) > LONGEST_TEXT:
            raise UsageError(
                f"the text has {len(text):,} characters; {LONGEST_TEXT:,} is the most", code="DN915"
            )
        with extra_needed("a search of logs"):
            import regex  # it takes long, and most logs are shown whole

        self._wanted = None if is_regex else text.casefold()
        self._marks = True  # until the pattern took too long
        try:
            self._pattern = compile_pattern(text) if is_regex else literal_pattern(text)
        except (regex.error, RecursionError, OverflowError) as exc:
            raise UsageError(f"{text!r} is no regular expression: {exc}", code="DN915") from None
        except TimeoutError:
            raise UsageError(f"{text!r} is too much of a pattern; make it simpler", code="DN915") from None

    def is_in(self, text: str) -> bool:
        """Return whether it is in a line.

        Raises:
            TimeoutError: the pattern takes too long.
        """
        text = plain_text(text)
        if self._wanted is not None:
            return self._wanted in text.casefold()
        return self._pattern.search(text, timeout=PATTERN_SECONDS) is not None

    def spans(self, text: str) -> Spans:
        """Return where it is in a line without escape sequences; nowhere if that takes too long."""
        found: Spans = []
        if not self._marks:
            return found
        text = plain_text(text)
        try:
            for one in self._pattern.finditer(text, timeout=PATTERN_SECONDS):
                if one.end() > one.start():
                    found.append(one.span())
                    if len(found) == MARKS:
                        break
        except TimeoutError:
            self._marks = False
            return []
        if text.isascii():
            return found
        return [(_utf16_length(text[:start]), _utf16_length(text[:end])) for start, end in found]


def _utf16_length(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def literal_pattern(text: str) -> regex.Pattern[str]:
    """Return the pattern of a text as it stands, in any case."""
    import regex

    return regex.compile(regex.escape(text), regex.IGNORECASE)


def compile_pattern(text: str, seconds: float = COMPILE_SECONDS) -> regex.Pattern[str]:
    """Compile a pattern that ignores case.

    The library compiles in Python, and has a limit for matching only: a profile function ends it.

    Raises:
        regex.error: it is no regular expression; also RecursionError and OverflowError.
        TimeoutError: it takes longer than that, or would take too long.
    """
    import regex

    if len(_REPEATED.findall(text)) > REPEATED_GROUPS or _COSTLY.search(text):
        raise TimeoutError
    ends, before = time.perf_counter() + seconds, sys.getprofile()

    def watch(*_: object) -> None:
        if time.perf_counter() > ends:
            raise TimeoutError

    sys.setprofile(watch)
    try:
        return regex.compile(text, regex.IGNORECASE)
    finally:
        sys.setprofile(before)


class LogWindow:
    """The entries that match a filter, by their position among all that ever matched.

    Positions begin at 1 and do not change while `id` stays the same; the oldest go as the log drops their
    lines. An entry is named by the number of its first line.
    """

    def __init__(self, book: LogBook, wanted: LogFilter) -> None:
        self.wanted = wanted
        self.problem: str | None = None
        """Why lines are no longer matched, as when the pattern takes too long."""
        self.id = secrets.token_hex(4)
        """Tells the positions of this window from those of another."""
        self.finder = wanted.finder()
        self._facets = wanted.facets()
        self._book = book
        self._spent = 0.0
        self._has_all = wanted.takes_all
        self._numbers: list[int] = []  # of the entries that match, unless all do
        self._hits: list[int] = self._numbers if wanted.only else []  # of those that have the text
        self._before = 1  # the position of the first of `_numbers`
        self._matched = book.first  # the next line to look at

    @property
    def first(self) -> int:
        """The position of the oldest entry."""
        if self._has_all:
            return self._book.entries[0]
        return self._before + bisect_left(self._numbers, self._book.first)

    @property
    def end(self) -> int:
        """The position that the next entry will have."""
        return self._book.entries[1] if self._has_all else self._before + len(self._numbers)

    @property
    def hits(self) -> int | None:
        """How many entries have the text that is searched for; None if none is."""
        return None if self.finder is None else len(self._hits) - bisect_left(self._hits, self._book.first)

    @property
    def is_behind(self) -> bool:
        """Whether there are lines that were not looked at yet."""
        is_needed = not self._has_all or self.finder is not None
        return is_needed and self.problem is None and self._matched < self._book.end

    def catch_up(self) -> None:
        """Look at the next lines, of which there may be more than `CHUNK`."""
        if not self.is_behind:
            return
        began = time.perf_counter()
        lines = self._book.lines(self._matched, CHUNK)
        self._matched = lines[-1].number + 1 if lines else self._book.end
        for n, line in enumerate(lines):
            try:
                self._look_at(line)
            except TimeoutError:
                self._give_up(f"on line {line.number}")
                return
            if n % 16 == 15 and time.perf_counter() - began > CHUNK_SECONDS:
                self._matched = line.number + 1
                break
        self._spent += time.perf_counter() - began
        if self._spent > TOTAL_SECONDS and self.is_behind:
            self._give_up("for all lines")
        self._trim()

    def _look_at(self, line: LogLine) -> None:
        if self._facets is not None and not self._facets(line):
            return
        number = line.number if line.head is None else line.head.number
        has_text = self.finder is None or self.finder.is_in(line.text)
        if not self._has_all and (has_text or not self.wanted.only):
            self._add(self._numbers, number)
        if has_text and self._hits is not self._numbers:
            self._add(self._hits, number)

    def _add(self, numbers: list[int], number: int) -> None:
        """Add an entry, once; one whose later line alone matches moves those after it: a new window."""
        if not numbers or numbers[-1] < number:
            numbers.append(number)
        elif numbers[-1] != number and number >= self._book.first:
            at = bisect_left(numbers, number)
            if numbers[at] != number:
                numbers.insert(at, number)
                if numbers is self._numbers:
                    self.id = secrets.token_hex(4)

    def _trim(self) -> None:
        gone = bisect_left(self._numbers, self._book.first)
        if gone > TRIM:
            del self._numbers[:gone]
            self._before += gone
        if self._hits is not self._numbers and (gone := bisect_left(self._hits, self._book.first)) > TRIM:
            del self._hits[:gone]

    def _give_up(self, where: str) -> None:
        self.problem = (
            f"{self.wanted.text!r} takes too long {where}; make the pattern simpler, as in: error.*timeout"
        )

    def positions(self, numbers: Iterable[int]) -> list[int]:
        """Return the positions of those entries of these numbers that match."""
        if self._has_all:
            return self._book.entry_positions(numbers)
        found = [(number, bisect_left(self._numbers, number)) for number in numbers]
        known = len(self._numbers)
        return [self._before + at for number, at in found if at < known and self._numbers[at] == number]

    def entries(self, position: int, count: int) -> list[tuple[int, LogLine]]:
        """Return the first lines of up to `count` entries from a position on, each with its position."""
        position = max(position, self.first)
        if self._has_all:
            return list(enumerate(self._book.heads(position, count), position))
        start = position - self._before
        lines = self._book.pick(self._numbers[start : start + count])
        return [(self._before + bisect_left(self._numbers, line.number), line) for line in lines]

    def find(self, position: int, *, backward: bool = False) -> int | None:
        """Return the position of the next entry that has the text, round the end; None if none has it."""
        kept = self._hits[bisect_left(self._hits, self._book.first) :]
        if self.finder is None or not kept:
            return None
        here = self.entries(position, 1)
        number = here[0][1].number if here and here[0][0] == position else 0
        at = bisect_left(kept, number) - 1 if backward else bisect_right(kept, number)
        return next(iter(self.positions([kept[at % len(kept)]])), None)


def plain_text(text: str) -> str:
    """Return the text without escape sequences, as a person reads it."""
    return _ANSI.sub("", text) if "\x1b" in text else text
