"""The state of a worker as `view` sends it: a bounded tree, or why there is none.

State may hold what nobody else must see. A view gets it because it has shown the runtime's own token, which
the page demands of every browser, or is in the notebook itself: see `server/rights.py` and `server/page.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.errors import Conflict, NotFound
from dnworker.core.value_tree import Bounds, tree_of
from dnworker.engine.worker_state import state_of

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

STATE_INTERVAL = 0.5
"""Seconds between two looks at a state that is shown."""

BOUNDS = Bounds(depth=5, width=50, nodes=400, size=40_000, seconds=0.02)


def state_to_json(engine: Engine, worker: str) -> dict[str, Any]:
    """Return the state of a worker by its name; `why` says why there is no tree."""
    found: dict[str, Any] = {"worker": worker, "tree": None, "why": None}
    try:
        state = state_of(engine.worker(worker))
    except (Conflict, NotFound) as exc:
        return found | {"why": str(exc)}
    return found | {"tree": msgspec.to_builtins(tree_of(state, "", BOUNDS))}
