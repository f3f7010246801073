"""`CapabilityHead`: the head of the notebook's capability, from a `%%capability` cell; used by magics."""

from __future__ import annotations

import asyncio
import re

from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.errors import UsageError
from dnworker.core.lifecycle import ALIVE
from dnworker.engine.engine import Engine
from dnworker.engine.own import Declared
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.syntax.cell import Cell

_HEAD_CELL = re.compile(r"^%%capability\b", re.MULTILINE)


class CapabilityHead:
    """The head of one notebook's capability, which its live workers belong to."""

    def __init__(self, engine: Engine, cells: CellBook) -> None:
        self._engine = engine
        self._cells = cells
        self._cell: Cell | None = None
        """The cell that it is from."""

    @property
    def name(self) -> str | None:
        """The name that it gives the capability; None until such a cell has run."""
        manifest = self.manifest
        return None if manifest is None else manifest.name

    @property
    def manifest(self) -> CapabilityManifest | None:
        """The head; None until such a cell has run."""
        return self._engine.capabilities.own.head

    @property
    def cell(self) -> Cell | None:
        """The cell that it is from, which may have failed: a worker did not start under the new name."""
        return self._cell

    async def declare(self, manifest: CapabilityManifest, cell: Cell | None) -> Declared:
        """Take the head from a cell; under another name, live workers start again with empty state.

        Raises:
            Conflict: another capability has the name, or a loaded one runs in place of the notebook's.
            OSError: its directory cannot be read.
        """
        try:
            declared = await self._engine.declare(manifest)
        except asyncio.CancelledError:
            if self.manifest is manifest:  # the cell was interrupted while workers started
                self._cell = cell
            raise
        self._cell = cell
        return declared

    def is_gone(self) -> bool:
        """Return whether its cell ran again, to its end, and declares no capability any more."""
        latest = None if self._cell is None else self._cells.latest(self._cell.key)
        if latest is None or latest[0] == self._cell:
            return False
        cell, succeeded = latest
        return succeeded and _HEAD_CELL.search(cell.source) is None

    def earlier(self) -> Cell | None:
        """Return the cell that ran last of those that declare a capability."""
        return next((c for c in reversed(self._cells.all()) if _HEAD_CELL.search(c.source)), None)

    def forget_cell(self) -> None:
        """Know no longer which cell it is from, so that this cell's end is heeded once."""
        self._cell = None

    async def withdraw(self) -> Declared:
        """Take the head back, as its cell has.

        Raises:
            Conflict: a loaded capability is called `notebook`, or runs in place of the notebook's.
        """
        return await self._engine.declare(None)


def check_not_set_aside(engine: Engine, worker: str) -> None:
    """Check that no loaded capability runs in place of a worker of cells.

    Raises:
        UsageError: one does; `%capability load --replace` let it.
    """
    instead = engine.capabilities.own.running_instead(worker)
    if instead is not None:
        raise UsageError(
            f"worker {worker!r} of this notebook is set aside: capability {instead.name!r}, loaded from "
            f"{instead.root}, runs in its place; %capability unload {instead.name} brings the cells back, "
            "then run this cell again",
            code="DN407",
        )


def beside_loaded(engine: Engine, worker: str) -> list[str]:
    """Return a line for each loaded capability with a worker of this name: both handle every event."""
    return [
        f"  ! {loaded.workers[worker].qualified_name}, loaded from {loaded.root}, handles every event too; "
        f"%capability unload {loaded.name} ends it"
        for loaded in engine.capabilities.all()
        if not loaded.live and worker in loaded.workers and loaded.workers[worker].state in ALIVE
    ]
