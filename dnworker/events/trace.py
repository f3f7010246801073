"""A trace: one event, the invocations it caused, the events those published, and so on down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import HandlerError, Invocation, Outcome
    from dnworker.core.logs import LogLine
    from dnworker.events.history import History


STREAMED = "turn.event"
BAR_WIDTH = 20
LEVELS_SHOWN = 50
LONGEST_ALIGNED = 96
"""Characters of a line that a waterfall's bar still stands beside."""


class TracedInvocation:
    """One run of a handler, as a trace shows it."""

    def __init__(self, invocation: Invocation, history: History, above: frozenset[str]) -> None:
        self._invocation = invocation
        self._history = history
        self._above = above

    @property
    def worker(self) -> str:
        """The worker's name, qualified by its capability."""
        return self._invocation.worker

    @property
    def handler(self) -> str:
        """The handler's function name."""
        return self._invocation.handler

    @property
    def outcome(self) -> Outcome:
        """`running`, `ok`, `error` or `cancelled`."""
        return self._invocation.outcome

    @property
    def duration(self) -> float | None:
        """Seconds it took; None while it runs."""
        return self._invocation.duration

    @property
    def started_at(self) -> float:
        """When it began, in seconds of the machine's monotonic clock."""
        return self._invocation.started_at

    @property
    def ended_at(self) -> float:
        """When it ended; now, while it runs."""
        duration = self._invocation.duration
        return time.monotonic() if duration is None else self._invocation.started_at + duration

    @property
    def error(self) -> HandlerError | None:
        """What it raised."""
        return self._invocation.error

    @property
    def unhandled(self) -> list[HandlerError]:
        """What tasks raised that it started and nobody awaited."""
        return list(self._invocation.unhandled)

    @property
    def took(self) -> str:
        """How long it took, for people."""
        return "..." if self.duration is None else f"{self.duration * 1000:.1f} ms"

    @property
    def logs(self) -> list[LogLine]:
        """What it printed and logged."""
        return list(self._invocation.logs)

    @property
    def generation(self) -> int:
        """The version of the worker's handlers that it ran."""
        return self._invocation.generation

    @property
    def events(self) -> list[Trace]:
        """What it published, each with all that followed."""
        return [
            Trace(event, self._history, self._above)
            for event in self._invocation.published
            if event.event_id not in self._above
        ]

    def folded_events(self) -> tuple[list[Trace], int]:
        """Return what to show of them, and how many pieces of an agent's answer are left out."""
        events = self.events
        shown = [below for below in events if below.event.kind != STREAMED or below.invocations]
        return shown, len(events) - len(shown)


@dataclass(frozen=True)
class Row:
    """One line of a trace, whichever way it is shown.

    `depth` counts the invocations and events above it; `bar` is where an invocation begins and ends in the
    trace, as shares of the whole, where there is more than one.
    """

    depth: int
    sort: Literal["event", "invocation", "log", "error", "note"]
    text: str
    outcome: Outcome = "ok"
    line: LogLine | None = None
    bar: tuple[float, float] | None = None

    def drawn(self) -> str:
        """Return the bar as text of a fixed width."""
        if self.bar is None:
            return ""
        first = min(int(self.bar[0] * BAR_WIDTH), BAR_WIDTH - 1)
        length = max(1, round((self.bar[1] - self.bar[0]) * BAR_WIDTH))
        return f"{' ' * first}{'█' * length}"[:BAR_WIDTH].ljust(BAR_WIDTH)


class Trace:
    """An event and everything caused by it, as far as it has happened by now."""

    def __init__(self, event: EventEnvelope, history: History, above: frozenset[str] = frozenset()) -> None:
        self.event = event
        self.timed_out = False
        self.replayed: EventEnvelope | None = None
        self._history = history
        self._above = above | {event.event_id}

    @property
    def invocations(self) -> list[TracedInvocation]:
        """The runs of handlers that this event caused, in the order in which they began."""
        found = self._history.invocations_of(self.event.event_id)
        return [TracedInvocation(i, self._history, self._above) for i in found]

    def events(self) -> list[EventEnvelope]:
        """Return every envelope of the trace, depth first, this one included."""
        return [trace.event for trace in self._walk()]

    @property
    def ok(self) -> bool:
        """Whether every run so far ended well; a run that has not ended is not ok."""
        return all(i.outcome == "ok" and not i.unhandled for trace in self._walk() for i in trace.invocations)

    @property
    def errors(self) -> list[HandlerError]:
        """What handlers raised, and tasks that they started, anywhere in the trace."""
        every = [i for trace in self._walk() for i in trace.invocations]
        return [e for i in every for e in (*([i.error] if i.error else []), *i.unhandled)]

    def _walk(self) -> Iterator[Trace]:
        waiting = [self]  # not by recursion: a chain may be of any length
        while waiting:
            trace = waiting.pop()
            yield trace
            waiting += [below for run in trace.invocations for below in run.events][::-1]

    def __repr__(self) -> str:
        return f"<Trace {self.event.kind} #{self.event.seq}: {'ok' if self.ok else 'not ok'}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the tree as rows, depth first, with a waterfall's bars; the first `limit` of them."""
        runs = [i for trace in islice(self._walk(), limit) for i in trace.invocations]
        start = min((i.started_at for i in runs), default=0.0)
        span = max((i.ended_at for i in runs), default=0.0) - start
        return list(islice(self._rows(0, start, span if len(runs) > 1 else 0.0), limit))

    def _rows(self, depth: int, start: float, span: float) -> Iterator[Row]:
        scope = f"  session {self.event.session_id}" if self.event.session_id else ""
        again = f"  (again, as #{self.replayed.seq})" if self.replayed is not None else ""
        yield Row(depth, "event", f"{self.event.kind}  #{self.event.seq}{scope}{again}")
        if depth > 2 * LEVELS_SHOWN:
            yield Row(depth + 1, "note", f"(what it caused is {LEVELS_SHOWN} levels down, and not shown)")
            return
        if self.timed_out:
            yield Row(depth + 1, "note", "(still running when the time was up)")
        for run in self.invocations:
            text = f"{run.worker}.{run.handler}  {run.outcome}  {run.took}"
            bar = ((run.started_at - start) / span, (run.ended_at - start) / span) if span else None
            yield Row(depth + 1, "invocation", text, run.outcome, bar=bar)
            for line in run.logs:
                yield Row(depth + 2, "log", line.text, line=line)
            for error in (*([run.error] if run.error is not None else []), *run.unhandled):
                if error is not run.error:
                    yield Row(depth + 2, "error", "what it started, and nobody awaited, failed:")
                for text in error.lines():
                    yield Row(depth + 2, "error", text)
            events, folded = run.folded_events()
            for below in events:
                yield from below._rows(depth + 2, start, span)
            if folded:
                yield Row(depth + 2, "event", f"{STREAMED}  x{folded}")

    def lines(self) -> list[str]:
        """Return the tree as lines of plain text."""
        marks = {"ok": "+", "error": "x", "running": "~", "cancelled": "-"}
        shown = []
        for row in self.rows():
            indent = "  " * row.depth
            match row.sort:
                case "event":
                    shown.append((f"{indent}> {row.text}" if row.depth else row.text, ""))
                case "invocation":
                    shown.append((f"{indent}{marks[row.outcome]} {row.text}", row.drawn()))
                case "log":
                    shown.append((f"{indent}  | {row.text}", ""))
                case _:
                    shown.append((f"{indent}  {row.text}", ""))
        width = max((len(text) for text, bar in shown if bar and len(text) <= LONGEST_ALIGNED), default=0)
        return [f"{text:<{width}}  {bar}".rstrip() if bar else text for text, bar in shown]
