"""`Moves` and `AddLine`: what `holdings` tells of workers that it takes and loses."""

from __future__ import annotations

from typing import Protocol


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
