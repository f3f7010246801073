"""`Trace`: one event, the invocations it caused, the events those published, and so on; computed when read.

`%fire` returns one; the notebook and the panel show its rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Literal

from dnworker.core.detail import detail
from dnworker.core.envelope import has_payload, own
from dnworker.core.handler_error import HandlerError
from dnworker.events.sequence import mermaid, source_name
from dnworker.events.spans import Span, conversation, said_by, spans_of
from dnworker.events.trace_rows import Paint, Row, as_it_is, in_colours, lines_of, rich_text
from dnworker.events.traced_error import TracedError

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.handler_error import HandlerError
    from dnworker.core.handlers import HandlerKey
    from dnworker.core.invocation import HandlerWarning, Invocation, Outcome
    from dnworker.core.logs import LogLine
    from dnworker.events.history import History


STREAMED = "turn.event"
"""The kind whose events are counted instead of shown: an agent's answer comes in many."""

LEVELS_SHOWN = 50
"""Levels of events that a trace shows."""

CHANGES_SHOWN = 10
"""Changes of a worker's state that a trace shows of one run; the run itself has more."""


def _listed(changes: list[str]) -> str:
    more = len(changes) - CHANGES_SHOWN
    shown = changes if more <= 1 else [*changes[:CHANGES_SHOWN], f"and {more} more"]
    return ", ".join(shown)


class TracedInvocation:
    """One run of a handler, as a trace shows it."""

    def __init__(self, invocation: Invocation, history: History, above: int) -> None:
        self._invocation = invocation
        self._history = history
        self._above = above  # the number of the event that it handled: what it published has a higher one

    @property
    def invocation(self) -> Invocation:
        """The run as the history keeps it."""
        return self._invocation

    @property
    def id(self) -> str:
        """Its id, by which spans name it."""
        return self._invocation.id

    @property
    def event(self) -> EventEnvelope | None:
        """The event that it handled."""
        return self._invocation.event

    @property
    def label(self) -> str:
        """Worker and handler, such as `bridge.on_turn`."""
        return self._invocation.label

    @property
    def worker(self) -> str:
        """The worker's name, qualified by its capability."""
        return self._invocation.worker

    @property
    def handler(self) -> str:
        """The handler's function name."""
        return self._invocation.handler

    @property
    def node(self) -> str | None:
        """The node on which it ran; None where the runtime shares its broker with no other."""
        return self._invocation.node

    @property
    def key(self) -> HandlerKey | None:
        """The handler's identity in its worker; None of a turn."""
        return self._invocation.key

    @property
    def outcome(self) -> Outcome:
        """`running`, `ok`, `warning`, `error` or `cancelled`."""
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
        """The error that it raised."""
        return self._invocation.error

    @property
    def exception(self) -> BaseException | None:
        """What it raised, with its traceback; None where it did not fail, or that is not kept any more."""
        return self._history.failures.exception_of(self._invocation)

    @property
    def unhandled(self) -> list[HandlerError]:
        """Errors of tasks that it started and nobody awaited."""
        return list(self._invocation.unhandled)

    def errors(self) -> Iterator[TracedError]:
        """Yield its error, and those of tasks that it started."""
        run, seq = self._invocation, self._invocation.event.seq if self._invocation.event else 0
        for error in (*([run.error] if run.error is not None else []), *run.unhandled):
            values = {name: getattr(error, name) for name in HandlerError.__struct_fields__}
            yield TracedError(
                **values,
                worker=run.worker,
                handler=run.handler,
                seq=seq,
                is_unhandled=error is not run.error,
            )

    @property
    def warnings(self) -> list[HandlerWarning]:
        """Mistakes that were noticed in it, each with its place and the way out."""
        return list(self._invocation.warnings)

    @property
    def took(self) -> str:
        """How long it took, as text."""
        return "..." if self.duration is None else f"{self.duration * 1000:.1f} ms"

    @property
    def logs(self) -> list[LogLine]:
        """The lines that it printed and logged, as far as the log still has them."""
        return self._invocation.logs

    @property
    def lines_lost(self) -> int:
        """How many lines it wrote beside `logs` that are not kept any more."""
        noted = self._invocation.lines_noted
        return max(0, noted - len(self._invocation.logs))

    @property
    def state_changes(self) -> list[str]:
        """What it has changed in its worker's state, such as `count 1 -> 2`; empty where nobody looked."""
        return list(self._invocation.state_changes)

    @property
    def generation(self) -> int:
        """The generation of the worker's handlers that it ran."""
        return self._invocation.generation

    @property
    def events(self) -> list[Trace]:
        """The events that it published, each as a trace of its own."""
        return [
            Trace(event, self._history) for event in self._invocation.published if event.seq > self._above
        ]

    def folded_events(self) -> tuple[list[Trace], int]:
        """Return the events to show, and the number of `turn.event`s that are left out."""
        events = self.events
        shown = [below for below in events if below._event.kind != STREAMED or below.invocations]
        return shown, len(events) - len(shown)


def debug_command(event: EventEnvelope) -> str:
    """Return the line that opens the frame of a handler which failed for an event, in a kernel."""
    return f"%debug #{event.seq}"


class Trace:
    """An event and everything that it has caused so far; `fire` returns one.

    It is a view: while handlers run on, it shows more. Printed, it is a tree.

    Attributes:
        timed_out: whether something still ran when the time to wait was up.
        not_listening: the workers that were still starting when it was fired; they may get the event later.
        replayed: the recorded event that it repeats; None for a new one.
        notes: what else is to be said of it, below its event.

    Examples:
        >>> @worker.on_event("demo.greeted")
        ... async def on_greeted(event, client):
        ...     await client.publish("demo.answered", {"to": event.payload["name"]})
        >>> managed = await runtime.add(worker)
        >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
        >>> print(trace)
        demo.greeted  #2
          + notebook:bridge.on_greeted  ok  ... ms
            > demo.answered  #3
    """

    def __init__(self, event: EventEnvelope, history: History) -> None:
        self._event = event
        self._own: EventEnvelope | None = None
        self.timed_out = False
        self.not_listening: tuple[str, ...] = ()
        """The workers that were still starting when it was fired; they may get the event later."""
        self.replayed: EventEnvelope | None = None
        self.notes: tuple[str, ...] = ()
        """What else is to be said of it, below its event."""
        self._history = history

    @property
    def event(self) -> EventEnvelope:
        """The event; a note in place of its payload, where the history has dropped that since."""
        if self._own is None:
            self._own = own(self._event)  # parsed once, for whoever holds this trace
        return self._own

    @property
    def has_payload(self) -> bool:
        """Whether the event still has the payload that was published."""
        return has_payload(self._event)

    @property
    def is_kept(self) -> bool:
        """Whether the history still has the event, or its runs; else nobody knows what it caused."""
        history, event_id = self._history, self._event.event_id
        return history.dropped.events == 0 or bool(history.peek(event_id) or history.invocations_of(event_id))

    @property
    def runs_lost(self) -> int:
        """How many runs this event caused beside `invocations` that are not kept any more."""
        return self._history.runs_lost(self._event.event_id).runs

    @property
    def invocations(self) -> list[TracedInvocation]:
        """The runs of handlers that this event caused, in the order in which they began.

        Each has `worker`, `handler`, `outcome` (`running`, `ok`, `warning`, `error` or `cancelled`),
        `duration` (seconds), `error`, `logs` and `events` (a trace for each event that it published).
        """
        found = self._history.invocations_of(self._event.event_id)
        return [TracedInvocation(i, self._history, self._event.seq) for i in found]

    def events(self) -> list[EventEnvelope]:
        """Return every event of the trace, depth first, its own event included.

        Returns:
            A list of `EventEnvelope`.

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> [event.kind for event in trace.events()]
            ['demo.greeted']
        """
        return [trace.event for trace, _ in self._steps()]

    @property
    def is_under_way(self) -> bool:
        """Whether something that the event caused is queued or running."""
        return not self._history.is_quiet(self._event.event_id)

    @property
    def losses(self) -> tuple[str, ...]:
        """Which worker processes have not got this event, and why."""
        return self._history.losses_of(self._event.event_id)

    @property
    def storm(self) -> str | None:
        """The storm that this event has begun, in words."""
        return self._history.storm_of(self._event.event_id)

    @property
    def held(self) -> str | None:
        """What delivers this event, where it is held back from workers as part of a storm."""
        return self._history.held(self._event.event_id)

    @property
    def ok(self) -> bool:
        """Whether every run ended well, those not kept any more among them, and every worker got its events.

        While something is queued or running, it is not ok yet.
        """
        return self.outcome == "ok"

    @property
    def outcome(self) -> Literal["ok", "not ok", "under way"]:
        """How it went: `ok`, `not ok` as soon as something failed, or `under way`."""
        is_good = True
        for trace, runs in self._steps():
            if trace.losses or trace.held or any(True for run in runs for _ in run.errors()):
                return "not ok"
            ended_well = all(run.outcome == "ok" and not run.unhandled for run in runs)
            is_good = (
                is_good
                and ended_well
                and trace.is_kept
                and not trace._history.runs_lost(trace._event.event_id).failed
            )
        if self.is_under_way:
            return "under way"
        return "ok" if is_good else "not ok"

    @property
    def errors(self) -> list[TracedError]:
        """The errors of handlers, and of tasks that they started, anywhere in the trace.

        Each has `type`, `message`, `worker`, `handler` and `seq` (the number of its event).
        """
        return [error for run in self.iter_runs() for error in run.errors()]

    def runs(self) -> list[TracedInvocation]:
        """Return every run of the trace, those that the events below caused among them.

        Returns:
            A list of runs, as `invocations` has them.

        Examples:
            >>> managed = await runtime.add(worker)
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> trace.runs()
            []
        """
        return [*self.iter_runs()]

    def iter_runs(self) -> Iterator[TracedInvocation]:
        """Go through the runs of the trace, one event after the other.

        Yields:
            Each run, as `invocations` has them.

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> [run.label for run in trace.iter_runs()]
            []
        """
        for _, runs in self._steps():
            yield from runs

    @property
    def history(self) -> History:
        """The history that it is a view of."""
        return self._history

    def _steps(self) -> Iterator[tuple[Trace, list[TracedInvocation]]]:
        """Go through the events of the trace, depth first, each with its runs."""
        waiting = [self]  # not by recursion: a chain may be of any length
        while waiting:
            trace = waiting.pop()
            runs = trace.invocations
            yield trace, runs
            waiting += [below for run in runs for below in run.events][::-1]

    def spans(self, limit: int = 2_000) -> list[Span]:
        """Return the tree as rows with times in milliseconds after its event.

        Args:
            limit: of rows; the first ones are returned.

        Returns:
            A list of `Span`, each with `type`, `depth`, `kind`, `worker`, `handler`, `outcome`, and `started`
            and `ended` (milliseconds after the event; `ended` is None while it runs).

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> len(trace.spans())
            1
        """
        return spans_of(self._event, self._history, limit)

    def mermaid(self) -> str:
        """Return it as a sequence diagram in Mermaid's language, with the workers as lifelines.

        Returns:
            Text that begins with `sequenceDiagram`.

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> trace.mermaid().splitlines()[0]
            'sequenceDiagram'
        """
        return mermaid(self.spans(), source_name(self._event, self._history))

    def __repr__(self) -> str:
        return f"<Trace {self._event.kind} #{self._event.seq}: {self.outcome}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def rows(self, limit: int | None = None) -> list[Row]:
        """Return the tree as rows, depth first, with a waterfall's bars.

        Args:
            limit: of rows; the first ones are returned. None for all.

        Returns:
            A list of `Row`, each with `depth`, `category`, `text` and `bar` (its begin and end, from 0 to 1).

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> trace.rows()[0].text
            'demo.greeted  #1'
        """
        runs = [i for _, some in islice(self._steps(), limit) for i in some]
        start = min((i.started_at for i in runs), default=0.0)
        span = max((i.ended_at for i in runs), default=0.0) - start
        return list(islice(self._rows(0, start, span if len(runs) > 1 else 0.0), limit))

    def _rows(self, depth: int, start: float, span: float) -> Iterator[Row]:
        event = self._event
        scope = f"  session {event.session_id}" if event.session_id else ""
        again = f"  (again, as #{self.replayed.seq})" if self.replayed is not None else ""
        said = f"  {says}" if (says := said_by(event)) else ""
        yield Row(depth, "event", f"{event.kind}  #{event.seq}{scope}{again}{said}")
        yield from (Row(depth + 1, "error", text, "error") for text in self._storm_notes())
        if depth > 2 * LEVELS_SHOWN:
            yield Row(depth + 1, "note", f"(what it caused is {LEVELS_SHOWN} levels down, and not shown)")
            return
        for loss in self.losses:
            yield Row(depth + 1, "error", loss, "error")
        for remark in self.remarks(is_root=depth == 0):
            yield Row(depth + 1, "note", remark)
        for run in self.invocations:
            said = f"  {conversation(run.invocation)}" if run.invocation.cause == "turn" else ""
            where = f" on {run.node}" if run.node is not None else ""
            text = f"{run.label}{where}  {run.outcome}  {run.took}{said}".rstrip()
            bar = ((run.started_at - start) / span, (run.ended_at - start) / span) if span else None
            yield Row(depth + 1, "invocation", text, run.outcome, bar=bar)
            if run.lines_lost:
                yield Row(depth + 2, "note", f"({run.lines_lost:,} earlier lines are not kept any more)")
            for line in run.logs:
                yield Row(depth + 2, "log", line.text, line=line)
            yield from (Row(depth + 2, "note", note) for note in run.invocation.notes)
            if run.state_changes:
                yield Row(depth + 2, "note", f"state: {_listed(run.state_changes)}")
            for error in run.errors():
                yield from _error_rows(error, depth + 2)
            for warning in run.warnings:
                yield Row(depth + 2, "warning", f"x {warning}", "warning")
            if run.exception is not None:
                yield Row(depth + 2, "note", f"{debug_command(event)} opens the frame that raised")
            shown, folded = run.folded_events()
            for below in shown:
                yield from below._rows(depth + 2, start, span)
            if folded:
                yield Row(depth + 2, "event", f"{STREAMED}  x{folded}")

    def remarks(self, *, is_root: bool = True) -> Iterator[str]:
        """Go through what is to be said of the event itself: how far it is, and who has not got it.

        Args:
            is_root: whether the event stands at the top of what is shown.

        Yields:
            Texts, one line each.

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> [*trace.remarks()]
            []
        """
        if self.timed_out:
            yield "(still running when the time was up)"
        elif is_root and self.is_under_way:
            yield "(under way: this is how far it is)"
        if (agent := self._history.causes.agent(self._event.event_id)) is not None:
            yield f"(fired by agent {agent})"
        yield from (
            f"({note})" for note in (*self.notes, *self._history.next_tries.texts(self._event.event_id))
        )
        yield from self._what_is_lost()
        for name in self.not_listening:
            yield f"({name} was still starting; it may get this when it listens)"

    def _storm_notes(self) -> Iterator[str]:
        """Say what storm the event has begun, or that it is held as part of one."""
        if (way_out := self.held) is not None:
            yield f"held as part of an event storm, and not delivered: {way_out}"
        if (storm := self.storm) is None:
            return
        yield storm
        if ways := self._history.held_below(self._event.event_id):
            count = f"{len(ways):,} of its events {'are' if len(ways) > 1 else 'is'}"
            yield f"{count} held, and not delivered: {ways[0]}"

    def _what_is_lost(self) -> Iterator[str]:
        """Say what the history has dropped of this event since."""
        if not self.is_kept:
            yield (
                f"(not kept any more, nor the runs that it caused: the history has the newest "
                f"{self._history.kept:,} events)"
            )
            return
        if not self.has_payload:
            yield "(its payload is not kept any more)"
        runs, failed = self._history.runs_lost(self._event.event_id)
        if runs:
            bad = f", {failed:,} of which did not end well" if failed else ""
            yield f"({runs:,} of its runs are not kept any more{bad})"

    def lines(self, limit: int | None = None, paint: Paint = as_it_is) -> list[str]:
        """Return the tree as lines of text, as `print` shows it.

        Args:
            limit: of rows; the first ones are returned. None for all.
            paint: colours each line: a function of a row and its text.

        Returns:
            A list of texts.

        Examples:
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> trace.lines()[0]
            'demo.greeted  #1'
        """
        rows = self.rows(None if limit is None else limit + 1)
        shown = lines_of(rows[:limit], paint)
        more = limit is not None and len(rows) > limit
        return (
            [*shown, f"(only the first {limit:,} rows are shown; print the trace for all)"] if more else shown
        )

    def __rich__(self) -> object:
        """Return it as rich shows it: in colours."""
        return rich_text(self.lines(paint=in_colours))


def _error_rows(error: TracedError, depth: int) -> Iterator[Row]:
    """Yield the lines of an error; values of variables are rows of their own kind, shown when wanted."""
    if error.is_unhandled:
        yield Row(depth, "error", "what it started, and nobody awaited, failed:")
    for line in error.entries(detail()):
        category: Literal["value", "error"] = "value" if line.category == "value" else "error"
        yield Row(depth + line.depth, category, line.text)
