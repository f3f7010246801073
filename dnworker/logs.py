"""What workers print and log: lines with the invocation and event they belong to, in bounded memory."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dnworker.events import valid_text

LINES_KEPT = 50_000
LONGEST_LINE = 65_536


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a worker's log.

    `source` is where it came from: `stdout`, `stderr`, `log`, `display` or `runtime`; `number` rises by one a
    line. Of what was displayed, `data` has the forms by MIME type, and `text` the plain one.
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
        self._numbers = itertools.count(1)
        self._listeners: list[Callable[[LogLine], None]] = []
        self._lock = threading.Lock()
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
        """Append one line; a line over 64 KiB is cut, and says so."""
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]} [cut: {len(text) - LONGEST_LINE:,} more characters]"
        text = valid_text(text)
        with self._lock:
            if len(self._lines) == self._lines.maxlen:
                self.dropped += 1
            number = next(self._numbers)
            line = LogLine(number, worker, source, text, level, invocation_id, event_id, data=data)
            self._lines.append(line)
        for listener in tuple(self._listeners):
            listener(line)
        return line

    def tail(self, count: int = 200, worker: str | None = None) -> list[LogLine]:
        """Return the last `count` lines, of one worker or of all, oldest first."""
        found: list[LogLine] = []
        with self._lock:
            for line in reversed(self._lines):
                if worker is None or line.worker == worker:
                    found.append(line)
                    if len(found) == count:
                        break
        return found[::-1]

    def since(self, number: int, limit: int = 1000) -> list[LogLine]:
        """Return up to `limit` of the newest lines whose number is greater than `number`, oldest first."""
        newer: list[LogLine] = []
        with self._lock:
            for line in reversed(self._lines):
                if line.number <= number or len(newer) == limit:
                    break
                newer.append(line)
        return newer[::-1]

    def listen(self, listener: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call `listener` with every new line; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None
