"""`PARTS`: what a view may look at, by name; each in a module of its own, which reads it for `view`.

A view says what it looks at, with what it wants of it. A part is read while somebody looks, at most once an
interval, and sent whole where it is not as it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dnworker.core.errors import UsageError
from dnworker.panel import (
    attached_part,
    call_part,
    capability_part,
    catalogue_part,
    fire_part,
    map_part,
    nodes_part,
    overview_part,
    palette_part,
    run_part,
    runs_part,
    session_parts,
    state_part,
    tail_part,
    worker_parts,
)

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

Wanted = dict[str, Any]
"""What a view wants of a part, such as the worker or the event that it shows."""


class Follower(Protocol):
    """What one view was sent of a part that is too long to be sent whole each time."""

    async def changes(self, pace: Pace) -> Any:
        """Return what has changed since the last call, all at the first; None for nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to look at.

    Args:
        read: returns the part as JSON; it calls `pace.rest` between small pieces of work.
        interval: returns the seconds between two looks. It is called each time: a test sets it to 0.
        is_heard_of: whether the feed hears of every change; else it is looked at again after the interval.
        is_slow: whether it is read beside the updates of its view, and sent with the next one when it is
            there: what goes on a thread waits for the interpreter, and nothing else may wait for that.
        follow: makes what sends changes only, in place of `read`; one for each view that looks.
    """

    read: Callable[[PanelModel, Wanted, Pace], Awaitable[Any]]
    interval: Callable[[], float]
    is_heard_of: bool = True
    is_slow: bool = False
    follow: Callable[[PanelModel, Wanted], Follower] | None = None


async def _state(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return state_part.state_to_json(model.engine, str(wanted.get("worker")))


async def _tail(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return tail_part.tail_to_json(model.engine.logs, wanted)


async def _capabilities(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return await capability_part.capabilities_to_json(model, pace)


async def _sessions(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return await session_parts.sessions_to_json(model.engine, pace)


async def _session(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return await session_parts.one_to_json(model.engine, str(wanted.get("session")))


async def _palette(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    query = str(wanted.get("query") or "")[: palette_part.LONGEST_NAME]
    return await palette_part.palette_to_json(model, query, time.time() * 1000, pace)


PARTS: dict[str, Part] = {
    "map": Part(map_part.read, lambda: map_part.INTERVAL, is_heard_of=False, is_slow=True),
    "overview": Part(
        overview_part.overview_to_json, lambda: overview_part.OVERVIEW_INTERVAL, is_heard_of=False
    ),
    "attached": Part(
        attached_part.attached_to_json, lambda: attached_part.ATTACHED_INTERVAL, is_heard_of=False
    ),
    "call": Part(call_part.call_to_json, lambda: call_part.INTERVAL),
    "runs": Part(
        runs_part.whole,
        lambda: runs_part.INTERVAL,
        follow=lambda model, wanted: runs_part.follow(model, wanted),
    ),
    "run": Part(run_part.run_to_json, lambda: run_part.INTERVAL),
    "worker": Part(worker_parts.read_worker, lambda: worker_parts.WORKER_INTERVAL),
    "life": Part(worker_parts.read_life, lambda: worker_parts.LIFE_INTERVAL),
    "code": Part(worker_parts.read_code, lambda: worker_parts.CODE_INTERVAL),
    "fire": Part(fire_part.fire_to_json, lambda: fire_part.FIRE_INTERVAL),
    "state": Part(_state, lambda: state_part.STATE_INTERVAL, is_heard_of=False),
    "capabilities": Part(_capabilities, lambda: capability_part.CAPABILITY_INTERVAL),
    "sessions": Part(_sessions, lambda: session_parts.SESSIONS_INTERVAL),
    "session": Part(_session, lambda: session_parts.SESSIONS_INTERVAL),
    "catalogue": Part(
        catalogue_part.catalogue_to_json,
        lambda: catalogue_part.CATALOGUE_INTERVAL,
        is_heard_of=False,
        is_slow=True,
    ),
    "nodes": Part(nodes_part.nodes_to_json, lambda: nodes_part.NODES_INTERVAL),
    "palette": Part(_palette, lambda: palette_part.PALETTE_INTERVAL),
    "tail": Part(_tail, lambda: tail_part.TAIL_INTERVAL),
}


def part_named(name: str) -> Part:
    """Return a part by its name; `map#busiest` is the part `map`, for a view that looks at it twice.

    Raises:
        UsageError: there is none.
    """
    found = PARTS.get(name.partition("#")[0])
    if found is None:
        raise UsageError(f"no part of the panel: {name!r}", code="DN915")
    return found
