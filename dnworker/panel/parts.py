"""`PARTS`: what a view may look at, by name; each in a module of its own, which reads it for `view`.

A view says what it looks at, with what it wants of it. A part is read while somebody looks, at most once an
interval, and sent whole where it is not as it was sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import UsageError
from dnworker.panel import fire_part, state_part

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

Wanted = dict[str, Any]
"""What a view wants of a part, such as the worker or the event that it shows."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to look at.

    Args:
        read: returns the part as JSON; it calls `pace.rest` between small pieces of work.
        interval: returns the seconds between two looks. It is called each time: a test sets it to 0.
        is_heard_of: whether the feed hears of every change; else it is looked at again after the interval.
    """

    read: Callable[[PanelModel, Wanted, Pace], Awaitable[Any]]
    interval: Callable[[], float]
    is_heard_of: bool = True


async def _state(model: PanelModel, wanted: Wanted, pace: Pace) -> Any:
    return state_part.state_to_json(model.engine, str(wanted.get("worker")))


PARTS: dict[str, Part] = {
    "fire": Part(fire_part.fire_to_json, lambda: fire_part.FIRE_INTERVAL),
    "state": Part(_state, lambda: state_part.STATE_INTERVAL, is_heard_of=False),
}


def part_named(name: str) -> Part:
    """Return a part by its name; `map#busiest` is the part `map`, for a view that looks at it twice.

    Raises:
        UsageError: there is none.
    """
    found = PARTS.get(name.partition("#")[0])
    if found is None:
        raise UsageError(f"no part of the panel: {name!r}")
    return found
