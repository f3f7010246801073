"""What can be fired, and what was from the panel: the kinds with those who listen; one of `parts.PARTS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

KINDS_SHOWN = 500
LISTENERS_SHOWN = 3
FIRE_INTERVAL = 0.5
"""Seconds between two looks."""


async def fire_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return the kinds, each with the first workers that listen and how many do, and the history."""
    listeners = await _listeners(model, pace)
    kinds = []
    for kind in sorted(model.kinds(), key=lambda kind: (kind not in listeners, kind))[:KINDS_SHOWN]:
        workers = listeners.get(kind, [])
        kinds.append({"kind": kind, "workers": workers[:LISTENERS_SHOWN], "count": len(workers)})
    return {"kinds": kinds, "history": [*model.fired]}


async def _listeners(model: PanelModel, pace: Pace) -> dict[str, list[str]]:
    """Return the workers that listen to each kind."""
    found: dict[str, list[str]] = {}
    for worker in model.engine.workers():
        for key in worker.stats:
            if key.decorator == "on_event":
                found.setdefault(key.trigger, []).append(worker.qualified_name)
        await pace.rest()
    return found
