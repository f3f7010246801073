"""The log of one view: the lines that match its filter, by position; used by `view` and `messages`."""

from __future__ import annotations

import re
import secrets
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable

import msgspec
import regex

from dnworker.core.errors import UsageError
from dnworker.core.logs import LogBook, LogLine
from dnworker.engine.runtime_log import LEVELS

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

Match = Callable[[LogLine], object]


class LogFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which lines of the log are wanted; `level` is the lowest, `text` is found anywhere, in any case."""

    worker: str | None = None
    level: str | None = None
    text: str = ""
    is_regex: bool = msgspec.field(default=False, name="regex")
    invocation: str | None = None

    @property
    def takes_all(self) -> bool:
        """Whether every line matches."""
        return self == LogFilter(is_regex=self.is_regex)

    def matcher(self) -> Match:
        """Return the test that a line passes if it matches.

        Raises:
            UsageError: there is no such level, the text is too long, or the pattern is no regular expression,
                or takes too long to compile; says where.
        """
        lowest = 0
        if self.level is not None:
            if self.level not in LEVELS:
                raise UsageError(f"there is no level {self.level!r}; there are: {', '.join(LEVELS)}")
            lowest = LEVELS[self.level]
        says = self._text_matcher()
        worker, invocation = self.worker, self.invocation

        def matches(line: LogLine) -> object:
            return (
                (worker is None or line.worker == worker)
                and (invocation is None or line.invocation_id == invocation)
                and (not lowest or LEVELS.get(line.level, LEVELS["info"]) >= lowest)
                and (says is None or says(plain_text(line.text)))
            )

        return matches

    def _text_matcher(self) -> Callable[[str], object] | None:
        if not self.text:
            return None
        if len(self.text) > LONGEST_TEXT:
            raise UsageError(f"the text has {len(self.text):,} characters; {LONGEST_TEXT:,} is the most")
        if not self.is_regex:
            wanted = self.text.casefold()
            return lambda text: wanted in text.casefold()
        try:
            search = compile_pattern(self.text).search
        except (regex.error, RecursionError, OverflowError) as exc:
            raise UsageError(f"{self.text!r} is no regular expression: {exc}") from None
        except TimeoutError:
            raise UsageError(f"{self.text!r} is too much of a pattern; make it simpler") from None
        return lambda text: search(text, timeout=PATTERN_SECONDS)


def compile_pattern(text: str, seconds: float = COMPILE_SECONDS) -> regex.Pattern[str]:
    """Compile a pattern that ignores case.

    The library compiles in Python, and has a limit for matching only: a profile function ends it.

    Raises:
        regex.error: it is no regular expression; also RecursionError and OverflowError.
        TimeoutError: it takes longer than that, or would take too long.
    """
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
    """The lines that match a filter, by their position among all that ever matched.

    Positions begin at 1 and never change; the oldest go as the log drops their lines. Without a
    filter a line's position is its number.
    """

    def __init__(self, book: LogBook, wanted: LogFilter) -> None:
        self.wanted = wanted
        self.problem: str | None = None
        """Why lines are no longer matched, as when the pattern takes too long."""
        self.id = secrets.token_hex(4)
        """Tells the positions of this window from those of another."""
        self._spent = 0.0
        self._book = book
        self._match = None if wanted.takes_all else wanted.matcher()
        self._numbers: list[int] = []  # of the lines that match
        self._before = 1  # the position of the first of them
        self._matched = book.first  # the next number to look at

    @property
    def first(self) -> int:
        """The position of the oldest line."""
        if self._match is None:
            return self._book.first
        return self._before + bisect_left(self._numbers, self._book.first)

    @property
    def end(self) -> int:
        """The position that the next line will have."""
        return self._book.end if self._match is None else self._before + len(self._numbers)

    @property
    def is_behind(self) -> bool:
        """Whether there are lines that were not looked at yet."""
        return self._match is not None and self.problem is None and self._matched < self._book.end

    def catch_up(self) -> None:
        """Look at the next lines, of which there may be more than `CHUNK`."""
        if self._match is None or self.problem is not None:
            return
        began = time.perf_counter()
        lines = self._book.lines(self._matched, CHUNK)
        self._matched = lines[-1].number + 1 if lines else self._book.end
        for n, line in enumerate(lines):
            try:
                if self._match(line):
                    self._numbers.append(line.number)
            except TimeoutError:
                self._give_up(f"on line {line.number}")
                return
            if n % 16 == 15 and time.perf_counter() - began > CHUNK_SECONDS:
                self._matched = line.number + 1
                break
        self._spent += time.perf_counter() - began
        if self._spent > TOTAL_SECONDS and self.is_behind:
            self._give_up("for all lines")
        gone = bisect_left(self._numbers, self._book.first)
        if gone > TRIM:
            del self._numbers[:gone]
            self._before += gone

    def _give_up(self, where: str) -> None:
        self.problem = (
            f"{self.wanted.text!r} takes too long {where}; make the pattern simpler, as in: error.*timeout"
        )

    def positions(self, numbers: Iterable[int]) -> list[int]:
        """Return the positions of those lines of these numbers that match."""
        if self._match is None:
            return [*numbers]
        found = [(number, bisect_left(self._numbers, number)) for number in numbers]
        known = len(self._numbers)
        return [self._before + at for number, at in found if at < known and self._numbers[at] == number]

    def lines(self, position: int, count: int) -> list[tuple[int, LogLine]]:
        """Return up to `count` lines from a position on, each with its position."""
        position = max(position, self.first)
        if self._match is None:
            return [(line.number, line) for line in self._book.lines(position, count)]
        start = position - self._before
        lines = self._book.pick(self._numbers[start : start + count])
        return [(self._before + bisect_left(self._numbers, line.number), line) for line in lines]


def plain_text(text: str) -> str:
    """Return the text without escape sequences, as a person reads it."""
    return _ANSI.sub("", text) if "\x1b" in text else text
