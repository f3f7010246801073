"""What spans of users' own code nest in: that of the handler which makes them; here and in worker processes.

Nothing of OpenTelemetry is imported here before a handler's code has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.client.event_stream import TRACES_VARIABLE
from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Invocation
from dnworker.workers.around import Around, Handler

if TYPE_CHECKING:
    from dnworker.core.span_contexts import Context


class Traces(msgspec.Struct):
    """What worker processes are told of traces that are sent; nothing while telemetry is off."""

    of_event: Callable[[EventEnvelope], str] | None = None
    """Returns the `traceparent` of an event: the span that sends it, and whether that is sampled."""
    ratio: float | None = None
    """The share of traces that are sent."""

    def variables(self) -> dict[str, str]:
        """Return what the environment of a worker process says of it."""
        return {} if self.ratio is None else {TRACES_VARIABLE: f"{self.ratio:g}"}


def is_used() -> bool:
    """Return whether code of this process has imported OpenTelemetry's API for traces."""
    return "opentelemetry.trace" in sys.modules


def nested(handler: Handler, span: Context, *, is_sampled: bool) -> Handler:
    """Return what runs a handler within a span that others send; every event pays for it."""
    from opentelemetry import context, trace

    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if is_sampled else trace.TraceFlags.DEFAULT)
    ids = int(span.trace_id, 16), int(span.span_id, 16)
    here = trace.NonRecordingSpan(trace.SpanContext(*ids, is_remote=False, trace_flags=flags))

    async def run(*args: Any) -> Any:
        token = context.attach(trace.set_span_in_context(here))
        try:
            return await handler(*args)
        finally:
            context.detach(token)

    return run


def is_in_share(trace_id: str, ratio: float) -> bool:
    """Return whether a trace is among the share of those that are sent, as any program decides it."""
    return ratio >= 1 or int(trace_id[16:], 16) < int(ratio * (1 << 64))


def around_of_process(environ: Mapping[str, str]) -> Around:
    """Return what is put around the handlers of a worker process; nothing where no traces are sent."""
    around = Around()
    try:
        ratio = float(environ.get(TRACES_VARIABLE, ""))
    except ValueError:  # there is none
        return around
    if not 0 <= ratio <= 1:
        return around

    def wrap(invocation: Invocation, handler: Handler) -> Handler:
        if not is_used():
            return handler
        span, is_sampled = _span_here(invocation, ratio)
        return nested(handler, span, is_sampled=is_sampled)

    around.add(wrap)
    return around


def _span_here(invocation: Invocation, ratio: float) -> tuple[Context, bool]:
    """Return the span of an invocation of this process, as its runtime makes it of the report."""
    from dnworker.core.span_contexts import Context, read_parent, running, trace_of  # only with telemetry

    span_id, event = running(invocation.id), invocation.event
    if invocation.parent is not None and (read := read_parent(invocation.parent)) is not None:
        return Context(read[0].trace_id, span_id), read[1]
    if event is not None:  # of which the runtime has said nothing: it sends no span of it
        return Context(trace_of(event.event_id), span_id), False
    trace_id = trace_of(invocation.id * 2)
    return Context(trace_id, span_id), is_in_share(trace_id, ratio)
