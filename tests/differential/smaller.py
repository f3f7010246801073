"""Makes a notebook that goes wrong smaller, one run, cell, statement or told value at a time."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import replace

from .harness import Harness, Result
from .notebook import Notebook


def smaller(harness: Harness, result: Result, *, tries: int = 150) -> Result:
    """Return the result of a notebook without what is not needed to go wrong the same way."""
    best = result
    by_file = result.kernel.verdict in ("same", "refused")

    def verdict(found: Result) -> str:
        return (found.file if by_file else found.kernel).verdict

    changed = True
    while changed and tries > 0:
        changed = False
        for candidate in _without_one(best.notebook):
            tries -= 1
            found = harness.compare(candidate, file=by_file)
            if not found.broken and verdict(found) == verdict(best):
                best, changed = found, True
                break
            if tries <= 0:
                break
    return best


def _without_one(notebook: Notebook) -> Iterator[Notebook]:
    """Yield the notebook without each of its runs, cells, statements and told values, large parts first."""
    if len(notebook.fires) > 1:
        yield replace(notebook, fires=notebook.fires[:1])
    for number in range(len(notebook.run)):
        yield _without_unused(replace(notebook, run=[n for at, n in enumerate(notebook.run) if at != number]))
    if not notebook.run:
        for number, cell in enumerate(notebook.cells):
            if not cell.source.startswith("%%worker"):
                yield replace(notebook, cells=[c for at, c in enumerate(notebook.cells) if at != number])
    for number, cell in enumerate(notebook.cells):
        for source in _shorter(cell.source):
            cells = copy.copy(list(notebook.cells))
            cells[number] = replace(cell, source=source)
            yield replace(notebook, cells=cells)


def _without_unused(notebook: Notebook) -> Notebook:
    """Return the notebook without cells that never run."""
    used = sorted(set(notebook.run))
    numbers = {old: new for new, old in enumerate(used, 1)}
    run = [numbers[n] for n in notebook.run]
    return replace(
        notebook,
        cells=[notebook.cells[n - 1] for n in used],
        run=[] if run == [*range(1, len(run) + 1)] else run,
    )


def _shorter(source: str) -> Iterator[str]:
    if source.startswith("%%worker"):
        lines = source.split("\n")
        told = [n for n, line in enumerate(lines) if line.startswith(" " * 12)]
        if len(told) > 1:
            yield from ("\n".join(line for at, line in enumerate(lines) if at != n) for n in told)
        return
    if source.startswith("%%"):
        yield source.partition("\n")[2]
    try:
        nodes = ast.parse(re.sub(r"^%%\w+", "#", source)).body
    except SyntaxError:  # %time
        lines = source.split("\n")
        if all(not line.startswith(" ") for line in lines):
            yield from (
                "\n".join(line for at, line in enumerate(lines) if at != n) for n in range(len(lines))
            )
        return
    lines = source.split("\n")
    for node in nodes:
        if len(nodes) > 1:
            yield "\n".join(lines[: node.lineno - 1] + lines[node.end_lineno :])
