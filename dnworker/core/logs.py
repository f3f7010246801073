"""`LogBook`: the lines that workers print and log, in bounded memory; read by magics and panel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from dnworker.core.listeners import Listeners
from dnworker.core.text import clip

LINES_KEPT = 50_000
"""Lines that a log keeps."""

LONGEST_LINE = 65_536
"""Characters of a line after which it is cut."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a worker's log.

    `source` is `stdout`, `stderr`, `log`, `display` or `runtime`; `number` rises by one a line. A displayed
    object has its forms by MIME type in `data`, and its plain text in `text`.
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


class LogBook:
    """The log of every worker of one runtime; the oldest lines go first, and are counted.

    Lines may come from any thread: handlers start them. Listeners are called on the thread that adds.
    """

    def __init__(self, lines_kept: int = LINES_KEPT) -> None:
        self._lines: deque[LogLine] = deque(maxlen=lines_kept)
        self._next = 1
        self._depth = 0
        self._late: list[LogLine] = []
        self._listeners: Listeners[[LogLine]] = Listeners()
        self._lock = threading.RLock()
        self.dropped = 0

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
    ) -> LogLine:
        """Append one line; a line over 64 KiB is cut, with a note of it."""
        line = LogLine(0, worker, source, clip(text, LONGEST_LINE), level, invocation_id, event_id, data=data)
        with self._locked():
            self._late.append(line)
        self._listeners.notify(line)
        return line

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
        if len(self._lines) == self._lines.maxlen:
            self.dropped += 1
        object.__setattr__(line, "number", self._next)
        self._next += 1
        self._lines.append(line)

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

    def listen(self, listener: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call `listener` with every new line; returns the function that ends it."""
        return self._listeners.add(listener)
