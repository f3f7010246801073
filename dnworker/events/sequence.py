"""A run as a sequence diagram in Mermaid's language, for `Trace.mermaid`; workers are its lifelines."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from dnworker.core.text import shorten
from dnworker.events.spans import Span

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.events.history import History

STEPS_SHOWN = 300
"""Arrows of a diagram: renderers give up on much longer ones."""

LONGEST_NAME = 80

_SESSIONS = ("session.", "turn.", "prompt.")
_RUNTIME = ("component.", "capabilities.", "transport.")
_PLAIN = frozenset(" _.,:/()[]+-*=?!'")


def source_name(event: EventEnvelope, history: History) -> str:
    """Return where the first event of a run comes from, in a word such as `HTTP` or `Schedules`."""
    if event.kind.startswith(_SESSIONS):
        return "Sessions"
    if event.kind.startswith(_RUNTIME):
        return "Runtime"
    source = history.causes.source(event.event_id)
    return "Program" if source is None else source.name


def mermaid(spans: list[Span], source: str) -> str:
    """Return the rows of a run as the text of a `sequenceDiagram`; names cannot break out of their place."""
    lifelines = {source: "p0"}
    for span in spans:
        if span.type == "call":
            lifelines.setdefault(span.worker, f"p{len(lifelines)}")
    head = [f"    participant {name} as {escaped(label)}" for label, name in lifelines.items()]
    return "\n".join(
        ["sequenceDiagram", *head, *(f"    {step}" for step in _steps(spans, source, lifelines))]
    )


def _steps(spans: list[Span], source: str, lifelines: dict[str, str]) -> list[str]:
    by_id = {span.id: span for span in spans}
    steps: list[tuple[float, str]] = []
    shown = 0
    for span in spans:
        sender = lifelines[_publisher(span, by_id, source)]
        if span.type == "event" and not span.heard:
            text = f"{_named(span)}, nobody listens"
            steps.append((span.marks[0].at, f"Note over {sender}: {escaped(text)}"))
        if span.type != "call":
            continue
        shown += 1
        if shown > STEPS_SHOWN:
            break
        steps += _call(span, by_id[span.parent or ""], sender, lifelines[span.worker])
    calls = sum(span.type == "call" for span in spans)
    ordered = [text for _, text in sorted(steps, key=lambda step: step[0])]  # stable: causes stay first
    if calls > STEPS_SHOWN:
        ordered.append(f"Note over p0: only the first {STEPS_SHOWN} of {calls} calls are shown")
    return ordered


def _call(span: Span, above: Span, sender: str, taker: str) -> list[tuple[float, str]]:
    """Return the steps of one call: its event's arrow, and how long it ran."""
    published, started = span.published or 0.0, span.started or 0.0
    ended = started if span.ended is None else span.ended
    failed = span.outcome == "error"
    arrow = "-x" if failed else "->>"
    label = f"{above.kind} #{span.seq}, {milliseconds(published)}"
    steps = [(published, f"{sender}{arrow}{taker}: {escaped(label)}"), (started, f"activate {taker}")]
    if failed:
        error = " ".join(filter(None, (span.error, span.place)))
        steps.append((ended, f"Note right of {taker}: {escaped(error or 'failed')}"))
    if span.text:
        steps.append((ended, f"Note over {taker}: {escaped(span.text)}"))
    return [*steps, (ended, f"deactivate {taker}")]


def _publisher(span: Span, by_id: dict[str, Span], source: str) -> str:
    """Return the lifeline that published the event of a row: that of the nearest call above the event."""
    event = by_id[span.parent] if span.type != "event" and span.parent is not None else span
    call = by_id.get(event.parent or "")
    return source if call is None else call.worker


def _named(span: Span) -> str:
    numbers = f"#{span.seq}" if span.seq == span.last else f"#{span.seq} to #{span.last}"
    return f"{span.kind} {numbers}"


def milliseconds(value: float) -> str:
    """Return a time as people read it: `0 ms`, `4.1 ms`, `46 ms`, `3.20 s`."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    digits = 0 if value >= 10 or value == 0 else 1 if value >= 1 else 2
    return f"{value:.{digits}f} ms"


def escaped(text: str) -> str:
    """Return text that Mermaid shows as it is, whatever it holds: letters, and codes for all else."""
    kept = (one for one in shorten(text, LONGEST_NAME) if unicodedata.category(one)[0] != "C")
    return "".join(one if one.isalnum() or one in _PLAIN else f"#{ord(one)};" for one in kept)
