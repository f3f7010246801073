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

ENDS_WITHIN = 10.0
"""Seconds in which a worker that is handed over has ended, or the next may be; it may stay then."""

DECLINED_FOR = 600.0
"""Seconds for which a worker is not handed again to a node that did not take it."""

RUNS_ON = "a handler of it has not ended here, though it was cancelled"
"""Why a worker stands by of which something runs on."""
