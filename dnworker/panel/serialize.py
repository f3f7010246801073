"""Turns what a view shows into JSON, each text cut to size; `model`, `view` and `operations` send it.

These are functions of their arguments alone: they read no clock (`Now.read` does) and ask for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dnworker.core.errors import Conflict
from dnworker.core.lifecycle import WorkerState
from dnworker.panel.forms import PICTURES, form_of, mime_of, picture_url
from dnworker.workers.silence import why_silent

if TYPE_CHECKING:
    from dnworker.core.clock import Clock
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.handlers import HandlerKey
    from dnworker.core.logs import LogLine
    from dnworker.core.stats import HandlerStats
    from dnworker.engine.capability import Capability
    from dnworker.workers.managed import ManagedWorker

LONGEST_LINE = 500
"""Characters of a line of the log that are sent unasked; all of it when it is looked at."""

LONGEST_TEXT = 2_000
LONGEST_ORIGIN, ORIGINS_SHOWN = 300, 5
LONGEST_PAYLOAD = 100_000
LONGEST_FORM = 1_000_000
LONGEST_THUMB = 20_000
"""Characters of something displayed that are sent when its line is looked at, and of a picture unasked."""

SESSIONS_SHOWN = 200

MESSAGES_SHOWN = 50

UP = (WorkerState.RUNNING, WorkerState.STARTING)
DOWN = (WorkerState.STOPPED, WorkerState.ERROR)


def millis(moment: datetime) -> float:
    """Return a moment in milliseconds since 1970, as browsers count."""
    return moment.timestamp() * 1000


# -- workers -------------------------------------------------------------------------------------------


def worker_brief(worker: ManagedWorker) -> tuple[object, ...]:
    """Return what is sent at once when it changes; the rest may wait for half a second."""
    error = worker.error or worker.losses
    how = (worker.generation, worker.restarts, worker.topology_label, why_silent(worker))
    return (worker.state, error, *how)


class Now(NamedTuple):
    """The present, in seconds: since 1970, and by the clock that handlers are timed with."""

    since_epoch: float
    monotonic: float

    @classmethod
    def read(cls) -> Now:
        """Return what time it is."""
        return cls(time.time(), time.monotonic())


def why_disabled(
    worker: ManagedWorker, gate: Mapping[str, bool], why_no_rollback: str | None
) -> dict[str, str]:
    """Return why a button does not apply, by its verb; those that do are left out."""
    state = worker.state
    reasons: dict[str, str] = {}
    if gate and not any(gate.values()):
        reasons["start"] = reasons["restart"] = f"gated off; turn on {' or '.join(gate)}"
    elif state is WorkerState.STANDBY:
        reasons["start"] = reasons["restart"] = f"it stands by: {worker.why_standby}"
    elif state not in DOWN:
        reasons["start"] = f"it is {state}"
    if state is not WorkerState.RUNNING:
        reasons.setdefault("restart", f"it is {state}; start it")
    if state not in (*UP, WorkerState.ERROR, WorkerState.STANDBY):
        reasons["stop"] = f"it is {state}"
    if why_no_rollback is not None:
        reasons["rollback"] = why_no_rollback
    if worker.topology != "in-process":
        reasons["run"] = "its schedules are kept by its own process"
    elif state is not WorkerState.RUNNING:
        reasons["run"] = f"it is {state}"
    return reasons


def handler_to_json(
    key: HandlerKey,
    stats: HandlerStats,
    next_run: datetime | None,
    origin: str | None,
    stale: str | None = None,
) -> dict[str, Any]:
    """Return a handler: times in milliseconds, the next run since 1970."""
    quantiles = stats.quantiles()
    return {
        "key": list(key),
        "calls": stats.calls,
        "errors": stats.errors,
        "warnings": stats.warnings,
        "failing": stats.is_failing,
        "inFlight": stats.in_flight,
        "missed": stats.missed,
        "quantiles": None if quantiles is None else [round(seconds * 1000, 3) for seconds in quantiles],
        "nextRun": None if next_run is None else millis(next_run),
        "origin": origin,
        "stale": stale,
        "error": _last_error(stats),
    }


def _last_error(stats: HandlerStats) -> dict[str, Any] | None:
    error = stats.last_error
    if error is None:
        return None
    return {
        "text": error.summary[:LONGEST_TEXT],
        "origin": [line[:LONGEST_ORIGIN] for line in error.origin()[:ORIGINS_SHOWN]],
        "location": error.place,
        "source": error.frames[-1].source if error.frames else "",
        "event": stats.last_failed_event,
    }


# -- log, events, traces -------------------------------------------------------------------------------


def line_to_json(position: int, line: LogLine, *, whole: bool = False) -> dict[str, Any]:
    """Return one line of the log, cut unless it is wanted `whole`."""
    longest = len(line.text) if whole else LONGEST_LINE
    return {
        "position": position,
        "number": line.number,
        "worker": line.worker,
        "level": line.level,
        "source": line.source,
        "at": millis(line.timestamp),
        "invocation": line.invocation_id,
        "event": line.event_id,
        "text": line.text[:longest],
        "cut": max(0, len(line.text) - longest),
        "form": mime_of(line.data),
        "image": thumb_of(line),
        "shown": shown_of(line) if whole else None,
    }


def thumb_of(line: LogLine) -> str | None:
    """Return the picture that a handler displayed, as a data URL, if it is one and small."""
    kind = mime_of(line.data)
    content = (line.data or {}).get(kind) if kind in PICTURES else None
    return picture_url(kind, content) if kind and len(content or "") <= LONGEST_THUMB else None


def shown_of(line: LogLine) -> dict[str, Any] | None:
    """Return what a handler displayed, safe to be shown; where it is too large to be sent, a note of that."""
    form = form_of(line.data)
    if form is None:
        return None
    if len(form.content) > LONGEST_FORM:
        size = f"cut: {form.mime} of {len(form.content):,} characters; up to {LONGEST_FORM:,} are sent here"
        text = f"{size}; in a notebook %worker logs {line.worker} --show {line.number} shows it"
        return {"type": "note", "mime": form.mime, "content": text, "height": 0, "scripts": False}
    return {
        "type": form.type,
        "mime": form.mime,
        "content": form.content,
        "height": form.height,
        "scripts": form.runs_scripts,
    }


def payload_to_json(event: EventEnvelope) -> dict[str, Any]:
    """Return the payload as text: a browser would round its numbers."""
    payload = msgspec.json.format(msgspec.json.encode(event.payload), indent=2).decode()
    return {"payload": payload[:LONGEST_PAYLOAD], "cut": max(0, len(payload) - LONGEST_PAYLOAD)}


# -- capabilities -------------------------------------------------------------------------


def gate_of(worker: ManagedWorker, capability: Capability) -> dict[str, bool]:
    """Return the flags that gate a worker, with their values."""
    flags = capability.flags
    return {name: name in flags and flags[name].effective for name in worker.definition.when}


def clock_to_json(clock: Clock) -> dict[str, Any]:
    """Return what time it is to schedules, where that is not the time of the day."""
    return {"virtual": clock.can_advance, "now": millis(clock.now()) if clock.can_advance else None}


def key_of(worker: ManagedWorker, given: list[str]) -> HandlerKey:
    """Return the handler that a view names.

    Raises:
        Conflict: the worker has none of this name any more.
    """
    for key in worker.stats:
        if list(key) == given:
            return key
    raise Conflict(f"worker {worker.qualified_name!r} has no handler {given[-1:]} any more", code="DN110")
