"""Statements and histories of plain code, for tests of what slices are made of."""

from __future__ import annotations

from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.history import History
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.syntax.cell import Cell


def statements(*cells: str) -> list[Statement]:
    made = Statements(read_cells([Cell(number, text) for number, text in enumerate(cells, 1)]))
    return [statement for cell in made.cells for statement in made.of(cell)]


def history(*cells: str, is_order_of_run: bool = True) -> History:
    return History(statements(*cells), is_order_of_run=is_order_of_run)
