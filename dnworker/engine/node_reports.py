"""The format of what nodes tell each other of their invocations; `reporter.py` writes it.

A `Batch` is one message of the broker's log of reports, in MessagePack. What a later version adds goes to the
end of a struct: an earlier one leaves it aside.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec.structs import replace

from dnworker.core.envelope import EventEnvelope, without_payload
from dnworker.core.handler_error import HandlerError, bytes_of_error
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import WARNINGS_KEPT, Cause, HandlerWarning, Invocation, Outcome
from dnworker.core.text import clip

LINES_TOLD, LINE_TOLD, OUTPUT_TOLD = 50, 400, 4_000
"""Lines of an invocation's output that others are told, characters of each, and of all."""

ERROR_BYTES = 4_000
"""Bytes of an error that others are told, about: values of variables go first, then frames."""

TEXTS_TOLD = 20
"""Changes of a state, and unhandled errors, of one invocation."""

COMING_TOLD = 1_000
"""Events of one invocation that are not accepted yet."""

LONGEST_SECONDS = 1e9
"""An age or a duration that may be told."""

FRAMES_TOLD, MESSAGE_TOLD = 5, 1_000
NAME_TOLD = 200


class EventRef(msgspec.Struct, array_like=True):
    """What names an event that another node may not keep."""

    id: str
    kind: str
    seq: int
    session_id: str | None = None
    turn_id: str | None = None


class Began(msgspec.Struct, array_like=True, tag="b"):
    """An invocation has begun, `age` seconds before its report was written."""

    id: str
    worker: str
    handler: str
    cause: Cause
    age: float
    key: HandlerKey | None = None
    event: EventRef | None = None
    generation: int = 1
    delivery: int = 1


class Ended(msgspec.Struct, array_like=True, tag="e"):
    """It has ended; `coming` are events that it has published and that are not accepted yet."""

    id: str
    handler: str
    outcome: Outcome
    duration: float
    error: HandlerError | None = None
    unhandled: list[HandlerError] = []
    warnings: list[HandlerWarning] = []
    lines: list[tuple[str, str, str]] = []
    """Source, level and text of the newest ones."""
    lines_noted: int = 0
    changes: list[str] = []
    coming: list[str] = []


class Published(msgspec.Struct, array_like=True, tag="p"):
    """An event of an invocation is accepted."""

    id: str
    event_id: str


class Unhandled(msgspec.Struct, array_like=True, tag="u"):
    """Something that an invocation started has failed, maybe after its end."""

    id: str
    error: HandlerError


class Lost(msgspec.Struct, array_like=True, tag="l"):
    """A worker does not get an event, and why."""

    event_id: str
    text: str


Report = Began | Ended | Published | Unhandled | Lost


class Batch(msgspec.Struct, array_like=True):
    """What happened on a node since its last batch, in order, and how it stands afterwards."""

    version: int
    node: str
    instance: str
    """The id of its runtime's run: one that is started again has another."""
    number: int
    """Rises by one a batch: a gap means that some were lost."""
    sent: float
    """When it was written, in seconds since 1970."""
    at: int
    """The newest event that it has seen: none of the reports is of a later one."""
    is_whole: bool
    """Whether all that happened by then is reported, so that the rest says how it stands."""
    reports: list[msgspec.Raw]
    queued: list[str] = []
    """The events that wait for its workers since."""
    taken: list[str] = []
    """Those that do so no more: the invocations that they cause have begun."""
    listens: dict[str, list[str] | None] | None = None
    """Which kinds its workers listen to, where that may have changed; None in it for every kind."""
    running: list[str] | None = None
    """The ids of all invocations that run, now and then: others that began have ended."""
    dropped: int = 0
    """How many reports before these are lost, as there were too many."""
    asks: bool = False
    """Whether it is new, and asks all others how they stand."""
    leaves: bool = False
    """Whether it ends with this."""
    all_queued: list[str] | None = None
    """All events that wait for its workers, now and then: a batch that tells of a change may be lost."""


VERSION = 1

_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(Batch)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(one: Batch | Report) -> bytes:
    """Return a batch, or a report as a batch has it."""
    return _encoder.encode(one)


def read_batch(data: bytes) -> Batch:
    """Return a batch.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: it is none.
    """
    batch = _batches.decode(data)
    if not math.isfinite(batch.sent) or min(batch.at, batch.number, batch.dropped) < 0:
        raise msgspec.ValidationError("its numbers are out of bounds")
    return batch


def read_report(data: msgspec.Raw) -> Report:
    """Return a report of a batch; raises as `read_batch` does."""
    report = _reports.decode(data)
    seconds = (
        report.age if isinstance(report, Began) else report.duration if isinstance(report, Ended) else 0.0
    )
    if not 0 <= seconds <= LONGEST_SECONDS:  # not true of what is no number, either
        raise msgspec.ValidationError(f"{seconds:g} seconds are out of bounds")
    return report


def ref_of(event: EventEnvelope | None) -> EventRef | None:
    """Return what names an event."""
    if event is None:
        return None
    return EventRef(event.event_id, event.kind, event.seq, event.session_id, event.turn_id)


def stand_in(ref: EventRef) -> EventEnvelope:
    """Return an event that is named and that nobody here keeps."""
    made = EventEnvelope(
        seq=ref.seq,
        kind=clip(ref.kind, NAME_TOLD),
        session_id=ref.session_id,
        turn_id=ref.turn_id,
        event_id=ref.id,
    )
    return without_payload(made)


def began(invocation: Invocation, now: float) -> Began:
    """Return the report that an invocation has begun; `now` by the machine's monotonic clock."""
    return Began(
        id=invocation.id,
        worker=invocation.worker,
        handler=invocation.handler,
        cause=invocation.cause,
        age=max(0.0, now - invocation.started_at),
        key=invocation.key,
        event=ref_of(invocation.event),
        generation=invocation.generation,
        delivery=invocation.delivery,
    )


def ended(invocation: Invocation, coming: list[str]) -> Ended:
    """Return the report that an invocation has ended."""
    return Ended(
        id=invocation.id,
        handler=invocation.handler,
        outcome=invocation.outcome,
        duration=max(0.0, invocation.duration or 0.0),
        error=None if invocation.error is None else bounded(invocation.error),
        unhandled=[bounded(one) for one in invocation.unhandled[-TEXTS_TOLD:]],
        warnings=[_bounded_warning(one) for one in invocation.warnings],
        lines=[] if not invocation.lines_noted else _lines(invocation),
        lines_noted=invocation.lines_noted,
        changes=[clip(text, LINE_TOLD) for text in invocation.state_changes[:TEXTS_TOLD]],
        coming=coming[:COMING_TOLD],
    )


def _lines(invocation: Invocation) -> list[tuple[str, str, str]]:
    """Return the newest lines of its output, oldest first, as many as there is room for."""
    told: list[tuple[str, str, str]] = []
    left = OUTPUT_TOLD
    for line in reversed(invocation.logs[-LINES_TOLD:]):
        text = clip(line.text, LINE_TOLD)
        if (left := left - len(text)) < 0:
            break
        told.append((line.source, line.level, text))
    return told[::-1]


def bounded(error: HandlerError) -> HandlerError:
    """Return an error of about `ERROR_BYTES`: first the values go, then what it came of, and older frames."""
    if bytes_of_error(error) <= ERROR_BYTES:
        return error
    error = replace(error, frames=tuple(replace(frame, locals=()) for frame in error.frames))
    if bytes_of_error(error) <= ERROR_BYTES:
        return error
    return replace(
        error,
        message=clip(error.message, MESSAGE_TOLD),
        frames=tuple(_bounded_frame(frame) for frame in error.frames[-FRAMES_TOLD:]),
        notes=tuple(clip(note, NAME_TOLD) for note in error.notes[:2]),
        after=error.after[:1],
        hidden=error.hidden + max(0, len(error.frames) - FRAMES_TOLD),
        cause=None,
        context=None,
        members=(),
        more_members=error.more_members + len(error.members),
        is_cut=error.is_cut or error.cause is not None or error.context is not None,
        classes=error.classes[:5],
    )


def _bounded_frame(frame: Any) -> Any:
    return replace(
        frame,
        place=clip(frame.place, NAME_TOLD),
        function=clip(frame.function, NAME_TOLD),
        source=clip(frame.source, NAME_TOLD),
        before=frame.before[:1],
    )


def _bounded_warning(warning: HandlerWarning) -> HandlerWarning:
    return replace(warning, place=clip(warning.place, NAME_TOLD), text=clip(warning.text, LINE_TOLD))


def taken_warnings(warnings: list[HandlerWarning]) -> list[HandlerWarning]:
    """Return warnings as another node words them, so many as an invocation keeps."""
    return [_bounded_warning(one) for one in warnings[:WARNINGS_KEPT]]
