"""`Actions`: the panel's operations that need a notebook; these refuse, `NotebookActions` does them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import UsageError
from dnworker.engine.suggest import Suggestions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dnworker.core.handlers import HandlerKey
    from dnworker.engine.engine import Engine
    from dnworker.workers.managed import ManagedWorker

ONLY_NOTEBOOK = "only a notebook can do this"


class Actions:
    """What can be done where there is no notebook, as on the page of `dnworker serve`."""

    def __init__(self, engine: Engine, suggestions: Suggestions | None = None) -> None:
        self.engine = engine
        self._suggestions = suggestions or Suggestions(engine)

    @property
    def paused_by(self) -> str | None:
        """Who holds the loop, so that no worker can run; None while it is free."""
        return None

    def origins(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return where handlers are from, such as `cell [3]`."""
        return {}

    def stale(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return why handlers are stale, of those that are: their cell was edited, failed or deleted."""
        return {}

    async def remove_handler(self, worker: ManagedWorker, key: HandlerKey) -> None:
        """Take one handler of a cell out, until that cell runs again.

        Raises:
            UsageError: it is of no cell.
        """
        raise UsageError(ONLY_NOTEBOOK)

    def cell_id(self, number: int) -> str | None:
        """Return the front end's id of the cell that had this number when it ran."""
        return None

    @property
    def has_cells(self) -> bool:
        """Whether a test can be put into a cell."""
        return False

    def script_of(self, worker: ManagedWorker) -> str:
        """Return the path of the worker's script in its capability, as a test names it."""
        capability = self.engine.capability(worker.capability)
        for one in (worker.definition.path, *map(Path, worker.definition.args)):
            is_script = one is not None and one.suffix == ".py" and not capability.live
            if one is not None and is_script and one.is_relative_to(capability.root):
                return one.relative_to(capability.root).as_posix()
        return f"workers/{worker.name}.py"

    def why_no_rollback(self, worker: ManagedWorker) -> str | None:
        """Return why there is no earlier generation to go back to; None where there is one."""
        return f"earlier generations are kept in a notebook; {ONLY_NOTEBOOK}"

    async def roll_back(self, worker: ManagedWorker) -> None:
        """Go back to the generation before.

        Raises:
            UsageError: there is none.
        """
        raise UsageError(self.why_no_rollback(worker) or ONLY_NOTEBOOK)

    def why_no_export(self) -> str | None:
        """Return why nothing can be exported here; None where something can."""
        return f"what is served is a capability already; {ONLY_NOTEBOOK}"

    async def export(self, path: str, *, target: str, topology: str, force: bool) -> dict[str, Any]:
        """Export to a directory; returns `text`, and `problems` with locations when nothing was written.

        Raises:
            UsageError: there is no notebook to export.
        """
        raise UsageError(self.why_no_export() or ONLY_NOTEBOOK)

    def kinds(self) -> set[str]:
        """Return the kinds that can be expected to do something."""
        return self._suggestions.kinds()

    async def suggest(self, kind: str) -> tuple[dict[str, Any], str]:
        """Return a payload for a kind, and its source: a template, the last event, what handlers read."""
        return await self._suggestions.suggest(kind)

    def reads(self, kind: str) -> dict[str, Any]:
        """Return what handlers of a kind read of its payload, as far as their source is known."""
        return self._suggestions.reads(kind)
