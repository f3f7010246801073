"""The part `call`: one event, or one call of a handler, with all that the inspector shows of it.

`wanted` is `{event, invocation}`; without `invocation` it is the event alone, without `event` a call that no
event caused.
"""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import has_payload, is_noise
from dnworker.core.source import split_place
from dnworker.core.text import clip, shorten
from dnworker.engine.unheard import why_unheard
from dnworker.events.spans import conversation, is_heard, said_by
from dnworker.events.trace import debug_command
from dnworker.panel import serialize
from dnworker.panel.budget import size_of
from dnworker.panel.error_json import error_to_json, place_to_json
from dnworker.panel.payload_text import head_of, short_payload

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.invocation import Invocation
    from dnworker.panel.actions import HandlerSource
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

INTERVAL = 0.5
"""Seconds between two looks at a call."""

EVENTS_SHOWN = 60
LINES_SHOWN = 100
LINES_BYTES = 16_000
CHANGES_SHOWN = 100
LONGEST_SOURCE = 12_000
"""How much is sent of what a call published, logged and changed, and characters of its source."""


async def call_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return an event or a call; `gone` where it is not kept any more."""
    event_id, call_id = wanted.get("event"), wanted.get("invocation")
    history = model.engine.history
    call = None if call_id is None else _call(model, event_id, str(call_id))
    event = history.event(str(event_id)) if event_id is not None else None
    if event is None and call is not None:
        event = call.event
    if (event is None and call is None) or (call_id is not None and call is None):
        return {"wanted": wanted, "gone": True, "event": None, "call": None}
    await pace.rest()
    found: dict[str, Any] = {"wanted": wanted, "gone": False, "event": None, "call": None}
    if event is not None:
        found["event"] = event_to_json(event)
        found["payload"] = None
        if has_payload(event):
            found["payload"] = await head_of(event, model.engine.side_threads)
        if call is None and not is_heard(event, history) and not is_noise(event.kind):
            found["unheard"] = why_unheard(model.engine.workers(), event.kind)
    if call is not None:
        found |= await _of_call(model, call, event, pace)
    return found


def _call(model: PanelModel, event_id: object, call_id: str) -> Invocation | None:
    history = model.engine.history
    among = history.invocations() if event_id is None else history.invocations_of(str(event_id))
    return next((one for one in among if one.id == call_id), None)


def event_to_json(event: EventEnvelope) -> dict[str, Any]:
    """Return an event without its payload, and what it says where it is a message."""
    return {
        "id": event.event_id,
        "seq": event.seq,
        "kind": event.kind,
        "at": serialize.millis(event.timestamp),
        "session": event.session_id,
        "turn": event.turn_id,
        "kept": has_payload(event),
        "says": said_by(event),
    }


async def _of_call(
    model: PanelModel, call: Invocation, event: EventEnvelope | None, pace: Pace
) -> dict[str, Any]:
    found: dict[str, Any] = {"call": call_to_head(call), "error": _error(call, event, model)}
    await pace.rest()
    if call.outcome == "error" or call.unhandled:
        comparisons, history = model.comparisons, model.engine.history
        found["good"] = None if event is None else await comparisons.with_good(call, event, history)
        await pace.rest()
    found["output"] = _output(call)
    found["log"] = _log(call)
    await pace.rest()
    found["source"] = _source(model, call)
    changes = [clip(text, 500) for text in call.state_changes[:CHANGES_SHOWN]]
    found["state"] = {"count": len(call.state_changes), "changes": changes}
    return found


def call_to_head(call: Invocation) -> dict[str, Any]:
    """Return who ran and how it stands; `duration` is in milliseconds, None while it runs."""
    return {
        "id": call.id,
        "worker": call.worker,
        "handler": call.handler,
        "key": None if call.key is None else list(call.key),
        "cause": call.cause,
        "outcome": "error" if call.unhandled else call.outcome,
        "duration": None if call.duration is None else round(call.duration * 1000, 4),
        "generation": call.generation,
        "node": call.node,
        "warnings": [clip(str(warning), 500) for warning in call.warnings],
        "says": conversation(call) if call.cause == "turn" else "",
    }


def _error(call: Invocation, event: EventEnvelope | None, model: PanelModel) -> dict[str, Any] | None:
    error = call.error or next(iter(call.unhandled), None)
    if error is None:
        return None
    kept = model.engine.history.failures.exception_of(call) is not None and event is not None
    others = call.unhandled if call.error is not None else call.unhandled[1:]
    return error_to_json(error) | {
        "unhandled": call.error is None,
        "others": [clip(str(one), 500) for one in list(others)[:5]],
        "debug": debug_command(event) if kept and event is not None else None,
    }


def _output(call: Invocation) -> dict[str, Any]:
    published = list(call.published)
    shown = [event_to_json(event) | {"text": short_payload(event)} for event in published[:EVENTS_SHOWN]]
    return {"count": len(published), "events": shown}


def _log(call: Invocation) -> dict[str, Any]:
    """Return the newest lines that it wrote, as many as there is room for."""
    lines, size = call.logs, 0
    shown: list[dict[str, Any]] = []
    for line in reversed(lines[-LINES_SHOWN:]):
        one = serialize.line_to_json(0, line)
        size += size_of(one)
        if shown and size > LINES_BYTES:
            break
        shown.append(one)
    return {"count": call.lines_noted, "lines": shown[::-1]}


def _source(model: PanelModel, call: Invocation) -> dict[str, Any] | None:
    code = model.actions.source_of(call.worker, call.key, call.generation) if call.key is not None else None
    if code is None:
        return None
    return {
        "text": shorten(dedent(code.text), LONGEST_SOURCE),
        "line": code.line,
        "place": place_to_json(code.place),
        "note": code.note,
        "marked": _marked(call, code),
    }


def _marked(call: Invocation, code: HandlerSource) -> list[int]:
    """Return the lines of the source at which it failed."""
    error = call.error or next(iter(call.unhandled), None)
    if error is None or code.note:
        return []
    here = split_place(code.place)
    places = [place for frame in error.frames if (place := split_place(frame.place)) is not None]
    last = code.line + code.text.count("\n")
    return [line for file, line in places if here and file == here[0] and code.line <= line <= last]
