"""Finds stale handlers, which run although their cell was edited, failed or deleted; for what shows them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dnworker.core.handlers import HandlerKey
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.notebook_file import SavedNotebook, read_saved
from dnworker_jupyter.live.records import Handler, Registration
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.cell import Cell


class Stale(NamedTuple):
    """A handler that runs although its cell would not register it as it stands."""

    worker: str
    handler: Handler
    cell: Cell
    why: str

    @property
    def text(self) -> str:
        """Which handler it is, of which cell, why it is stale, and how to drop it."""
        name = f"{self.worker}.{self.handler.key.name}"
        return f"{name} of {self.cell.label} is stale: {self.why}; %worker remove {name} drops it"


class StaleHandlers:
    """The stale handlers of one notebook, as far as the kernel and the saved file show them."""

    def __init__(self, live: LiveWorkers, cells: CellBook) -> None:
        self._live = live
        self._cells = cells
        self._saved: SavedNotebook | None = None
        self._read: tuple[Path, int, int] | None = None
        """Which file was read, with its time and size."""
        self._inserted: dict[str, float] = {}
        """The ids of cells of agents that a front end has put into the notebook, and when."""

    def note_saved(self, path: Path | None) -> None:
        """Take in the saved notebook, where it has changed since; may be called on any thread."""
        if path is None:
            return
        try:
            found = path.stat()
        except OSError:
            return  # it is not there any more: what was read last counts
        if (stamp := (path, found.st_mtime_ns, found.st_size)) != self._read:
            self._saved, self._read = read_saved(path), stamp

    def of(self, live: LiveWorker) -> Iterator[Stale]:
        """Go through the stale handlers of a worker."""
        for registration in live.registrations.values():
            why = self._why_outside(registration.cell) or why_stale(registration, self._cells, self._saved)
            if registration.handlers and why:
                for handler in registration.handlers:
                    yield Stale(live.name, handler, registration.cell, why)

    def note_inserted(self, cell: Cell, *, is_there: bool = True) -> None:
        """Note that a front end has put an agent's cell into the notebook, or taken it out."""
        if cell.id is not None and is_there:
            self._inserted[cell.id] = time.time()
        else:
            self._inserted.pop(cell.id or "", None)

    def is_outside(self, cell: Cell) -> bool:
        """Return whether an agent wrote a cell that the notebook does not have, as far as is known."""
        if cell.by is None:
            return False
        put_at = self._inserted.get(cell.id or "")
        if self._saved is None:
            return put_at is None
        if cell.id in self._saved.sources or _text(cell.source) in map(_text, self._saved.sources.values()):
            return False
        return put_at is None or self._saved.saved_at > put_at  # put there, and gone when it was saved since

    def _why_outside(self, cell: Cell) -> str | None:
        if not self.is_outside(cell):
            return None
        return f"agent {cell.by} wrote its cell, which is not in the notebook"

    def is_deleted(self, cell: Cell) -> bool:
        """Return whether the notebook, as it was saved last, has a cell no more."""
        if self._saved is None or cell.id is None or ":" in cell.id:
            return False
        return cell.id not in self._saved.sources

    def among(self, runs: Iterable[tuple[str, HandlerKey | None, int]]) -> list[Stale]:
        """Return those that ran: each run by its worker's qualified name, its handler and its generation."""
        found: dict[tuple[str, HandlerKey], Stale] = {}
        ran = {*runs}
        for live in self._live:
            if live.managed is None:
                continue
            name, number = live.managed.qualified_name, live.generation
            if any(worker == name for worker, _, _ in ran):
                for one in self.of(live):
                    if (name, one.handler.key, number) in ran:
                        found[name, one.handler.key] = one
        return [*found.values()]


def why_stale(registration: Registration, cells: CellBook, saved: SavedNotebook | None) -> str | None:
    """Return why a registration is stale; None when it is current, as far as can be known.

    A kernel knows only the cells that ran. The saved file shows which cells were changed or deleted since,
    if it was saved after the registration.
    """
    cell = registration.cell
    latest = cells.latest(cell.key)
    if latest is not None and not latest[1] and latest[0].source != cell.source:
        return f"its cell failed when it ran again as {latest[0].label}"
    if saved is None or cell.id is None or saved.saved_at < registration.at:
        return None
    if ":" in cell.id:  # VS Code names cells by address, and the file by ids of its own: compare the text
        texts = {_text(source) for source in saved.sources.values()}
        return None if _text(cell.source) in texts else "its cell was edited since, or deleted"
    if cell.id not in saved.sources:
        return "its cell was deleted"
    if _text(saved.sources[cell.id]) != _text(cell.source):
        return "its cell was edited since and has not run"
    return None


def _text(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def label(cell: Cell, why: str | None) -> str:
    """Return where a handler is from, as `%worker` shows it, with why it is stale."""
    return cell.label if why is None else f"{cell.label} (stale: {why})"
