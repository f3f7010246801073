"""Spans that users' own code makes: they nest in the invocation that makes them, and are sent with ours.

Nothing of OpenTelemetry is imported here before a handler's code has imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dnworker.core.invocation import Invocation
from dnworker.core.span_contexts import Context
from dnworker.workers.nesting import nested

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

    from dnworker.workers.around import Around, Handler

Take = Callable[[Any], None]

_takers: list[Take] = []
"""What takes ended spans of users; that of the runtime that began last."""

_provider: Any = None
"""Ours, once it is that of the process: it can be set once only."""


def encode_spans(spans: Sequence[Any]) -> Sequence[ResourceSpans]:
    """Return spans of the SDK as protobuf."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    found: Sequence[ResourceSpans] = encode_spans(spans).resource_spans
    return found


class Nesting:
    """Puts the span of an invocation around what its handler does.

    Args:
        context_of: returns the span of an invocation, and whether it is sent.
        take: takes ended spans; called on any thread.
        ratio: the share of users' own traces that are sent.
    """

    def __init__(
        self, context_of: Callable[[Invocation], tuple[Context, bool]], take: Take, ratio: float
    ) -> None:
        self._context_of, self._take, self._ratio = context_of, take, ratio
        _takers.append(take)

    def open(self, around: Around) -> Callable[[], None]:
        """Put spans around handlers from now on; returns the function that ends it."""
        ensure_provider(self._ratio)
        return around.add(self.wrap)

    def close(self) -> None:
        """Take no more spans."""
        if self._take in _takers:
            _takers.remove(self._take)

    def wrap(self, invocation: Invocation, handler: Handler) -> Handler:
        """Return what runs a handler within its span; every event pays for it."""
        span, is_sampled = self._context_of(invocation)
        return nested(handler, span, is_sampled=is_sampled)


def ensure_provider(ratio: float) -> None:
    """Have the process send users' spans by us, unless its own code has a provider."""
    global _provider
    if _provider is not None:
        return
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        _provider = trace.get_tracer_provider()
        return
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    class Ended(SpanProcessor):
        """Hands over spans that have ended."""

        def on_end(self, span: Any) -> None:
            if span.context.trace_flags.sampled:
                for take in _takers[-1:]:  # a copy: another thread may end the last one meanwhile
                    take(span)

    _provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)
    _provider.add_span_processor(Ended())
    trace.set_tracer_provider(_provider)
