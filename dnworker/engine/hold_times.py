"""How long `holdings` waits for other nodes, and for workers, before it does something else."""

from __future__ import annotations

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
