"""The part `run`: one run with a row for each event and call, for waterfall, lanes and sequence diagram."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.text import shorten, valid_text
from dnworker.events.sequence import source_name
from dnworker.events.spans import Span, iter_spans
from dnworker.panel import dead_rows
from dnworker.panel.run_index import COST_FACTOR, Shown
from dnworker.panel.run_rows import Run, as_json

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.engine import Engine
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace
    from dnworker.panel.unheard import NotRunning

INTERVAL = 0.3
"""Seconds between two looks at a run that is shown."""

ROWS_SHOWN = 2_000
BYTES_SHOWN = 120_000
"""Rows of one run that are sent, and about how many bytes of them."""

LONGEST_ERROR = 80
SHORT = 0.005
"""Seconds of work that may be done again at once."""

_EMPTY: tuple[object, ...] = (None, "", [], 0)


async def run_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return the run that an event belongs to; `gone` where the event is kept no more."""
    history = model.engine.history
    asked = str(wanted.get("event"))
    await model.runs.sync(pace)
    root = history.event(model.runs.root_of(asked))
    if root is None or history.event(asked) is None:
        return {"event": asked, "gone": True}
    run = model.runs.runs.get(root.event_id)
    if run is None:
        return {"event": asked, "gone": True}
    return {"event": asked, **await _kept(model, root, run, pace)}


async def _kept(model: PanelModel, root: EventEnvelope, run: Run, pace: Pace) -> dict[str, Any]:
    """Return the run, made anew only where it has changed; one that takes long waits for ten times that."""
    kept, now = model.runs.shown.get(root.event_id), time.monotonic()
    notes = await _notes(run, model.engine, pace)
    is_running = run.row.duration is None
    if kept is not None and (
        now < kept.until
        if is_running
        else kept.revision == run.revision and (kept.notes == notes or now < kept.until)
    ):
        return kept.value
    revision, began = run.revision, time.process_time()
    value = await _whole(model, root, run, pace)
    took = time.process_time() - began
    until = now + took * COST_FACTOR if took > SHORT else now
    model.runs.keep(root.event_id, Shown(revision, notes, until, value))
    return value


async def _notes(run: Run, engine: Engine, pace: Pace) -> int:
    """Return a number that changes with what is noted of the events of a run beside its calls."""
    history, found = engine.history, 0
    for event_id in run.events:
        lost, storm = history.runs_lost(event_id), history.storm_of(event_id)
        held, losses = history.held(event_id), history.losses_of(event_id)
        dead = tuple(engine.dead_letters.of_event(event_id))
        if lost.runs or storm or held or losses or dead:
            found = hash((found, event_id, lost, storm, held, losses, dead))
        await pace.rest()
    return found


async def _whole(model: PanelModel, root: EventEnvelope, run: Run, pace: Pace) -> dict[str, Any]:
    history = model.engine.history
    spans: list[Span] = []
    for span in iter_spans(root, history, ROWS_SHOWN):
        if span is not None:
            spans.append(span)
        await pace.rest()
    return {
        "root": root.event_id,
        "seq": root.seq,
        "kind": root.kind,
        "at": run.at,
        "virtual": root.timestamp.timestamp() * 1000 if model.engine.clock.can_advance else None,
        "session": root.session_id,
        "turn": root.turn_id,
        "source": source_name(root, history),
        "row": as_json(run.row),
        "running": run.row.duration is None,
        "cells": model.actions.has_cells,
        "dead": dead_rows.rows_of(model.engine.dead_letters, run.events),
        "rows": await _bounded(model, spans, pace),
    }


async def _bounded(model: PanelModel, spans: list[Span], pace: Pace) -> list[dict[str, Any]]:
    """Return as many rows as there is room for, and a note where that is not all."""
    rows: list[dict[str, Any]] = []
    size = 0
    not_running: NotRunning | None = None
    for span in spans:
        if not_running is None and _is_unheard(span):
            not_running = await model.runs.not_running(pace)
        row = _row(span, not_running)
        size += len(msgspec.json.encode(row))
        if size > BYTES_SHOWN and rows:
            text = f"only the first {len(rows):,} rows are shown; print the trace for all"
            note = Span(id="more", type="note", depth=1, parent=spans[0].id, text=text)
            return [*rows, _row(note, not_running)]
        rows.append(row)
        await pace.rest()
    return rows


def _is_unheard(span: Span) -> bool:
    return span.type == "event" and not span.heard and not span.text


def _row(span: Span, not_running: NotRunning | None) -> dict[str, Any]:
    """Return one row, without what is not of its type."""
    row: dict[str, Any] = msgspec.to_builtins(span)
    if not_running is not None and _is_unheard(span):
        row["text"] = _why(not_running, span)
    if span.error is not None:
        row["error"] = shorten(valid_text(span.error), LONGEST_ERROR)
    return {name: value for name, value in row.items() if value not in _EMPTY or name in _ALWAYS}


_ALWAYS = frozenset({"id", "type", "depth", "parent", "ended", "published", "started", "heard", "generation"})


def _why(not_running: NotRunning, span: Span) -> str:
    """Say why nobody ran for an event of somebody's own; nobody need hear of what the runtime publishes."""
    why = not_running.why(span.kind)
    return f"Nobody ran: {why}" if why is not None else "Nobody listens"
