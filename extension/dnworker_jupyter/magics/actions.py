"""`NotebookActions`: does the panel's operations that need a notebook: roll back, export, name cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from dnworker.core.errors import ManifestError, NotFound, UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.core.topology import Topology
from dnworker.panel.actions import Actions, AgentMark, CellNow, HandlerSource, source_of
from dnworker.panel.code_diff import Code, Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dnworker.workers.managed import ManagedWorker
    from dnworker_jupyter.live.generations import Generation
    from dnworker_jupyter.live.worker import LiveWorker
    from dnworker_jupyter.magics.context import MagicContext
    from dnworker_jupyter.magics.door import Door

_LOCATION = re.compile(r"cell \[\d+\](?:, line \d+)?")

UNDO_SECONDS = 30.0
"""How long an undo of the panel waits for cells that run."""


class NotebookActions(Actions):
    """The actions of one notebook."""

    def __init__(self, context: MagicContext) -> None:
        super().__init__(context.runtime, context.suggestions)
        self._context = context
        context.runtime.changes.describe = self._what_made

    def _what_made(self, worker: str) -> str | None:
        """Return what made the present generation of a worker."""
        try:
            live = self._context.live.running(self.engine.worker(worker))
        except NotFound:
            return None
        return None if live is None else live.current.why

    @property
    def paused_by(self) -> str | None:
        """Who holds the loop."""
        block = self._context.watch.block
        return None if block is None else block.who

    @property
    def has_cells(self) -> bool:
        """Whether there are cells: always, in a notebook."""
        return True

    def agent_mark(self, worker: ManagedWorker) -> AgentMark | None:
        """Return which coding agent wrote handlers that a worker runs now, the newest of several."""
        live = self._context.live.running(worker)
        cells = [] if live is None else [one.cell for one in live.registrations.values()]
        newest = max((cell for cell in cells if cell.by), key=lambda cell: cell.number, default=None)
        if newest is None or newest.by is None or live is None:
            return None
        change = self._door().agent_changes.newest_of(live.name, live.generation)
        outside = any(not self._context.agents.is_in_notebook(cell) for cell in cells if cell.by)
        return AgentMark(newest.by, None if change is None else change.id, outside)

    async def undo_change(self, change: str) -> None:
        """Undo a change of a coding agent, unless somebody has changed the worker since."""
        await self._door().undo_by_hand(change, by="the user", timeout=UNDO_SECONDS)

    def _door(self) -> Door:
        from dnworker_jupyter.magics.mcp import door_of  # only where agents were let in

        return door_of(self._context)

    def origins(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return the cell that each handler is from."""
        live = self._context.live.running(worker)
        handlers = [] if live is None else live.handlers()
        return {handler.key: cell.label for handler, cell in handlers}

    def stale(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return why handlers are stale, of those that are."""
        live = self._context.live.running(worker)
        return {} if live is None else {one.handler.key: one.why for one in self._context.stale.of(live)}

    async def remove_handler(self, worker: ManagedWorker, key: HandlerKey) -> None:
        """Take one handler of a cell out, until that cell runs again.

        Raises:
            UsageError: it is of no cell.
        """
        live = self._context.live.running(worker)
        found = [handler for handler, _ in live.handlers() if handler.key == key] if live is not None else []
        if live is None or not found:
            raise UsageError(f"worker {worker.name!r} has no handler {key.name!r} of a cell", code="DN110")
        await live.without(found)

    def cell_now(self, number: int) -> CellNow:
        """Return where the cell is that had this number when it ran."""
        cells = self._context.cells
        cell = cells.newest_of(number)
        if cell is None:
            return CellNow(cells.ids.get(number), number)
        if self._context.stale.is_deleted(cell):
            return CellNow(None, cell.number, f"cell [{number}] is not in the notebook any more")
        note = "" if cell.number == number else f"cell [{number}] ran again as [{cell.number}]"
        return CellNow(cell.id, cell.number, note)

    def source_of(self, worker: str, key: HandlerKey, generation: int) -> HandlerSource | None:
        """Return the source of a handler of a cell, or as elsewhere."""
        live = next((one for one in self._context.live if _name_of(one) == worker), None)
        if live is None:
            return super().source_of(worker, key, generation)
        ran = live.numbered(generation)
        among = live.current if ran is None else ran
        for handler, cell in among.handlers():
            if handler.key == key:
                code = source_of(handler.function)
                line = 1 if code is None else code.line
                note = "" if ran is not None else f"generation {generation} ran; this is {among.number}"
                return HandlerSource(handler.source.rstrip("\n"), f"{cell.label}, line {line}", line, note)
        return None

    def cells(self) -> list[tuple[int, str]]:
        """Return the number and the first line of each cell that ran."""
        return [(cell.number, _first_line(cell.source)) for cell in self._context.cells.all()]

    def why_no_rollback(self, worker: ManagedWorker) -> str | None:
        """Return why there is no earlier generation to go back to."""
        live = self._context.live.running(worker)
        if live is None:
            return "it was not made of cells, so it has no generations here"
        return None if live.previous() is not None else "this is its first generation"

    def generations(self, worker: ManagedWorker) -> list[Code]:
        """Return the generations of a worker of cells, with their source; else the texts of its file."""
        live = self._context.live.running(worker)
        if live is None:
            return super().generations(worker)
        kept = live.kept.values()
        others = [_code_of(one) for one in kept if one.number != live.generation]
        return [*others, _code_of(live.current)]

    def previous(self, worker: ManagedWorker) -> int | None:
        """Return the generation that a rollback goes back to, unless another is named; None without one."""
        live = self._context.live.running(worker)
        return None if live is None or live.earlier is None else live.earlier.number

    async def roll_back(self, worker: ManagedWorker, generation: int | None = None) -> None:
        """Go back to an earlier generation, by default to the one before.

        Raises:
            UsageError: there is none.
        """
        live = self._context.live.running(worker)
        if live is None:
            raise UsageError(f"worker {worker.name!r}: {self.why_no_rollback(worker)}", code="DN112")
        await live.rollback(generation)

    def why_no_export(self) -> str | None:
        """Return None: an export can always be tried, and reports itself what cannot be exported."""
        return None

    async def export(self, path: str, *, target: str, topology: str, force: bool) -> dict[str, Any]:
        """Export to a directory; returns `text`, and `problems` with their cells when nothing was written."""
        from dnworker_jupyter.export.slicing.problems import NotExportable
        from dnworker_jupyter.magics.live_export import LiveExport

        try:
            export = LiveExport(
                self._context,
                Path(path).expanduser(),
                target=cast(Literal["dreadnode", "dnworker"], target),
                topology=cast(Topology, topology),
            )
            result = await export.write(_nobody_watches, force=force)
        except NotExportable as exc:
            return {
                "text": exc.title,
                "problems": [{"location": one.location or None, "text": one.text} for one in exc.problems],
            }
        except ManifestError as exc:
            return {"text": "the manifest breaks rules", "problems": [_problem(one) for one in exc.problems]}
        return {"text": result, "problems": []}


def _code_of(generation: Generation) -> Code:
    sections = tuple(
        Section(key, one.cell.label, one.cell.source) for key, one in generation.registrations.items()
    )
    return Code(generation.number, generation.at, generation.why, sections)


def _name_of(live: LiveWorker) -> str | None:
    return None if live.managed is None else live.managed.qualified_name


def _first_line(source: str) -> str:
    return source.strip().partition("\n")[0]


def _nobody_watches(text: str, done: int, total: int) -> None:
    """Take how far an export is: without lock and check it takes no time."""


def _problem(text: str) -> dict[str, str | None]:
    """Take the location in a cell from the head of a reason, so that it can be a link."""
    match = _LOCATION.match(text)
    if match is None:
        return {"location": None, "text": text}
    return {"location": match[0], "text": text[match.end() :].lstrip(":, ")}
