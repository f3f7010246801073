"""A trace: one event, the invocations it caused, the events those published, and so on down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnworker.events import EventEnvelope
    from dnworker.history import History
    from dnworker.invocation import HandlerError, Invocation, Outcome
    from dnworker.logs import LogLine


STREAMED = "turn.event"


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
    def error(self) -> HandlerError | None:
        """What it raised."""
        return self._invocation.error

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


class Trace:
    """An event and everything caused by it, as far as it has happened by now."""

    def __init__(self, event: EventEnvelope, history: History, above: frozenset[str] = frozenset()) -> None:
        self.event = event
        self.timed_out = False
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
        return all(i.outcome == "ok" for trace in self._walk() for i in trace.invocations)

    @property
    def errors(self) -> list[HandlerError]:
        """What handlers raised, anywhere in the trace."""
        return [i.error for trace in self._walk() for i in trace.invocations if i.error is not None]

    def _walk(self) -> Iterator[Trace]:
        yield self
        for invocation in self.invocations:
            for below in invocation.events:
                yield from below._walk()

    def __repr__(self) -> str:
        return f"<Trace {self.event.kind} #{self.event.seq}: {'ok' if self.ok else 'not ok'}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, indent: str = "") -> list[str]:
        """Return the tree as lines of plain text."""
        scope = f"  session {self.event.session_id}" if self.event.session_id else ""
        shown = [f"{indent}{self.event.kind}  #{self.event.seq}{scope}"]
        if self.timed_out:
            shown.append(f"{indent}  (still running when the time was up)")
        for invocation in self.invocations:
            took = "..." if invocation.duration is None else f"{invocation.duration * 1000:.1f} ms"
            mark = {"ok": "+", "error": "x", "running": "~", "cancelled": "-"}[invocation.outcome]
            name = f"{invocation.worker}.{invocation.handler}"
            shown.append(f"{indent}  {mark} {name}  {invocation.outcome}  {took}")
            shown += [f"{indent}      | {line.text}" for line in invocation.logs]
            if invocation.error is not None:
                shown += [f"{indent}      {line}" for line in invocation.error.lines()]
            events, folded = invocation.folded_events()
            for below in events:
                shown += below.lines(indent + "    > ")
            if folded:
                shown.append(f"{indent}    > {STREAMED}  x{folded}")
        return shown
