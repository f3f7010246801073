"""How long `holdings` waits for other nodes, and for workers, before it does something else."""

from __future__ import annotations

LOOK_EVERY = 0.5
"""Seconds after which a node looks at the others' seats where nothing wakes it."""

LOOK_APART = 0.02
"""Seconds between two looks, also where much changes."""

TRY_APART = 0.2
"""Seconds between two tries to take the same worker."""

CLOSE_WITHIN = 2.0
"""Seconds that the end of a node may take, where the broker does not answer."""

PATIENCE = 2.0
"""Seconds for which a worker that nobody holds is left to the node that is to take it."""

SETTLED_AFTER = 30.0
"""Seconds for which a worker that has moved is not handed over to balance the load."""

TAKEN_WITHIN = 5.0
"""Seconds in which a worker that was handed over is taken, or the next may be."""

UNLISTED_FOR = 2.0
"""Seconds after which a worker that is no longer declared is given back: a reload lists it again."""

START_WITHIN = 60.0
"""Seconds in which a worker that was handed over has started, or the next may be handed over."""

UPGRADED_AFTER = 5.0
"""Seconds for which a worker that has moved is not handed over to a node of another version."""

FAILED_WITHIN = 60.0
"""Seconds after its start in which a worker that fails does not start with its version."""

LEFT_FOR = 10.0
"""Seconds for which a worker that nobody holds is left to nodes that have the version they should."""

ENDS_WITHIN = 10.0
"""Seconds in which a worker that is handed over has ended, or the next may be; it may stay then."""

DECLINED_FOR = 600.0
"""Seconds for which a worker is not handed again to a node that did not take it."""

ASK_APART = 2.0
"""Seconds between two questions whether a worker is divided by now as this node was told."""

SETTLE_SECONDS = 1.0
"""Seconds in which it is written how far a worker is, before its lease is given back."""

KILL_BEFORE = 0.5
"""Seconds before the end of a lease at which nothing of its worker is left, whatever it takes."""

RUNS_ON = "a handler of it has not ended here, though it was cancelled"
"""Why a worker stands by of which something runs on."""
