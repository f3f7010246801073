"""The cells that ran in this kernel, and how to name a place in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PROMPT = re.compile(r"In\s?\[(\d+)\]")


@dataclass(frozen=True)
class Cell:
    """One cell as it was last run.

    `number` is its execution count; `id` is the front end's, where it sends one.
    """

    number: int
    source: str
    id: str | None = None

    @property
    def key(self) -> str:
        """What makes it the same cell when it runs again: its id, else its exact text."""
        return self.id or f"text:{hash(self.source):x}"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"cell [{self.number}]"


class CellBook:
    """Keeps every cell that ran to its end, in the order of the last runs."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: dict[str, Cell] = {}
        self._latest: dict[str, tuple[Cell, bool]] = {}
        self._running: tuple[str, str | None] | None = None

    @property
    def running(self) -> Cell | None:
        """The cell that runs now."""
        if self._running is None:
            return None
        # Not shell.execution_count: IPython 9 counts it up before the cell runs, 8 after.
        number = len(self._shell.history_manager.input_hist_raw) - 1
        return Cell(number, *self._running)

    def begin(self, info: Any) -> None:
        """`pre_run_cell`: note which cell runs now."""
        source = info.raw_cell if isinstance(info.raw_cell, str) else ""
        self._running = (source, getattr(info, "cell_id", None))

    def end(self, succeeded: bool) -> None:
        """`post_run_cell`: keep the cell if it ran to its end."""
        cell, self._running = self.running, None
        if cell is None or not cell.source.strip():
            return
        self._latest[cell.key] = cell, succeeded
        if not succeeded:
            return
        self._cells.pop(cell.key, None)  # run again: it moves to the end
        self._cells[cell.key] = cell

    def all(self) -> list[Cell]:
        """Return the cells in the order in which they ran last."""
        return list(self._cells.values())

    def latest(self, key: str) -> tuple[Cell, bool] | None:
        """Return a cell as it ran last, and whether it ran to its end."""
        return self._latest.get(key)

    def locate(self, filename: str, line: int) -> str | None:
        """Return `cell [3], line 5` for code that came from a cell."""
        formatter: Callable[[str], tuple[str, str] | None] | None
        formatter = getattr(self._shell.compile, "format_code_name", None)
        named = formatter(filename) if formatter is not None else None
        match = _PROMPT.search(named[1]) if named else None
        return f"cell [{match[1]}], line {line}" if match else None
