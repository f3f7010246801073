"""What the panel of a notebook can do beyond that of a page: roll back, export, and tell cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from dnworker.core.errors import ManifestError, UsageError
from dnworker.core.handlers import HandlerKey
from dnworker.panel.actions import Actions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dnworker.workers.managed import ManagedWorker
    from dnworker_jupyter.live.worker import LiveWorker
    from dnworker_jupyter.notebook import Notebook

_PLACE = re.compile(r"cell \[\d+\](?:, line \d+)?")


class NotebookActions(Actions):
    """The actions of one notebook."""

    def __init__(self, book: Notebook) -> None:
        super().__init__(book.runtime)
        self._book = book

    @property
    def paused_by(self) -> str | None:
        """Who holds the loop."""
        block = self._book.watchdog.block if self._book.watchdog is not None else None
        return None if block is None else block.who

    @property
    def exported_as(self) -> str | None:
        """What the `%%capability` cell calls it."""
        return self._book.capability_name

    @property
    def has_cells(self) -> bool:
        """There are."""
        return True

    def origins(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return the cell that each handler is from."""
        live = self._live(worker)
        handlers = [] if live is None else live.handlers()
        return {HandlerKey(h.decorator, h.what, h.name): cell.label for h, cell in handlers}

    def cell_id(self, number: int) -> str | None:
        """Return the front end's id of the cell that had this number when it ran."""
        return self._book.cells.ids.get(number)

    def why_no_rollback(self, worker: ManagedWorker) -> str | None:
        """Say why there is no earlier generation to go back to."""
        live = self._live(worker)
        if live is None:
            return "it was not made of cells, so it has no generations here"
        return None if live.previous() is not None else "this is its first generation"

    async def roll_back(self, worker: ManagedWorker) -> None:
        """Go back to the generation before.

        Raises:
            UsageError: there is none.
        """
        live = self._live(worker)
        if live is None:
            raise UsageError(f"worker {worker.name!r}: {self.why_no_rollback(worker)}")
        await live.rollback(self._book.runtime)

    def why_no_export(self) -> str | None:
        """Nothing forbids it: what cannot travel is told when it is tried."""
        return None

    async def export(self, path: str, *, target: str, topology: str, force: bool) -> dict[str, Any]:
        """Export to a directory; returns `text`, and `problems` with their cells when nothing was written."""
        from dnworker_jupyter.export.export import LiveExport
        from dnworker_jupyter.export.slicing.problems import NotExportable

        try:
            export = LiveExport(
                self._book,
                Path(path).expanduser(),
                target=cast(Literal["dreadnode", "dnworker"], target),
                topology=cast(Literal["uv", "python", "in-process"], topology),
            )
            told = await export.write(_nobody_watches, force=force)
        except NotExportable as exc:
            return {
                "text": exc.title,
                "problems": [{"location": one.place or None, "text": one.text} for one in exc.problems],
            }
        except ManifestError as exc:
            return {"text": "the manifest breaks rules", "problems": [_problem(one) for one in exc.problems]}
        return {"text": told, "problems": []}

    def kinds(self) -> set[str]:
        """Return the kinds that can be expected to do something."""
        from dnworker_jupyter.magics.fire import kinds_heard

        return super().kinds() | kinds_heard(self._book)

    async def suggest(self, kind: str) -> tuple[dict[str, Any], str]:
        """Return a payload for a kind, and where it is from; earlier runs of the notebook count."""
        from dnworker_jupyter.magics.fire import suggest

        payload, whence = await suggest(self._book, kind)
        return payload, whence or "a template"

    def _live(self, worker: ManagedWorker) -> LiveWorker | None:
        live = self._book.live.get(worker.name)
        return live if live is not None and live.managed is worker else None


def _nobody_watches(text: str, done: int, total: int) -> None:
    """Take how far an export is: without lock and check it takes no time."""


def _problem(text: str) -> dict[str, str | None]:
    """Take the place in a cell from the head of a reason, so that it can be a link."""
    match = _PLACE.match(text)
    if match is None:
        return {"location": None, "text": text}
    return {"location": match[0], "text": text[match.end() :].lstrip(":, ")}
