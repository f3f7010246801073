"""`Recorder`: notes on the loop what is to be sent; all else happens on a thread.

It is called for every event, at its publication and at the begin and end of each invocation. What is not
sampled costs a look into a dict.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from dnworker.core.envelope import EventEnvelope, bytes_of_payload, is_noise, payload_json
from dnworker.core.invocation import Invocation, current_invocation, published_elsewhere, published_with
from dnworker.core.logs import LogLine
from dnworker.core.span_contexts import Context, read_parent, running, sending, trace_of
from dnworker.telemetry.records import Line, Piece, Queue, Ran, Sent
from dnworker.telemetry.sampler import Sampler
from dnworker.workers.nesting import is_used

EVENTS_KNOWN = 50_000
"""Events that are sent, and which are remembered: workers may get to them later."""

ENDED_KNOWN = 2_000
"""Ended invocations that are remembered: tasks that they have started may still publish."""

PIECE_BYTES = 65_536
"""Bytes of an event of a turn over which it is not looked at."""

LINE_CHARACTERS = 8_192
"""Characters of a line of log that are sent."""

_NO_MESSAGES = frozenset(("turn.event", "transport.heartbeat"))
"""Kinds of which no span is made: there are hundreds of a turn."""

_TEXT_OF_TURN = b'"generationcontent"'


class Recorder:
    """Notes what is sampled.

    Args:
        sampler: decides where a trace begins.
        spans: takes records of spans.
        lines: takes records of lines.
    """

    def __init__(self, sampler: Sampler, spans: Queue, lines: Queue) -> None:
        self._sampler, self._spans, self._lines = sampler, spans, lines
        # What is sent: events by id, the newest last, and invocations with the trace that each belongs to.
        self._events: dict[str, Context] = {}
        self._order: deque[str] = deque()
        self._running: dict[Invocation, Ran] = {}
        self._ended: dict[Invocation, Ran] = {}
        self._turns: dict[str, None] = {}
        self.nest: Callable[[], object] | None = None
        """Has handlers run within their span; called once, as soon as code of users may have spans."""

    # -- events ----------------------------------------------------------------------------------------

    def note_event(self, envelope: EventEnvelope) -> None:
        """Note an event as it is published, in the context of its publisher."""
        invocation = current_invocation.get()
        ran = None
        if invocation is None:
            if self._sampler.is_used_up():
                return
        elif (ran := self._running.get(invocation) or self._ended.get(invocation)) is None:
            return
        if envelope.kind in _NO_MESSAGES or is_noise(envelope.kind):
            if self._turns and envelope.kind == "turn.event":
                self._note_piece(envelope)
            return
        if ran is None or invocation is None:
            if (outside := published_with.get()) is not None or published_elsewhere.get():
                self._note_from_outside(envelope, outside or "", is_here=not published_elsewhere.get())
                return
            trace_id = trace_of(envelope.event_id)
            if self._sampler.begins(trace_id):
                self._note_sent(envelope, trace_id, None, None)
        else:
            self._note_from_handler(envelope, invocation, ran)

    def _note_from_handler(self, envelope: EventEnvelope, invocation: Invocation, ran: Ran) -> None:
        span_id = running(invocation.id)
        if invocation.cause == "task":  # it may run for months: what it publishes begins a trace
            trace_id = trace_of(envelope.event_id)
            if self._sampler.begins(trace_id):
                self._note_sent(envelope, trace_id, None, Context(ran.trace_id, span_id))
        elif self._sampler.goes_on():
            self._note_sent(envelope, ran.trace_id, span_id, None)

    def _note_from_outside(self, envelope: EventEnvelope, traceparent: str, *, is_here: bool) -> None:
        """Go on with a trace that began in another program, or on another node, which sends the span."""
        found = read_parent(traceparent)
        trace_id = trace_of(envelope.event_id) if found is None else found[0].trace_id
        if not is_here:  # a node says that all is sampled: the share of traces decides here as it does there
            if self._sampler.begins(trace_id):
                self._remember(envelope.event_id, Context(trace_id, sending(envelope.event_id)))
        elif self._sampler.begins(trace_id, None if found is None else found[1]):
            self._note_sent(envelope, trace_id, None if found is None else found[0].span_id, None)

    def _note_sent(
        self, envelope: EventEnvelope, trace_id: str, parent: str | None, link: Context | None
    ) -> None:
        event_id = envelope.event_id
        context = Context(trace_id, sending(event_id))
        self._remember(event_id, context)
        size, at = bytes_of_payload(envelope), time.monotonic_ns()
        self._spans.append(
            Sent(envelope.kind, event_id, envelope.seq, envelope.session_id, context, parent, link, size, at)
        )

    def _remember(self, event_id: str, context: Context) -> None:
        self._events[event_id] = context
        self._order.append(event_id)
        if len(self._order) > EVENTS_KNOWN:
            self._events.pop(self._order.popleft(), None)

    def _note_piece(self, envelope: EventEnvelope) -> None:
        """Note what a turn does, pieces of its text aside."""
        turn_id = envelope.turn_id
        if turn_id not in self._turns or turn_id is None or bytes_of_payload(envelope) > PIECE_BYTES:
            return
        payload = payload_json(envelope)
        if _TEXT_OF_TURN not in payload[:200]:
            self._spans.append(Piece(turn_id, payload, time.monotonic_ns()))

    # -- invocations -----------------------------------------------------------------------------------

    def note_invocation(self, invocation: Invocation) -> None:
        """Note the begin or the end of an invocation."""
        if invocation.outcome != "running":
            if (ran := self._running.pop(invocation, None)) is not None:
                self._note_ended(invocation, ran)
            return
        event = invocation.event
        if event is not None:
            context = self._events.get(event.event_id)
            if context is None or not self._sampler.goes_on():
                return
            self._note_begun(invocation, Ran(invocation, context.trace_id, context))
            if invocation.cause == "turn" and event.turn_id is not None:
                self._turns[event.turn_id] = None
        elif not invocation.muted:
            trace_id = trace_of(invocation.id * 2)
            if self._sampler.begins(trace_id):
                self._note_begun(invocation, Ran(invocation, trace_id, None))

    def _note_begun(self, invocation: Invocation, ran: Ran) -> None:
        self._running[invocation] = ran
        if self.nest is not None and is_used():
            nest, self.nest = self.nest, None
            nest()

    def _note_ended(self, invocation: Invocation, ran: Ran) -> None:
        self._spans.append(ran)
        self._ended[invocation] = ran
        if len(self._ended) > ENDED_KNOWN:
            del self._ended[next(iter(self._ended))]
        if invocation.cause == "turn" and invocation.event is not None:
            self._turns.pop(invocation.event.turn_id or "", None)

    def context_of(self, invocation: Invocation) -> tuple[Context, bool]:
        """Return the span of an invocation, and whether it is sent."""
        if (ran := self._running.get(invocation)) is not None:
            return Context(ran.trace_id, running(invocation.id)), True
        return Context(trace_of(invocation.trace_id), running(invocation.id)), False

    def traceparent_of(self, event: EventEnvelope) -> str:
        """Return the `traceparent` of an event, for worker processes."""
        if (context := self._events.get(event.event_id)) is not None:
            return f"00-{context.trace_id}-{context.span_id}-01"
        return f"00-{trace_of(event.event_id)}-{sending(event.event_id)}-00"

    # -- lines -----------------------------------------------------------------------------------------

    def note_line(self, line: LogLine) -> None:
        """Note a line of a worker's log, on whichever thread it is written."""
        trace_id = span_id = None
        is_sampled = False
        if line.event_id is not None:
            context = self._events.get(line.event_id)
            is_sampled = context is not None
            trace_id = trace_of(line.event_id) if context is None else context.trace_id
        elif line.invocation_id is not None:
            trace_id = trace_of(line.invocation_id * 2)
        if line.invocation_id is not None:
            span_id = running(line.invocation_id)
        self._lines.append(Line(line, line.text[:LINE_CHARACTERS], trace_id, span_id, is_sampled))

    def forget(self) -> None:
        """Forget all that was noted."""
        self._events.clear()
        self._order.clear()
        self._running.clear()
        self._ended.clear()
        self._turns.clear()
