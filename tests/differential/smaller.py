"""Makes a notebook that goes wrong smaller: fewer runs, cells, statements and told values, as long as it goes wrong."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .harness import Harness, Result
from .notebook import Notebook

Unit = tuple[int, int]
"""A statement or told value: the number of its cell, and its own in the cell."""


def smaller(harness: Harness, result: Result, *, tries: int = 120) -> Result:
    """Return the result of a notebook without what is not needed to go wrong the same way."""
    return _Search(harness, result, tries).run()


class _Search:
    """Takes parts away, half of them at a time, then fewer, and keeps what still goes wrong (ddmin)."""

    def __init__(self, harness: Harness, result: Result, tries: int) -> None:
        self._harness = harness
        self._best = result
        self._tries = tries
        self._by_file = result.kernel.verdict in ("same", "refused")
        self._verdict = self._verdict_of(result)

    def run(self) -> Result:
        if len(self._best.notebook.fires) > 1:
            self._try(replace(self._best.notebook, fires=self._best.notebook.fires[:1]))
        self._drop_runs()
        whole = self._best.notebook
        parts = [_split(cell.source) for cell in whole.cells]
        kept = [(cell, n) for cell, part in enumerate(parts) for n in range(len(part.units))]
        size = max(1, len(kept) // 2)
        while size:
            kept = self._drop(whole, parts, kept, size)
            size //= 2
        return self._best

    def _drop_runs(self) -> None:
        for at in reversed(range(len(self._best.notebook.run))):
            run = list(self._best.notebook.run)
            self._try(replace(self._best.notebook, run=run[:at] + run[at + 1 :]))
        notebook = self._best.notebook
        if notebook.run:
            self._try(_without_unused(notebook))

    def _drop(self, whole: Notebook, parts: Sequence[_Parts], kept: list[Unit], size: int) -> list[Unit]:
        """Take away each `size` units in turn, from the end; returns those that are left."""
        at = len(kept)
        while at > 0 and self._tries > 0:
            fewer = kept[: max(0, at - size)] + kept[at:]
            if self._try(_made_of(whole, parts, fewer)):
                kept = fewer
            at -= size
        return kept

    def _try(self, notebook: Notebook) -> bool:
        self._tries -= 1
        found = self._harness.compare(notebook, file=self._by_file)
        if found.broken or self._verdict_of(found) != self._verdict:
            return False
        self._best = found
        return True

    def _verdict_of(self, result: Result) -> str:
        return (result.file if self._by_file else result.kernel).verdict


@dataclass(frozen=True)
class _Parts:
    """A cell's text: what stays, what may go, what stays."""

    head: str
    units: Sequence[str]
    tail: str = ""


def _split(source: str) -> _Parts:
    if source.startswith("%%worker"):
        told = [line for line in source.split("\n") if line.startswith(" " * 12)]
        head, _, rest = source.partition("\n" + told[0] + "\n") if told else (source, "", "")
        return _Parts(head, told, rest[len("\n".join(told[1:])) + (len(told) > 1) :])
    first, _, rest = source.partition("\n") if source.startswith("%%") else ("", "", source)
    return _Parts(first, [*_statements(rest)])


def _statements(source: str) -> Iterator[str]:
    """Yield the top-level statements of Python with line magics."""
    lines = source.split("\n")
    for node in ast.parse(re.sub(r"^%time ", "0;    ", source, flags=re.MULTILINE)).body:
        text = "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
        if not (isinstance(node, ast.Expr) and text.startswith("%time") and node.end_col_offset == 1):
            yield text


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _made_of(notebook: Notebook, parts: Sequence[_Parts], kept: Sequence[Unit]) -> Notebook:
    """Return the notebook with the units that are kept, without cells that have none where each runs once."""
    cells, empty = [], set()
    for number, (cell, part) in enumerate(zip(notebook.cells, parts, strict=True)):
        units = [part.units[n] for at, n in kept if at == number]
        cells.append(replace(cell, source="\n".join(t for t in (part.head, *units, part.tail) if t)))
        if not cells[-1].source or (part.head.startswith("%%") and "worker" not in part.head and not units):
            empty.add(number + 1)
    run = [n for n in notebook.run or range(1, len(cells) + 1) if n not in empty]
    return _without_unused(replace(notebook, cells=cells, run=run))


def _without_unused(notebook: Notebook) -> Notebook:
    """Return the notebook without cells that never run."""
    used = sorted(set(notebook.run))
    numbers = {old: new for new, old in enumerate(used, 1)}
    run = [numbers[n] for n in notebook.run]
    cells = [notebook.cells[n - 1] for n in used]
    return replace(notebook, cells=cells, run=[] if run == [*range(1, len(run) + 1)] else run)
