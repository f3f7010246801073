"""Statements and histories of plain code, for tests of what slices are made of."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.history import History
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.syntax.cell import Cell


def statements(*cells: str, failed_at: int | None = None) -> list[Statement]:
    """Return the statements of cells; `failed_at` is the line at which each of them failed."""
    ran = [Cell(number, text, failed_at=failed_at) for number, text in enumerate(cells, 1)]
    made = Statements(read_cells(ran))
    return [statement for cell in made.cells for statement in made.of(cell)]


def history(*cells: str, is_order_of_run: bool = True, failed_at: int | None = None) -> History:
    return History(statements(*cells, failed_at=failed_at), is_order_of_run=is_order_of_run)


@contextmanager
def few_calls_deep() -> Iterator[None]:
    """Let calls be 250 deep at most, so that few runs of a cell show what many would break."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 250)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
