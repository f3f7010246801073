"""The timeline of one view: one row an event, with its outcome; used by `view` and `messages`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from dnworker.core.envelope import EventEnvelope, is_noise
from dnworker.core.invocation import Invocation
from dnworker.events.history import History
from dnworker.events.trace import STREAMED

RowOutcome = Literal["none", "running", "ok", "warning", "error", "cancelled"]


class EventFilter(msgspec.Struct, kw_only=True, frozen=True):
    """Which events are wanted; `kind` is a part of it, `noise` pieces of answers and the runtime's own."""

    kind: str = ""
    worker: str | None = None
    session: str | None = None
    outcome: RowOutcome | None = None
    noise: bool = False

    def takes(self, row: EventRow) -> bool:
        """Return whether an event is wanted."""
        return (
            self.kind.casefold() in row.kind.casefold()
            and (self.noise or not row.is_noise)
            and (self.worker is None or self.worker in row.workers)
            and (self.session is None or row.session == self.session)
            and (self.outcome is None or row.outcome == self.outcome)
        )


class EventRow(msgspec.Struct, kw_only=True, frozen=True):
    """One event of the timeline: `at` in ms since 1970, `duration` in ms, None until all have ended."""

    id: str
    seq: int
    kind: str
    at: float
    session: str | None
    outcome: RowOutcome
    workers: list[str]
    runs: int
    duration: float | None
    error: str | None
    is_noise: bool = msgspec.field(name="noise")


def row_of(event: EventEnvelope, history: History) -> EventRow:
    """Return the row of an event as things stand."""
    runs = history.invocations_of(event.event_id)
    outcome = outcome_of(runs)
    ended = [run.started_at + run.duration for run in runs if run.duration is not None]
    whole = runs and len(ended) == len(runs)
    errors = [str(run.error) for run in runs if run.error is not None]
    errors = errors or [str(warning) for run in runs for warning in run.warnings]
    return EventRow(
        id=event.event_id,
        seq=event.seq,
        kind=event.kind,
        at=event.timestamp.timestamp() * 1000,
        session=event.session_id,
        outcome=outcome,
        workers=list(dict.fromkeys(run.worker for run in runs)),
        runs=len(runs),
        duration=(max(ended) - min(run.started_at for run in runs)) * 1000 if whole else None,
        error=errors[-1][:300] if errors else None,
        is_noise=is_noise(event.kind) or event.kind == STREAMED,
    )


def outcome_of(runs: Sequence[Invocation]) -> RowOutcome:
    """Return the worst of the outcomes; `none` where no handler ran."""
    outcomes = {run.outcome for run in runs}
    if "error" in outcomes or any(run.unhandled for run in runs):
        return "error"
    for outcome in ("running", "warning", "cancelled", "ok"):
        if outcome in outcomes:
            return outcome
    return "none"


def matching(events: Iterable[EventEnvelope], history: History, wanted: EventFilter) -> Iterator[EventRow]:
    """Go through the rows of the events that are wanted; the cheap conditions are tested first."""
    part = wanted.kind.casefold()
    for event in events:
        if part in event.kind.casefold() and wanted.session in (None, event.session_id):
            row = row_of(event, history)
            if wanted.takes(row):
                yield row


def builtins(rows: Iterable[EventRow]) -> list[dict[str, Any]]:
    """Return rows as they are sent."""
    return [msgspec.to_builtins(row) for row in rows]
