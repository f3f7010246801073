"""`EventRow`: one event of the past in a list: who published it, and what handlers did with it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from dnworker.core.text import shorten

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.events.history import History
    from dnworker.events.past_events import PastEvent, Wanted

WORKERS_NAMED = 20
LONGEST_ERROR = 300
"""Workers of a row that are named, and characters of its error."""


class EventFacts(msgspec.Struct, kw_only=True):
    """What a list and a trace tell of an event."""

    id: str
    seq: int
    kind: str
    at: datetime
    session_id: str | None = None


class EventRow(EventFacts, kw_only=True):
    """An event, and how the runs of handlers that it caused ended."""

    by: str = ""
    """Who published it: a worker with its handler and the number of its event, or a word such as `HTTP`."""
    workers: list[str] = []
    """The workers that have handled it, in the order in which they began."""
    ok: int = 0
    warnings: int = 0
    failed: int = 0
    """Runs that raised, or of which something raised that they started."""
    cancelled: int = 0
    running: int = 0
    waits: bool = False
    """Whether it is in the queue of a worker."""
    error: str | None = None
    """The first error."""
    notes: list[str] = []
    """What is to be said of it: who has not got it, that it is held, runs that are not kept any more."""
    is_failed: bool = False
    """Whether a run failed, a worker has not got it, or it is held back."""
    from_file: bool = False
    """Whether it was read from the journal's file, which has runs that ended only."""


class Rows:
    """Makes rows of events that memory has; who published which is looked up once a run."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._publishers: dict[str, dict[str, str]] = {}

    def may_be(self, event: EventEnvelope, wanted: Wanted) -> bool:
        """Return whether what handlers did with an event is what is wanted."""
        history, event_id = self._history, event.event_id
        if wanted.worker is not None:
            ran = any(run.worker == wanted.worker for run in history.invocations_of(event_id))
            if not ran and not self._by(event_id).startswith(f"{wanted.worker}."):
                return False
        return not wanted.failed or self._is_failed(event_id)

    def row(self, event: EventEnvelope) -> EventRow:
        """Return the row of an event."""
        history, event_id = self._history, event.event_id
        runs = history.invocations_of(event_id)
        failed = [run for run in runs if _has_failed(run)]
        errors = (error for run in failed for error in (run.error, *run.unhandled) if error is not None)
        first = next(errors, None)
        counts = Counter(run.outcome for run in runs if not _has_failed(run))
        return EventRow(
            id=event_id,
            seq=event.seq,
            kind=event.kind,
            at=event.timestamp,
            session_id=event.session_id,
            by=self._by(event_id),
            workers=[*dict.fromkeys(run.worker for run in runs)][:WORKERS_NAMED],
            ok=counts["ok"],
            warnings=counts["warning"],
            failed=len(failed),
            cancelled=counts["cancelled"],
            running=counts["running"],
            waits=event_id in history.queued(),
            error=None if first is None else shorten(str(first), LONGEST_ERROR),
            notes=self._notes(event_id),
            is_failed=self._is_failed(event_id),
        )

    def _is_failed(self, event_id: str) -> bool:
        history = self._history
        return (
            any(map(_has_failed, history.invocations_of(event_id)))
            or bool(history.losses_of(event_id))
            or history.held(event_id) is not None
            or bool(history.runs_lost(event_id).failed)
        )

    def _notes(self, event_id: str) -> list[str]:
        history = self._history
        notes = [*history.losses_of(event_id)]
        if (way_out := history.held(event_id)) is not None:
            notes.append(f"held as part of an event storm, and not delivered: {way_out}")
        runs, failed = history.runs_lost(event_id)
        if runs:
            notes.append(f"{runs:,} of its runs are not kept any more, {failed:,} of which did not end well")
        return notes

    def _by(self, event_id: str) -> str:
        causes = self._history.causes
        if (above := causes.above(event_id)) is None:
            source = causes.source(event_id)
            return "" if source is None else source.name
        if above not in self._publishers:
            self._publishers[above] = {
                event.event_id: run.label
                for run in self._history.invocations_of(above)
                for event in run.published
            }
        label = self._publishers[above].get(event_id, "a handler")
        event = self._history.peek(above)
        return label if event is None else f"{label} #{event.seq}"


def past_row(past: PastEvent) -> EventRow:
    """Return the row of an event that a file has."""
    event, runs = past.envelope, past.runs
    failed = [run for run in runs if run.outcome == "error"]
    error = next((run.error for run in failed if run.error is not None), None)
    text = None if error is None else f"{error.get('type')}: {error.get('message')}"
    counts = Counter(run.outcome for run in runs)
    return EventRow(
        id=event.event_id,
        seq=event.seq,
        kind=event.kind,
        at=event.timestamp,
        session_id=event.session_id,
        by="" if past.cause is None else "a handler",
        workers=[*dict.fromkeys(run.worker for run in runs)][:WORKERS_NAMED],
        ok=counts["ok"],
        warnings=counts["warning"],
        failed=len(failed),
        cancelled=counts["cancelled"],
        error=None if text is None else shorten(text, LONGEST_ERROR),
        is_failed=bool(failed),
        from_file=True,
    )


def _has_failed(run: Invocation) -> bool:
    return run.outcome == "error" or bool(run.unhandled)
