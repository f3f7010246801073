"""`SpanMaker`: spans as protobuf, of what the recorder has noted; used on the thread that sends."""

from __future__ import annotations

import time

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dnworker.core.handler_error import HandlerError
from dnworker.core.invocation import Invocation
from dnworker.core.span_contexts import Context, running
from dnworker.telemetry.attributes import SYSTEM, Value, pairs
from dnworker.telemetry.masking import masked
from dnworker.telemetry.records import Piece, Ran, Sent
from dnworker.telemetry.turns import TurnSpans

_FLAGS = 0x01 | 0x100  # sampled; and whether the parent is remote is known: it is not
_BILLION = 1_000_000_000


class Times:
    """Nanoseconds since 1970 of those of the machine's clock, by one difference, so that order holds."""

    def __init__(self) -> None:
        self._ahead = time.time_ns() - time.monotonic_ns()

    def of(self, monotonic_ns: int) -> int:
        """Return when it was."""
        return monotonic_ns + self._ahead

    def look(self) -> None:
        """Take the time of day anew, where somebody has set the clock since."""
        ahead = time.time_ns() - time.monotonic_ns()
        if abs(ahead - self._ahead) > _BILLION:
            self._ahead = ahead


class SpanMaker:
    """Makes spans of records, in the order of these."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._turns = TurnSpans(times.of)

    @property
    def dropped(self) -> int:
        """How many pieces of turns there was no room for; their spans are not made."""
        return self._turns.dropped

    def spans(self, record: Sent | Ran | Piece) -> list[Span]:
        """Return the spans that a record makes: none, one, or those of a turn."""
        if isinstance(record, Sent):
            return [self._sent(record)]
        if isinstance(record, Piece):
            self._turns.note(record)
            return []
        if record.invocation.cause == "turn":
            span = self._ran(record)
            return [span, *self._turns.finish(record, span)]
        return [self._ran(record)]

    def _sent(self, sent: Sent) -> Span:
        at = self._times.of(sent.at)
        span = Span(
            trace_id=bytes.fromhex(sent.context.trace_id),
            span_id=bytes.fromhex(sent.context.span_id),
            name=f"send {sent.kind}",
            kind=Span.SPAN_KIND_PRODUCER,
            start_time_unix_nano=at,
            end_time_unix_nano=at,
            flags=_FLAGS,
            attributes=pairs(
                {
                    **_message("send", "send", sent.kind, sent.event_id, sent.session_id),
                    "messaging.message.body.size": sent.size or None,
                    "dnworker.event.seq": sent.seq or None,
                }
            ),
        )
        if sent.parent is not None:
            span.parent_span_id = bytes.fromhex(sent.parent)
        if sent.link is not None:
            _link(span, sent.link)
        return span

    def _ran(self, ran: Ran) -> Span:
        invocation = ran.invocation
        started = self._times.of(int(invocation.started_at * _BILLION))
        seconds = (invocation.duration or 0.0) + invocation.stopped_for
        span = Span(
            trace_id=bytes.fromhex(ran.trace_id),
            span_id=bytes.fromhex(running(invocation.id)),
            name=_name(invocation),
            kind=Span.SPAN_KIND_CONSUMER if invocation.cause == "event" else Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=started,
            end_time_unix_nano=started + max(0, int(seconds * _BILLION)),
            flags=_FLAGS,
            attributes=pairs(_of_run(invocation)),
        )
        if ran.parent is not None:
            span.parent_span_id = bytes.fromhex(ran.parent.span_id)
            _link(span, ran.parent)
        _note_outcome(span, invocation)
        return span


def _name(invocation: Invocation) -> str:
    event = invocation.event
    if invocation.cause == "event" and event is not None:
        return f"process {event.kind}"
    if invocation.cause == "turn":
        return f"invoke_agent {invocation.worker.removeprefix('agent ')}"
    return f"{invocation.cause} {invocation.label}"


def _message(name: str, operation: str, kind: str, event_id: str, session_id: str | None) -> dict[str, Value]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": operation,
        "messaging.destination.name": kind,
        "messaging.message.id": event_id,
        "messaging.message.conversation_id": session_id,
    }


def _of_run(invocation: Invocation) -> dict[str, Value]:
    event, found = invocation.event, dict[str, Value]()
    if invocation.cause == "event" and event is not None:
        found = _message("process", "process", event.kind, event.event_id, event.session_id)
        found["messaging.consumer.group.name"] = invocation.worker
    if invocation.cause != "turn":
        found |= {
            "code.function.name": invocation.handler,
            "dnworker.worker": invocation.worker,
            "dnworker.generation": invocation.generation,
        }
    found["dnworker.cause"] = invocation.cause
    found["dnworker.outcome"] = invocation.outcome
    found["dnworker.node"] = invocation.node
    if invocation.delivery > 1:
        found["dnworker.delivery"] = invocation.delivery
    if invocation.key is not None and invocation.cause == "schedule":
        found["dnworker.schedule"] = invocation.key.trigger
    if invocation.error is not None:
        found["error.type"] = invocation.error.type
        if invocation.error.frames:
            path, _, line = invocation.error.frames[-1].place.rpartition(", line ")
            found["code.file.path"] = path or invocation.error.frames[-1].place
            found["code.line.number"] = int(line) if path and line.isdecimal() and len(line) < 10 else None
    elif invocation.outcome == "cancelled":
        found["error.type"] = "cancelled"
    return found


def _note_outcome(span: Span, invocation: Invocation) -> None:
    """Note errors: what it has raised, and those of tasks that nobody awaited."""
    for error in invocation.unhandled[:10]:
        _note_error(span, error)
    if invocation.error is not None:
        _note_error(span, invocation.error)
    last = invocation.error or (invocation.unhandled[-1] if invocation.unhandled else None)
    if last is not None or invocation.outcome == "error":
        text = "" if last is None else masked(last.text)
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=text[:1000]))


def _note_error(span: Span, error: HandlerError) -> None:
    values: dict[str, Value] = {
        "exception.type": error.type,
        "exception.message": masked(error.message),
    }
    if error.frames:
        values["exception.stacktrace"] = masked("\n".join(frame.place for frame in error.frames))
    event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
    event.attributes.extend(pairs(values))


def _link(span: Span, to: Context) -> None:
    span.links.add(trace_id=bytes.fromhex(to.trace_id), span_id=bytes.fromhex(to.span_id), flags=_FLAGS)
