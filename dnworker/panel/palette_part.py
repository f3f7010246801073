"""The part `palette`: what the palette offers beside workers, which every view has; for `parts`.

{"query": "impo"} -> {
    "kinds": [kind],                   that can be fired
    "fired": [[kind, ms]],             what was fired last from the panel, newest first
    "handlers": [[worker, name]],
    "failing": [[worker, handler, place, event]],
    "runs": [[event, seq, kind, ms, outcome]],     newest first
    "count": 212,                      runs of the last 15 minutes whose kind has the query in it
    "sessions": [[id, title, prompts]],
    "flags": [[capability, flag, value, fixed, starts, stops]],
    "checks": [capability],
    "cells": [[number, first line]],
}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import is_noise
from dnworker.events.trace import STREAMED
from dnworker.panel.capability_part import why_fixed
from dnworker.panel.outcomes import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dnworker.core.envelope import EventEnvelope
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

PALETTE_INTERVAL = 1.0
KINDS_SHOWN = 500
HANDLERS_SHOWN = 1_000
FAILING_SHOWN = 50
RUNS_SHOWN = 100
RUNS_COUNTED = 5_000
SESSIONS_SHOWN = 100
FLAGS_SHOWN = 200
CELLS_SHOWN = 200
LONGEST_NAME = 120
WINDOW_MS = 15 * 60 * 1000


async def palette_to_json(model: PanelModel, query: str, now: float, pace: Pace) -> dict[str, Any]:
    """Return what can be opened and done, bounded; `now` in ms since 1970.

    Names that have the query in them come first, so that no bound hides what is searched for.
    """
    runs, count = await _runs(model, query, now, pace)
    handlers, failing = await _handlers(model, query, pace)
    capabilities = model.engine.capabilities.all()
    sessions = model.engine.sessions.newest(SESSIONS_SHOWN)
    queue = model.engine.turns.queue
    return {
        "kinds": [*_first(model.kinds(), query, KINDS_SHOWN)],
        "fired": [[one["kind"], one["at"]] for one in model.fired],
        "handlers": handlers,
        "failing": failing,
        "runs": runs,
        "count": count,
        "sessions": [
            [s.session_id, (s.title or s.session_id)[:LONGEST_NAME], len(queue(s).prompts) or len(s.prompts)]
            for s in sessions
        ],
        "flags": [
            [c.name, f.name, f.effective, why_fixed(f.source), *c.effect_of(f.name)]
            for c in capabilities
            for f in c.flags.values()
        ][:FLAGS_SHOWN],
        "checks": [c.name for c in capabilities if c.manifest.checks][:FLAGS_SHOWN],
        "cells": [[number, text[:LONGEST_NAME]] for number, text in model.actions.cells()[-CELLS_SHOWN:]],
    }


def _first(names: Iterable[str], query: str, most: int) -> list[str]:
    """Return so many names, those that have the query in them first; the longest are left out."""
    short = [name for name in names if len(name) <= 2 * LONGEST_NAME]
    if len(short) <= most or not query:
        return short[:most]
    folded = query.casefold()
    return sorted(short, key=lambda name: folded not in name.casefold())[:most]


async def _runs(model: PanelModel, query: str, now: float, pace: Pace) -> tuple[list[Any], int]:
    """Return the newest root events, and how many of the last 15 minutes have the query in their kind."""
    history, folded = model.engine.history, query.casefold()
    found: list[Any] = []
    count = 0
    for event in reversed(history.events(RUNS_COUNTED)):
        if not _is_root(model, event):
            continue
        at = model.runs.at_of(event)
        has = folded in event.kind.casefold()
        count += has and now - at <= WINDOW_MS
        if len(found) < RUNS_SHOWN and has and len(event.kind) <= 2 * LONGEST_NAME:
            outcome = outcome_of(history.invocations_of(event.event_id))
            found.append([event.event_id, event.seq, event.kind, at, outcome])
        await pace.rest()
    return found, count


def _is_root(model: PanelModel, event: EventEnvelope) -> bool:
    """Return whether a run begins with an event; what a runtime says about itself is no run."""
    is_said = is_noise(event.kind) or event.kind == STREAMED
    return not is_said and model.engine.history.causes.above(event.event_id) is None


async def _handlers(model: PanelModel, query: str, pace: Pace) -> tuple[list[Any], list[Any]]:
    folded = query.casefold()
    matching: list[Any] = []
    others: list[Any] = []
    failing: list[Any] = []
    for worker in model.engine.workers():
        for key, stats in worker.stats.items():
            entry = [worker.qualified_name, key.name[:LONGEST_NAME]]
            (matching if folded in key.name.casefold() else others).append(entry)
            if stats.is_failing and stats.last_error is not None and len(failing) < FAILING_SHOWN:
                place = stats.last_error.place[: 2 * LONGEST_NAME]
                failing.append([worker.qualified_name, key.name, place, stats.last_failed_event])
        await pace.rest()
    return (matching + others)[:HANDLERS_SHOWN], failing
