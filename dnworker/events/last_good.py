"""`last_good`: the event that a handler handled well before it failed; failed payloads are compared to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.core.envelope import has_payload

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.events.history import History

LOOKED_AT = 3_000
"""Newest events among which it is searched."""


def last_good(call: Invocation, history: History) -> EventEnvelope | None:
    """Return the newest event before a call's own, of its kind, for which its handler succeeded.

    Where there is none before it is the newest after; only events that still have their payload count.
    """
    event = call.event
    if event is None or call.key is None:
        return None
    later: EventEnvelope | None = None
    newest: list[EventEnvelope] = history.events(LOOKED_AT)[::-1]
    for one in newest:
        if one.kind != event.kind or one.event_id == event.event_id or not has_payload(one):
            continue
        if not _handled_well(call, one, history):
            continue
        if one.seq < event.seq:
            return one
        later = later or one
    return later


def _handled_well(call: Invocation, event: EventEnvelope, history: History) -> bool:
    runs = (one for one in history.invocations_of(event.event_id) if one.key == call.key)
    return any(
        one.outcome in ("ok", "warning") and one.worker == call.worker and not one.unhandled for one in runs
    )
