"""`spans_of`: an event and all it caused as rows with times, for waterfalls and sequence diagrams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dnworker.core.envelope import has_payload
from dnworker.core.text import shorten, valid_text
from dnworker.events.span_times import SpanTimes

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.events.history import History

MARKS_KEPT = 100
"""Events of one row; more of a kind are further rows."""

LONGEST_SAYING = 240
"""Characters of what a notification, a prompt or an answer says."""

EVENTS_READ = 20
"""Events of a turn that are looked at for its prompt."""

Type = Literal["event", "call", "note"]


class Mark(msgspec.Struct):
    """One event of a row."""

    id: str
    seq: int
    at: float
    """Milliseconds after the first event of the run."""


class Span(msgspec.Struct, kw_only=True):
    """One row: events of one kind that follow each other, a call of a handler, or a note on one of these.

    Times are milliseconds after the first event of the run. `depth` counts the rows above, up to the first.
    """

    id: str
    type: Type
    depth: int
    parent: str | None
    text: str = ""
    """What a note says, or a notification, a prompt and an answer."""

    # of events
    kind: str = ""
    seq: int | None = None
    last: int | None = None
    """The numbers of the first and the last event; of a call, the number of the event that it handled."""
    marks: list[Mark] = []
    heard: bool = True
    """Whether anybody ran for it, or may yet."""

    # of calls
    worker: str = ""
    handler: str = ""
    cause: str = ""
    outcome: str = "ok"
    event: str | None = None
    published: float | None = None
    """When its event was published: from then on it waited."""
    started: float | None = None
    ended: float | None = None
    """None while it runs."""
    ran: float | None = None
    """How long it ran, without the time for which a debugger held it."""
    error: str | None = None
    place: str | None = None
    """The class of its error, and where it was raised, such as `cell [3], line 7`."""
    lines: int = 0
    changes: int = 0
    generation: int | None = None
    node: str | None = None
    """Where it ran, of a runtime that shares its broker with others."""


class Found(msgspec.Struct):
    """A row before its times are known: the events or the call, and the call above."""

    id: str
    depth: int
    parent: str | None
    events: list[EventEnvelope]
    call: Invocation | None = None
    publisher: Invocation | None = None
    note: str = ""


def spans_of(root: EventEnvelope, history: History, limit: int = 2_000) -> list[Span]:
    """Return an event and what it caused as rows, each below what caused it; the first `limit` of them."""
    return [span for span in iter_spans(root, history, limit) if span is not None]


def iter_spans(root: EventEnvelope, history: History, limit: int) -> Iterator[Span | None]:
    """Go through the rows of a run; before the first, None comes after each small piece of work."""
    times = SpanTimes(root)
    found: list[Found] = []
    for row in islice(found_below(root, history), limit + 1):
        found.append(row)
        if row.call is None and not row.note:
            for event in row.events:
                times.learn(event, history.invocations_of(event.event_id))
        yield None
    for row in found[:limit]:
        yield _span(row, times, history)
    if len(found) > limit:
        text = f"only the first {limit:,} rows are shown"
        yield Span(id="more", type="note", depth=1, parent=root.event_id, text=text)


def found_below(root: EventEnvelope, history: History) -> Iterator[Found]:
    """Go through the rows of a run, each before those that it caused; chains may be of any length."""
    waiting: list[Found] = [Found(root.event_id, 0, None, [root])]
    while waiting:
        row = waiting.pop()
        yield row
        if row.note:
            continue
        below: list[Found] = []
        if row.call is not None:
            below += published_by(row.call, row)
        else:
            for event in row.events:
                below += _noted(event, row, history)
            calls = [call for event in row.events for call in history.invocations_of(event.event_id)]
            below += [
                Found(call.id, row.depth + 1, row.id, [], call, row.publisher)
                for call in sorted(calls, key=lambda one: one.started_at)
            ]
        waiting += reversed(below)


def published_by(call: Invocation, row: Found) -> Iterator[Found]:
    """Return what a call published; events of one kind that follow each other are one row."""
    handled = call.event.seq if call.event is not None else 0
    newer = (event for event in list(call.published) if event.seq > handled)
    for _, events in groupby(newer, lambda event: event.kind):
        while group := list(islice(events, MARKS_KEPT)):
            yield Found(group[0].event_id, row.depth + 1, row.id, group, publisher=call)


def _noted(event: EventEnvelope, row: Found, history: History) -> Iterator[Found]:
    """Say what is to be known of an event beside its calls."""
    runs, failed = history.runs_lost(event.event_id)
    texts = [*history.losses_of(event.event_id)]
    if (way_out := history.held(event.event_id)) is not None:
        texts.append(f"held as part of an event storm, and not delivered: {way_out}")
    if (storm := history.storm_of(event.event_id)) is not None:
        texts.append(storm)
    if runs:
        bad = f", {failed:,} of which did not end well" if failed else ""
        texts.append(f"{runs:,} of its calls are not kept any more{bad}")
    for n, text in enumerate(texts):
        yield Found(f"{event.event_id}/{n}", row.depth + 1, row.id, [], note=text)


def _span(row: Found, times: SpanTimes, history: History) -> Span:
    place: Any = {"id": row.id, "depth": row.depth, "parent": row.parent}
    if row.note:
        return Span(type="note", text=row.note, **place)
    if row.call is not None:
        return _call_span(row.call, place, times, row.publisher)
    first, last = row.events[0], row.events[-1]
    marks = [
        Mark(event.event_id, event.seq, round(times.of_event(event, row.publisher), 4))
        for event in row.events
    ]
    return Span(
        type="event",
        kind=first.kind,
        seq=first.seq,
        last=last.seq,
        marks=marks,
        event=first.event_id,
        text=said_by(history.event(first.event_id) or first),
        heard=any(is_heard(event, history) for event in row.events),
        **place,
    )


def _call_span(call: Invocation, place: Any, times: SpanTimes, publisher: Invocation | None) -> Span:
    started, ended = times.of_call(call)
    event = call.event
    published = started if event is None else min(times.of_event(event, publisher), started)
    error = call.error or next(iter(call.unhandled), None)
    return Span(
        type="call",
        worker=call.worker,
        handler=call.handler,
        cause=call.cause,
        outcome="error" if call.unhandled else call.outcome,
        event=None if event is None else event.event_id,
        seq=None if event is None else event.seq,
        published=round(published, 4),
        started=round(started, 4),
        ended=None if ended is None else round(ended, 4),
        ran=None if call.duration is None else round(call.duration * 1000, 4),
        error=None if error is None else error.type,
        place=None if error is None else error.place,
        lines=call.lines_noted,
        changes=len(call.state_changes),
        generation=call.generation,
        node=call.node,
        text=conversation(call) if call.cause == "turn" else "",
        **place,
    )


def is_heard(event: EventEnvelope, history: History) -> bool:
    """Return whether a handler ran for an event, or may yet: it is queued, or held back."""
    event_id = event.event_id
    return bool(
        history.invocations_of(event_id)
        or history.runs_lost(event_id).runs
        or history.losses_of(event_id)
        or history.held(event_id)
        or not history.is_quiet(event_id)
    )


# -- what is said --------------------------------------------------------------------------------------


def said_by(event: EventEnvelope) -> str:
    """Return what a notification says, or what a turn answered; empty for other events."""
    if event.kind not in ("notify", "turn.completed", "turn.failed") or not has_payload(event):
        return ""
    payload = event.payload
    match event.kind:
        case "notify":
            return _saying(payload.get("title"), payload.get("body"))
        case "turn.completed":
            return _saying(payload.get("response_text"))
    error = payload.get("error")
    return _saying(error.get("message") if isinstance(error, dict) else error)


def conversation(turn: Invocation) -> str:
    """Return what a turn was asked and what it answered, as far as it has by now."""
    asked = next(filter(None, map(_prompt_of, islice(turn.published, EVENTS_READ))), "")
    answered = next(filter(None, map(said_by, reversed(turn.published))), "") if turn.published else ""
    return " → ".join(filter(None, (asked, answered)))


def _prompt_of(event: EventEnvelope) -> str:
    if event.kind != "turn.event" or not has_payload(event):
        return ""
    raw = event.payload.get("raw_event")
    if not isinstance(raw, dict) or raw.get("type") != "agentstart":
        return ""
    data = raw.get("data")
    inputs = data.get("inputs") if isinstance(data, dict) else None
    return _saying(inputs.get("goal")) if isinstance(inputs, dict) else ""


def _saying(*texts: object) -> str:
    said: Sequence[str] = [" ".join(text.split()) for text in texts if isinstance(text, str) and text]
    return shorten(valid_text(": ".join(filter(None, said))), LONGEST_SAYING)
