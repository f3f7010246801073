"""Fires events at a runtime and records what handlers do, as data; the same on all sides of a comparison.

It imports nothing of ours, because a real kernel runs it by its path.
"""

from __future__ import annotations

import re
from typing import Any

SECONDS = 10.0
"""Limit for everything that one event causes."""

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


async def stand_in(turn: Any) -> str:
    """Answer the turns that handlers start."""
    return f"(a stand-in answers {len(turn.message)} characters)"


def handlers_of(runtime: Any) -> list[str]:
    """Return the handlers of all workers as sorted lines: worker, decorator, trigger, name."""
    return sorted(f"{worker.name}: {' '.join(key)}" for worker in runtime.workers() for key in worker.stats)


async def record(runtime: Any, fires: list[list[Any]]) -> list[list[list[Any]]]:
    """Fire events one after the other; returns, for each, who did what, in order for each handler."""
    runtime.agents.default(stand_in)
    found = []
    for kind, payload in fires:
        trace = await runtime.fire(kind, payload, timeout=SECONDS)
        found.append(sorted(effects(trace), key=lambda effect: effect[0]))
    return found


def effects(trace: Any) -> list[list[Any]]:
    """Return what handlers did because of one event."""
    found: list[list[Any]] = []
    waiting = [trace]
    while waiting:
        for run in waiting.pop().invocations:
            who = f"{run.worker.rpartition(':')[2]}.{run.handler}"
            for below in run.events:
                waiting.append(below)
                if below.event.kind.startswith("component."):
                    continue
                payload = dict(below.event.payload)
                if below.event.kind == "notify":
                    payload.pop("source", None)
                found.append([who, f"publishes {below.event.kind}", payload])
            for error in (*([run.error] if run.error else []), *run.unhandled):
                found.append([who, f"raises {error.type}", _ADDRESS.sub("0x...", error.message)])
            if run.outcome in ("running", "cancelled"):
                found.append([who, f"is {run.outcome}", None])
    return found
