"""`SharedUvloop`: the loop of `serve` where uvloop is installed; `cli/loop_options.py` chooses it.

uvloop is in the extra `dnworker[speed]`. Only who uses it imports this.
"""

from __future__ import annotations

import uvloop

from dnworker.engine.own_loop import Shared
from dnworker.workers.lasting_loop import LastingLoop


class SharedUvloop(Shared, LastingLoop, uvloop.Loop):  # type: ignore[misc]  # types are not read
    """A loop of uvloop which no worker's code ends or takes from the others."""
