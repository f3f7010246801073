"""`TraceAnswer`: a trace as JSON, of bounded size; `/api/history` answers it, `dnworker trace` prints it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dnworker.core.text import clip
from dnworker.engine.event_rows import EventFacts
from dnworker.events.trace import Trace, TracedInvocation

if TYPE_CHECKING:
    from dnworker.core.handler_error import HandlerError
    from dnworker.engine.past import Found
    from dnworker.events.trace_rows import Row

LONGEST_TEXT = 10_000
"""Characters of one line, message or text of an answer."""

TEXT_IN_ALL = 4_000_000
"""Characters of all lines of output in an answer; what is beyond is left out, and said."""

PAYLOADS_IN_ALL = 16_000_000
"""Bytes of all payloads in an answer; further ones are left out, and said."""


class TracedFrame(msgspec.Struct):
    """One of the user's frames of an error."""

    place: str
    function: str
    source: str


class TracedFailure(msgspec.Struct, kw_only=True):
    """An error of a handler."""

    type: str
    message: str
    place: str
    code: str = ""
    frames: list[TracedFrame]
    lines: list[str]
    """The whole traceback as text, with what it came of."""


class TracedLine(msgspec.Struct):
    """A line that a handler has printed or logged."""

    at: datetime
    level: str
    source: str
    text: str


class TracedRun(msgspec.Struct, kw_only=True):
    """One run of a handler."""

    id: str
    event_id: str
    worker: str
    handler: str
    cause: str
    outcome: str
    """`running`, `ok`, `warning`, `error` or `cancelled`."""
    started_ms: float | None
    """Milliseconds after the event of the trace."""
    duration_ms: float | None
    """None while it runs."""
    node: str | None = None
    """Where it ran, of a runtime that shares its broker with others."""
    generation: int = 1
    errors: list[TracedFailure] = []
    warnings: list[str] = []
    lines: list[TracedLine] = []
    lines_lost: int = 0
    """Lines that it wrote beside these."""
    state_changes: list[str] = []
    published: list[str] = []
    """The ids of the events that it published, of those in this answer."""


class TracedEvent(EventFacts, kw_only=True):
    """One event of a trace."""

    remarks: list[str] = []
    """What is to be said of it: who has not got it, that it is held, what is not kept any more."""
    payload: Any = msgspec.UNSET
    """Where payloads were asked for, and this one is kept."""


class TracedRow(msgspec.Struct, kw_only=True):
    """One line of the tree as terminals show it."""

    depth: int
    category: Literal["event", "invocation", "log", "error", "value", "warning", "note"]
    text: str
    outcome: Literal["running", "ok", "warning", "error", "cancelled"] = "ok"
    level: str = ""
    bar: tuple[float, float] | None = None
    """Begin and end of a run as shares of the trace's duration."""


class TraceAnswer(msgspec.Struct, kw_only=True):
    """An event and what it caused so far."""

    outcome: Literal["ok", "not ok", "under way"]
    source: Literal["memory", "file"]
    events: list[TracedEvent]
    """Depth first; the first is the one that was asked for."""
    runs: list[TracedRun]
    rows: list[TracedRow]
    cut: list[str] = []
    """What was left out of this answer, in words."""
    mermaid: str = ""
    """The trace as a sequence diagram in Mermaid's language, where it was asked for."""


def answer_of(found: Found, *, limit: int, payload: bool, mermaid: bool) -> TraceAnswer:
    """Return a trace as it is answered: the first `limit` rows, and as many runs and events."""
    trace = found.trace
    made = _Answer(trace, limit, with_payloads=payload)
    events, runs, rows = made.events(), made.runs(), made.rows()
    return TraceAnswer(
        outcome=trace.outcome,
        source=found.source,
        events=events,
        runs=runs,
        rows=rows,
        cut=[*dict.fromkeys([*found.cut, *made.cut])],
        mermaid=trace.mermaid() if mermaid else "",
    )


class _Answer:
    """Makes the parts of one answer, within its bounds."""

    def __init__(self, trace: Trace, limit: int, *, with_payloads: bool) -> None:
        self._trace = trace
        self._limit = limit
        self._with_payloads = with_payloads
        self._room, self._payload_room = TEXT_IN_ALL, PAYLOADS_IN_ALL
        self.cut: list[str] = []
        self._traces = self._first(trace)
        self._started = {span.id: span.started for span in trace.spans(2 * limit) if span.type == "call"}

    def _first(self, trace: Trace) -> list[Trace]:
        """Return the first traces, depth first."""
        waiting, found = [trace], list[Trace]()
        while waiting:
            if len(found) == self._limit:
                self.cut.append(f"only the first {self._limit:,} events are answered")
                break
            found.append(one := waiting.pop())
            waiting += [below for run in one.invocations for below in run.events][::-1]
        return found

    def events(self) -> list[TracedEvent]:
        return [self._event(one, is_root=number == 0) for number, one in enumerate(self._traces)]

    def _event(self, one: Trace, *, is_root: bool) -> TracedEvent:
        event = one.event
        notes = [*one.losses, *filter(None, (one.storm, one.held)), *one.remarks(is_root=is_root)]
        return TracedEvent(
            id=event.event_id,
            seq=event.seq,
            kind=event.kind,
            at=event.timestamp,
            session_id=event.session_id,
            remarks=[clip(note, LONGEST_TEXT) for note in notes],
            payload=self._payload(one) if self._with_payloads else msgspec.UNSET,
        )

    def _payload(self, one: Trace) -> Any:
        if not one.has_payload:
            return msgspec.UNSET
        packed = msgspec.Raw(msgspec.json.encode(one.event.payload))
        if len(bytes(packed)) > self._payload_room:
            self.cut.append("payloads beyond 16 MB are left out")
            return msgspec.UNSET
        self._payload_room -= len(bytes(packed))
        return packed

    def runs(self) -> list[TracedRun]:
        found = list[TracedRun]()
        kept = {one.event.event_id for one in self._traces}
        for one in self._traces:
            for run in one.invocations:
                if len(found) == self._limit:
                    self.cut.append(f"only the first {self._limit:,} runs are answered")
                    return found
                found.append(self._run(run, one.event.event_id, kept))
        return found

    def _run(self, run: TracedInvocation, event_id: str, kept: set[str]) -> TracedRun:
        lines = self._lines(run)
        return TracedRun(
            id=run.id,
            event_id=event_id,
            worker=run.worker,
            handler=run.handler,
            cause=run.invocation.cause,
            outcome=run.outcome,
            started_ms=self._started.get(run.id),
            duration_ms=None if run.duration is None else round(run.duration * 1000, 3),
            node=run.node,
            generation=run.generation,
            errors=[_failure(error) for error in run.errors()],
            warnings=[clip(str(warning), LONGEST_TEXT) for warning in run.warnings],
            lines=lines,
            lines_lost=run.lines_lost + len(run.logs) - len(lines),
            state_changes=[clip(one, LONGEST_TEXT) for one in run.state_changes],
            published=[e.event_id for e in run.invocation.published if e.event_id in kept],
        )

    def _lines(self, run: TracedInvocation) -> list[TracedLine]:
        """Return its newest lines that there is room for."""
        found = list[TracedLine]()
        for line in reversed(run.logs):
            text = clip(line.text, LONGEST_TEXT)
            if len(text) > self._room:
                self.cut.append(f"lines of output beyond {TEXT_IN_ALL:,} characters are left out")
                break
            self._room -= len(text)
            found.append(TracedLine(line.timestamp, line.level, line.source, text))
        return found[::-1]

    def rows(self) -> list[TracedRow]:
        found = self._trace.rows(self._limit + 1)
        if len(found) > self._limit:
            self.cut.append(f"only the first {self._limit:,} rows of the tree are answered")
        room, rows = TEXT_IN_ALL, list[TracedRow]()
        for row in found[: self._limit]:
            if row.category == "value":
                continue
            text = clip(row.text, LONGEST_TEXT)
            if (room := room - len(text)) < 0:
                self.cut.append(f"rows beyond {TEXT_IN_ALL:,} characters are left out")
                break
            rows.append(_row(row, text))
        return rows


def _row(row: Row, text: str) -> TracedRow:
    return TracedRow(
        depth=row.depth,
        category=row.category,
        text=text,
        outcome=row.outcome,
        level="" if row.line is None else row.line.level,
        bar=row.bar,
    )


def _failure(error: HandlerError) -> TracedFailure:
    """Return an error without the values of its variables: those may be secrets, and go nowhere."""
    return TracedFailure(
        type=error.type,
        message=clip(error.message, LONGEST_TEXT),
        place=error.place,
        code=error.code,
        frames=[TracedFrame(one.place, one.function, one.source) for one in error.frames],
        lines=[
            f"{'  ' * line.depth}{clip(line.text, LONGEST_TEXT)}"
            for line in error.entries("normal")
            if line.category != "value"
        ],
    )
