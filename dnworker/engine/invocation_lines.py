"""`InvocationLines`: makes whole lines of what invocations write in pieces; for those who route output.

Each writer has its own unfinished line: a thread's never ends up within another's. What an invocation leaves
behind, a task or a thread, writes in pieces, too: such a line ends with its newline, or after `LATE_SECONDS`.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Hashable
from typing import NamedTuple

from dnworker.core.invocation import Invocation
from dnworker.core.text import LineSplitter

LATE_SECONDS = 0.5
"""An unfinished line of an invocation that has ended waits so long for its end."""

CUT_KEPT = 1_000
"""Writers whose last line was ended before its newline came, that are remembered."""

KeepLine = Callable[[Invocation, str, str, str], None]
"""Takes the invocation, the source of the line, its level, and the line."""


class _Writer(NamedTuple):
    invocation: str
    source: str
    level: str
    name: Hashable


class InvocationLines:
    """The unfinished lines of all invocations.

    Args:
        keep: gets each line once it is whole; on the thread that wrote its end, or on a timer's.
        late: seconds that an unfinished line waits where its invocation has ended.
    """

    def __init__(self, keep: KeepLine, *, late: float = LATE_SECONDS) -> None:
        self._keep = keep
        self._late = late
        self._lines = LineSplitter()
        self._writers: dict[str, dict[_Writer, Invocation]] = {}
        """Who has an unfinished line, by the invocation's id."""
        self._cut: dict[_Writer, None] = {}
        """Whose last line was ended before its newline came: that is no line of its own."""
        self._late_ends: set[str] = set()
        """The ids of the invocations whose unfinished lines a timer is going to end."""
        self._lock = threading.RLock()  # a finalizer may write while a thread holds it

    def add(
        self, invocation: Invocation, source: str, text: str, *, level: str = "info", writer: Hashable = None
    ) -> None:
        """Take what an invocation writes; `writer` is who writes for it, else this thread."""
        key = _Writer(invocation.id, source, level, threading.get_ident() if writer is None else writer)
        with self._lock:
            if key in self._cut:
                del self._cut[key]
                text = text.removeprefix("\n")
            whole = self._lines.add(key, text)
            waits = self._lines.has_rest(key)
            if waits:
                self._writers.setdefault(invocation.id, {})[key] = invocation
            elif (writers := self._writers.get(invocation.id)) is not None:
                writers.pop(key, None)
        for line in whole:
            self._keep(invocation, source, level, line)
        if waits and writer is None and invocation.outcome != "running":
            self._end_later(invocation)

    def end(self, invocation: Invocation, writer: Hashable = None) -> None:
        """Keep the unfinished lines of an invocation that has ended, or those of one writer of it.

        Writers that were named go on where no name is given: they end by themselves.
        """
        with self._lock:
            writers = self._writers.get(invocation.id)
            if writers is None:
                return
            ended = [
                key
                for key in writers
                if (isinstance(key.name, int) if writer is None else key.name == writer)
            ]
            for key in ended:
                del writers[key]
            if not writers:
                del self._writers[invocation.id]
            rests = [(key, line) for key in ended for line in self._lines.end(key)]
            self._cut |= dict.fromkeys(key for key, _ in rests)
            while len(self._cut) > CUT_KEPT:
                del self._cut[next(iter(self._cut))]
        for key, line in rests:
            self._keep(invocation, key.source, key.level, line)

    def _end_later(self, invocation: Invocation) -> None:
        """Have one timer end what the invocation writes from now on; each is a thread of the system."""
        with self._lock:
            if invocation.id in self._late_ends:
                return
            self._late_ends.add(invocation.id)
        timer = threading.Timer(self._late, self._end_late, (invocation,))
        timer.daemon = True
        try:
            contextvars.Context().run(timer.start)  # it runs on nobody's behalf
        except RuntimeError:  # there are too many threads, or the interpreter ends
            self._end_late(invocation)

    def _end_late(self, invocation: Invocation) -> None:
        with self._lock:
            self._late_ends.discard(invocation.id)
        self.end(invocation)
