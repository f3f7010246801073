"""`LogBook`: the lines that workers print and log, in bounded memory; read by magics and panel."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, takewhile
from sys import getsizeof
from typing import Any, Protocol

from dnworker.core.limits import Limits
from dnworker.core.listeners import Listeners
from dnworker.core.text import clip

LINES_KEPT = 50_000
"""Lines that a log keeps, as long as its bytes allow it."""

LINE_OVERHEAD = 380
"""Bytes that a line takes beside its text and data."""

LONGEST_LINE = 65_536
"""Characters of a line after which it is cut."""

CHANGES_KEPT = 500
"""Lines whose later change is remembered, for those who have sent them already."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LogLine:
    """One line of a worker's log.

    `source` is `stdout`, `stderr`, `log`, `display` or `runtime`; `number` rises by one a line. A displayed
    object has its forms by MIME type in `data`, and its plain text in `text`. The lines of one error are one
    *entry*: all but the first have that as their `head`. `clock` is the time of a virtual clock.
    """

    number: int
    worker: str
    source: str
    text: str
    level: str = "info"
    invocation_id: str | None = None
    event_id: str | None = None
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    data: Mapping[str, Any] | None = field(default=None, compare=False)
    head: LogLine | None = field(default=None, compare=False, repr=False)
    clock: datetime | None = field(default=None, compare=False)


def bytes_of(line: LogLine) -> int:
    """Return the bytes of memory that a line takes, with what was displayed."""
    return LINE_OVERHEAD + getsizeof(line.text) + (0 if line.data is None else _bytes_of_data(line.data))


def _bytes_of_data(data: object) -> int:
    """Return the bytes of a displayed object's forms, which are texts, or JSON where a program reads them."""
    total, waiting, counted = 0, [data], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in counted:
            continue
        total += getsizeof(one)
        if isinstance(one, Mapping):
            counted.add(id(one))
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            counted.add(id(one))
            waiting += one
    return total


class LogClock(Protocol):
    """What `core/clock.py` has: a clock whose time may be virtual."""

    @property
    def can_advance(self) -> bool:
        """Whether its time is virtual."""
        ...

    def now(self) -> datetime:
        """Return the time of day."""
        ...


class LogBook:
    """The log of every worker of one runtime; the oldest lines go first, and are counted.

    Lines may come from any thread: handlers start them. Listeners are called on the thread that adds.

    Args:
        lines_kept: how many lines are kept at most.
        limit: how many bytes are kept at most; the newest line is kept in any case.
        clock: whose time lines have besides, while it is virtual.
    """

    def __init__(
        self, lines_kept: int = LINES_KEPT, *, limit: int = Limits().log, clock: LogClock | None = None
    ) -> None:
        self._lines: deque[LogLine] = deque()
        self._sizes: deque[int] = deque()  # of each line when it was added: what is displayed may change
        self._lines_kept = lines_kept
        self._limit = limit
        self._next = 1
        self._depth = 0
        self._late: list[LogLine] = []
        self._listeners: Listeners[[LogLine]] = Listeners()
        self._lock = threading.RLock()
        self._changed: dict[int, int] = {}  # the count of changes when each line changed, the latest last
        self.changes = 0
        """How often an entry was changed: what its line shows, or which lines it has."""
        self._heads: deque[int] = deque()  # the numbers of the first lines of entries
        self._parts: dict[int, list[int]] = {}  # those of the others, by that of the first
        self._entries_dropped = 0
        self.clock = clock
        self.dropped = 0
        """Lines that are not kept any more."""
        self.used = 0
        """Bytes that the kept lines take."""

    def add(
        self,
        worker: str,
        text: str,
        *,
        source: str = "log",
        level: str = "info",
        invocation_id: str | None = None,
        event_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        head: LogLine | None = None,
    ) -> LogLine:
        """Append one line; a line over 64 KiB is cut, with a note of it.

        Of something displayed that alone would take a quarter of the log, only the text is kept. A line with
        a `head` belongs to the entry of that line of this log.
        """
        text = clip(text, LONGEST_LINE)
        if data is not None and (size := _bytes_of_data(data)) > self._limit // 4:
            data, text = None, f"{text} [too large to be kept in the log: {size:,} bytes]"
        clock = self.clock
        now = clock.now() if clock is not None and clock.can_advance else None
        line = LogLine(
            0, worker, source, text, level, invocation_id, event_id, data=data, head=head, clock=now
        )
        with self._locked():
            self._late.append(line)
        self._listeners.notify(line)
        return line

    def change(self, line: LogLine, text: str, data: Mapping[str, Any] | None) -> None:
        """Replace what a line of this log shows, as when a display is updated, also one that is dropped.

        Listeners are not called: it is the same line.
        """
        text = clip(text, LONGEST_LINE)
        if data is not None and (size := _bytes_of_data(data)) > self._limit // 4:
            data, text = None, f"{text} [too large to be kept in the log: {size:,} bytes]"
        with self._locked():
            object.__setattr__(line, "text", text)
            object.__setattr__(line, "data", data)
            at = line.number - self._lines[0].number if self._lines else -1
            if not 0 <= at < len(self._lines) or self._lines[at] is not line:
                return
            self.used += bytes_of(line) - self._sizes[at]
            self._sizes[at] = bytes_of(line)
            self._note_change(line.number)
            self._drop_oldest()

    def promote(self, line: LogLine, level: str) -> None:
        """Change the level of a line: what follows it shows that it is an error."""
        with self._locked():
            object.__setattr__(line, "level", level)
            self._note_change(line.number)

    def _note_change(self, number: int) -> None:
        self.changes += 1
        self._changed.pop(number, None)
        self._changed[number] = self.changes
        if len(self._changed) > CHANGES_KEPT:
            del self._changed[next(iter(self._changed))]

    def changed_since(self, changes: int) -> list[int]:
        """Return the numbers of the lines that changed since `changes` was so, as far as those are known."""
        with self._locked():
            newer = takewhile(lambda number: self._changed[number] > changes, reversed(self._changed))
            return sorted(newer)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep the lines unchanged while the block runs; lines added meanwhile are appended at its end.

        The lock does not keep this thread out: a finalizer may run at any point in the block, and print.
        """
        with self._lock:
            self._depth += 1
            try:
                yield
                while self._depth == 1 and self._late:
                    self._keep(self._late.pop(0))
            finally:
                self._depth -= 1

    def _keep(self, line: LogLine) -> None:
        object.__setattr__(line, "number", self._next)
        self._next += 1
        self._lines.append(line)
        self._sizes.append(bytes_of(line))
        self.used += self._sizes[-1]
        if line.head is None:
            self._heads.append(line.number)
        elif line.head.number >= self._lines[0].number:
            self._parts.setdefault(line.head.number, []).append(line.number)
            self._note_change(line.head.number)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._lines) > self._lines_kept or (self.used > self._limit and len(self._lines) > 1):
            number = self._lines.popleft().number
            if self._heads and self._heads[0] == number:
                self._heads.popleft()
                self._entries_dropped += 1
                self._parts.pop(number, None)
            self.used -= self._sizes.popleft()
            self.dropped += 1

    def tail(self, count: int = 200, worker: str | None = None) -> list[LogLine]:
        """Return the last `count` lines, of one worker or of all, oldest first."""
        found: list[LogLine] = []
        with self._locked():
            for line in reversed(self._lines):
                if worker is None or line.worker == worker:
                    found.append(line)
                    if len(found) == count:
                        break
        return found[::-1]

    def since(self, number: int, limit: int = 1000) -> list[LogLine]:
        """Return up to `limit` of the newest lines whose number is greater than `number`, oldest first."""
        newer: list[LogLine] = []
        with self._locked():
            for line in reversed(self._lines):
                if line.number <= number or len(newer) == limit:
                    break
                newer.append(line)
        return newer[::-1]

    @property
    def first(self) -> int:
        """The number of the oldest line that is kept; that of the next where there is none."""
        with self._locked():
            return self._lines[0].number if self._lines else self._next

    @property
    def end(self) -> int:
        """The number that the next line will have."""
        return self._next

    def lines(self, first: int, count: int) -> list[LogLine]:
        """Return up to `count` kept lines from number `first` on, oldest first."""
        with self._locked():
            if not self._lines:
                return []
            start = max(0, first - self._lines[0].number)
            return list(islice(self._lines, start, start + count))

    def pick(self, numbers: Iterable[int]) -> list[LogLine]:
        """Return the lines of these numbers, as far as they are kept."""
        with self._locked():
            oldest = self._lines[0].number if self._lines else self._next
            return [self._lines[n - oldest] for n in numbers if oldest <= n < self._next]

    # -- entries ---------------------------------------------------------------------------------------

    @property
    def entries(self) -> tuple[int, int]:
        """The position of the oldest entry among all that ever were, from 1 on, and that of the next."""
        with self._locked():
            first = self._entries_dropped + 1
            return first, first + len(self._heads)

    def entry_positions(self, numbers: Iterable[int]) -> list[int]:
        """Return the positions of the entries that these numbers are the first lines of."""
        with self._locked():
            found = [(number, bisect_left(self._heads, number)) for number in numbers]
            return [
                self._entries_dropped + 1 + at
                for number, at in found
                if at < len(self._heads) and self._heads[at] == number
            ]

    def heads(self, position: int, count: int) -> list[LogLine]:
        """Return the first lines of up to `count` kept entries from a position on, oldest first."""
        with self._locked():
            start = max(0, position - self._entries_dropped - 1)
            return self.pick(list(islice(self._heads, start, start + count)))

    def parts(self, number: int) -> list[LogLine]:
        """Return the other lines of the entry whose first line has this number."""
        with self._locked():
            return self.pick(self._parts.get(number, ()))

    def count_parts(self, number: int) -> int:
        """Return how many other lines the entry has whose first line has this number."""
        return len(self._parts.get(number, ()))

    def listen(self, listener: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call `listener` with every new line; returns the function that ends it."""
        return self._listeners.add(listener)
