"""`WorkerLog`: the lines of workers, tagged with their invocation; the engine writes through it.

What is printed tells its level and its tracebacks in its text alone (`core/printed.py`): they are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.logs import LONGEST_LINE, LogBook, LogLine
from dnworker.core.printed import Traceback, begins_traceback, is_node_error, is_node_frame, level_of
from dnworker.core.text import clip, shorten

_PRINTED = frozenset({"stdout", "stderr", "log"})

_ERRORS = ("error", "critical")

LONGEST_ENTRY = 500
"""Lines of one traceback; what goes on after them is an entry of its own."""

LONGEST_KIND = 100
"""Characters of an event's kind in the line that says that its handler failed."""


class WorkerLog:
    """Writes into a book of lines, for what workers print and for what their handlers raise."""

    def __init__(self, book: LogBook) -> None:
        self._book = book
        self._entries: dict[str, _Entry] = {}
        """The last that each worker has printed, as far as more may belong to it."""

    def add(
        self,
        worker: str,
        text: str,
        *,
        source: str = "stdout",
        level: str = "info",
        data: Mapping[str, Any] | None = None,
        invocation: Invocation | None = None,
    ) -> LogLine:
        """Add a line to a worker's log, tagged with `invocation`, else with the one that runs here.

        A line of a muted invocation stays with the invocation and is not added.
        """
        invocation = invocation or current_invocation.get()
        if source not in _PRINTED:
            return self._add(worker, text, source, level, invocation, data=data)
        if level == "info":
            level = level_of(text) or level
        entry = self._entry_of(worker, source, invocation, text) if worker in self._entries else None
        if entry is None:
            return self._begin(worker, text, source, level, invocation)
        entry.count += 1
        if entry.is_error and entry.head.level not in _ERRORS:
            self._book.promote(entry.head, "error")
        return self._add(worker, text, source, entry.head.level, invocation, head=entry.head)

    def forget(self, worker: str) -> None:
        """Forget what a worker that is gone has printed last."""
        self._entries.pop(worker, None)

    def _entry_of(self, worker: str, source: str, invocation: Invocation | None, text: str) -> _Entry | None:
        """Return the entry that a printed line goes on with, if it does."""
        entry = self._entries.get(worker)
        if entry is None:
            return None
        if not entry.is_by(source, invocation) or not entry.takes(text):
            self._entries.pop(worker, None)  # another thread of the worker may have ended it
            return None
        return entry

    def _begin(
        self, worker: str, text: str, source: str, level: str, invocation: Invocation | None
    ) -> LogLine:
        """Add a printed line that is the first of its entry, and remember it where more may belong to it."""
        traceback = Traceback(text) if begins_traceback(text) else None
        if traceback is not None and traceback.is_certain:
            level = "error"
        line = self._add(worker, text, source, level, invocation)
        if traceback is not None or level in _ERRORS or is_node_error(text):
            self._entries[worker] = _Entry(line, traceback)
        return line

    def _add(
        self,
        worker: str,
        text: str,
        source: str,
        level: str,
        invocation: Invocation | None,
        *,
        data: Mapping[str, Any] | None = None,
        head: LogLine | None = None,
    ) -> LogLine:
        if invocation is not None and invocation.muted:
            text = clip(text, LONGEST_LINE)
            line = LogLine(0, worker, source, text, level, invocation.id, data=data, head=head)
            invocation.note_log(line)
            return line
        line = self._book.add(
            worker,
            text,
            source=source,
            level=level,
            invocation_id=invocation.id if invocation else None,
            event_id=_event_id(invocation),
            data=data,
            head=head,
        )
        if invocation is not None:
            invocation.note_log(line)
        return line

    def add_failure(self, invocation: Invocation) -> None:
        """Add what a handler raised, if it did, and once it has ended the mistakes that were noticed."""
        if invocation.error is not None:
            title = f"{invocation.handler} failed ({_cause(invocation)}):"
            self.add_error(invocation, title, invocation.error)
        if invocation.warnings and invocation.outcome != "running":
            self._add_warnings(invocation)

    def add_hint(self, invocation: Invocation, text: str) -> None:
        """Add what a handler does in vain; it is part of what its run says."""
        self.add(invocation.worker, text, source="runtime", level="warning", invocation=invocation)

    def _add_warnings(self, invocation: Invocation) -> None:
        for warning in invocation.warnings:
            self._book.add(
                invocation.worker,
                f"{invocation.handler}: {warning}",
                source="runtime",
                level="warning",
                invocation_id=invocation.id,
                event_id=_event_id(invocation),
            )

    def add_error(self, invocation: Invocation, title: str, error: HandlerError) -> None:
        """Add an error, with the user's frames, below a title; all of it is one entry."""
        head: LogLine | None = None
        for line in [title, *error.lines()]:
            added = self._book.add(
                invocation.worker,
                line,
                source="runtime",
                level="error",
                invocation_id=invocation.id,
                event_id=_event_id(invocation),
                head=head,
            )
            head = head or added


class _Entry:
    """What a worker has printed last, and whether the next line belongs to it.

    Threads of one worker may print at once; then lines of a traceback may be entries of their own.
    """

    def __init__(self, head: LogLine, traceback: Traceback | None) -> None:
        self.head = head
        self.count = 1
        self._traceback = traceback

    @property
    def is_error(self) -> bool:
        """Whether it is one for certain."""
        return self._traceback is not None and self._traceback.is_certain

    def is_by(self, source: str, invocation: Invocation | None) -> bool:
        """Return whether the same writer goes on."""
        head = self.head
        return head.source == source and head.invocation_id == (invocation.id if invocation else None)

    def takes(self, text: str) -> bool:
        """Return whether the next line belongs to it."""
        if self.count >= LONGEST_ENTRY:
            return False
        if self._traceback is not None:
            return self._traceback.takes(text)
        if is_node_frame(text):
            self._traceback = Traceback(self.head.text, is_node=True)
        elif self.head.level in _ERRORS and begins_traceback(text):
            self._traceback = Traceback(text)
        return self._traceback is not None


def _event_id(invocation: Invocation | None) -> str | None:
    """Return the id of the event that an invocation handles, if it handles one."""
    return invocation.event.event_id if invocation is not None and invocation.event is not None else None


def _cause(invocation: Invocation) -> str:
    """Return why a handler ran, with the event that it was given: `event #59 shop.sold`."""
    event = invocation.event
    return (
        invocation.cause
        if event is None
        else f"{invocation.cause} #{event.seq} {shorten(event.kind, LONGEST_KIND)}"
    )
