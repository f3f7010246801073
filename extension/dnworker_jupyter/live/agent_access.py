"""`AgentAccess`: what agents may do in this notebook, and which of their cells it does not have."""

from __future__ import annotations

from dnworker_jupyter.live.stale import StaleHandlers
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell


class AgentAccess:
    """What the user allows agents; `%runtime mcp --allow-write` sets it.

    Args:
        stale: knows what the notebook has.
    """

    def __init__(self, stale: StaleHandlers) -> None:
        self.may_write = False
        """Whether agents may run cells, and undo that."""
        self._stale = stale

    def is_in_notebook(self, cell: Cell) -> bool:
        """Return whether the notebook has a cell, as far as is known."""
        return not self._stale.is_outside(cell) and not self._stale.is_deleted(cell)

    def outside(self, live: LiveWorkers) -> list[Cell]:
        """Return the cells of agents whose handlers run, and that the notebook does not have."""
        cells = {one.cell.key: one.cell for worker in live for one in worker.registrations.values()}
        return [cell for cell in cells.values() if self._stale.is_outside(cell)]
