"""`SharedUvloop`: the loop of `serve` where uvloop is installed; `cli/loop_options.py` chooses it.

uvloop is in the extra `dnworker[speed]`. Only who uses it imports this.
"""

from __future__ import annotations

import weakref
from typing import Any

import uvloop

from dnworker.engine.own_loop import Shared
from dnworker.workers.lasting_loop import LastingLoop


class SharedUvloop(Shared, LastingLoop, uvloop.Loop):  # type: ignore[misc]  # types are not read
    """A loop of uvloop which no worker's code ends or takes from the others."""

    def __init__(self) -> None:
        super().__init__()
        self._asyncgens: weakref.WeakSet[Any] = weakref.WeakSet()
        """Asynchronous generators that were begun, as asyncio's loop has them; `cli/ending.py` names them."""

    def _asyncgen_firstiter_hook(self, generator: Any) -> None:
        self._asyncgens.add(generator)
        super()._asyncgen_firstiter_hook(generator)
