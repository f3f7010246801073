"""The part `tail`: the newest lines of one worker, or of all; the widget `LogTail` and `parts` use it.

    {"worker": "cap:bridge" or null, "lines": 10}
    -> {"lines": [{"number", "at", "worker", "level", "text", "cut", "event"}]}, oldest first

The log is gone through once for each worker that is looked at; after that, only what is new of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dnworker.panel.log_rows import plain_text

if TYPE_CHECKING:
    from dnworker.core.logs import LogBook, LogLine

TAIL_INTERVAL = 0.25
LINES_SHOWN = 10
MOST_LINES = 200
LONGEST_LINE = 500
"""Characters of a line; `line` sends all of it."""

MOST_CAUGHT_UP = 5_000
"""New lines that are gone through at once."""

WORKERS_KEPT = 100
"""Workers whose newest lines are kept at hand."""


class Tails:
    """The newest lines of the workers that somebody looks at."""

    def __init__(self, logs: LogBook) -> None:
        self._logs = logs
        self._reached = 0
        """The number of the newest line that was looked at."""
        self._numbers: OrderedDict[str | None, deque[int]] = OrderedDict()

    def lines(self, worker: str | None, count: int) -> list[LogLine]:
        """Return the newest lines of a worker, or of all, oldest first, as they are now."""
        self._catch_up()
        kept = self._numbers.get(worker)
        if kept is None:
            found = self._logs.tail(MOST_LINES, worker)
            kept = self._numbers[worker] = deque((line.number for line in found), MOST_LINES)
            if len(self._numbers) > WORKERS_KEPT:
                self._numbers.popitem(last=False)
        self._numbers.move_to_end(worker)
        return self._logs.pick([*kept][-count:])

    def _catch_up(self) -> None:
        newest = next(iter(self._logs.tail(1)), None)
        if newest is None or newest.number == self._reached:
            return
        missed = newest.number - self._reached
        if missed > MOST_CAUGHT_UP:
            self._numbers.clear()  # nobody has looked for long: each worker is gone through anew
        for line in self._logs.tail(missed) if self._numbers else ():
            for name in (line.worker, None):
                if (kept := self._numbers.get(name)) is not None:
                    kept.append(line.number)
        self._reached = newest.number


_tails: WeakKeyDictionary[LogBook, Tails] = WeakKeyDictionary()


def tail_to_json(logs: LogBook, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest lines of a log; what is `wanted` of them is no error, whatever it is."""
    worker, count = wanted.get("worker"), wanted.get("lines")
    most = count if isinstance(count, int) and 1 <= count <= MOST_LINES else LINES_SHOWN
    tails = _tails.get(logs)
    if tails is None:
        tails = _tails[logs] = Tails(logs)
    lines = tails.lines(worker if isinstance(worker, str) else None, most)
    return {"lines": [line_to_json(line) for line in lines]}


def line_to_json(line: LogLine) -> dict[str, Any]:
    """Return a line as a tail shows it: without colours, and cut."""
    text = plain_text(line.text[: LONGEST_LINE * 4])
    return {
        "number": line.number,
        "at": line.timestamp.timestamp() * 1000,
        "worker": line.worker,
        "level": line.level,
        "text": text[:LONGEST_LINE],
        "cut": max(0, len(line.text) - len(text[:LONGEST_LINE])) if len(text) > LONGEST_LINE else 0,
        "event": line.event_id,
    }
