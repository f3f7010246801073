"""`WorkerLog`: the lines of workers, tagged with their invocation; the engine writes through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.logs import LONGEST_LINE, LogBook, LogLine
from dnworker.core.text import clip


class WorkerLog:
    """Writes into a book of lines, for what workers print and for what their handlers raise."""

    def __init__(self, book: LogBook) -> None:
        self._book = book

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
        if invocation is not None and invocation.muted:
            text = clip(text, LONGEST_LINE)
            line = LogLine(0, worker, source, text, level, invocation.id, data=data)
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
        )
        if invocation is not None:
            invocation.note_log(line)
        return line

    def add_failure(self, invocation: Invocation) -> None:
        """Add what a handler raised, if it did, and once it has ended the mistakes that were noticed."""
        if invocation.error is not None:
            title = f"{invocation.handler} failed ({invocation.cause}):"
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
        """Add an error, with the user's frames, below a title."""
        for line in [title, *error.lines()]:
            self._book.add(
                invocation.worker,
                line,
                source="runtime",
                level="error",
                invocation_id=invocation.id,
                event_id=_event_id(invocation),
            )


def _event_id(invocation: Invocation | None) -> str | None:
    """Return the id of the event that an invocation handles, if it handles one."""
    return invocation.event.event_id if invocation is not None and invocation.event is not None else None
