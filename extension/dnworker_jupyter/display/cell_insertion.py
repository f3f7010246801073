"""`CellInsertion`: puts cells of agents into the notebook of a front end, by a view of the panel there.

JupyterLab lets a widget change the notebook that shows it. VS Code does not, and without a view nobody can:
then the cell runs in the kernel alone, which `%runtime mcp`, the panel and exports say.
"""

from __future__ import annotations

from dnworker_jupyter.display.panels import Panels
from dnworker_jupyter.syntax.cell import Cell

PATIENCE = 3.0
"""Seconds that a view may take to answer; one in a tab that sleeps does not."""


class CellInsertion:
    """The way into the notebook.

    Args:
        panels: whose views may have it.
    """

    def __init__(self, panels: Panels) -> None:
        self._panels = panels

    async def put(self, cell: Cell, below: list[str]) -> bool:
        """Put a cell into the notebook, below one of those with these ids; returns whether it is there."""
        message = {"op": "put", "id": cell.id, "source": cell.source, "by": cell.by, "below": below}
        return await self._panels.ask_for_cell(message, PATIENCE)

    async def take_out(self, cell: Cell) -> bool:
        """Take a cell out of the notebook, unless it was edited; returns whether it is gone."""
        return await self._panels.ask_for_cell(
            {"op": "take_out", "id": cell.id, "source": cell.source}, PATIENCE
        )
