"""The times that `holdings` goes by, and what it is told through."""

from __future__ import annotations

from typing import Protocol

from dnworker.core.lifecycle import WorkerState

LOOK_EVERY = 0.5
"""Seconds after which a node looks at the others' seats where nothing wakes it."""

CANCEL_AGAIN = 0.1
"""Seconds after which a task is cancelled again that has not ended."""

LOOK_APART = 0.02
"""Seconds between two looks, also where much changes."""

TRY_APART = 0.4
"""Seconds between two tries to take the same worker."""

PATIENCE = 2.0
"""Seconds for which a worker that nobody holds is left to the node that is to take it."""

SETTLED_AFTER = 30.0
"""Seconds for which a worker that has moved is not handed over to balance the load."""

TAKEN_WITHIN = 5.0
"""Seconds in which a worker that was handed over is taken, or the next may be."""

UNLISTED_FOR = 2.0
"""Seconds after which a worker that is no longer declared is given back: a reload lists it again."""

KILL_BEFORE = 0.5
"""Seconds before the end of a lease at which nothing of its worker is left, whatever it takes."""

START_WITHIN = 60.0
"""Seconds in which a worker that was handed over has started, or the next may be handed over."""

UPGRADED_AFTER = 5.0
"""Seconds for which a worker that has moved is not handed over to a node of another version."""

FAILED_WITHIN = 60.0
"""Seconds after its start in which a worker that fails does not start with its version."""

LEFT_FOR = 10.0
"""Seconds for which a worker that nobody holds is left to nodes that have the version they should."""

STARTING = frozenset({WorkerState.LOADING, WorkerState.STARTING, WorkerState.STANDBY})
"""The states of a worker whose lease is held, and which does not run yet."""

DOWN = frozenset({WorkerState.STOPPED, WorkerState.GATED_OFF, WorkerState.STANDBY})


class Moves(Protocol):
    """Notes which node holds which worker from now on."""

    def note(self, worker: str, fence: int, former: str | None, why: str) -> object:
        """Note that this node has taken a worker.

        Args:
            worker: its qualified name.
            fence: of this holder.
            former: the name of the node that held it before; None where none is known.
            why: `started`, `handed over` or `failover`.
        """


class AddLine(Protocol):
    """Adds a line to a worker's log."""

    def __call__(self, worker: str, text: str, *, source: str, level: str = "info") -> object:
        """Add it."""
