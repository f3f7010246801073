"""Reads cells for an export: category, worker, parsed body; from a kernel or a notebook file."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from IPython.core.inputtransformer2 import TransformerManager

from dnworker.capability.reading import NotText, UnreadableFile, read_text
from dnworker.core.errors import UsageError
from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.python_magics import without_magics
from dnworker_jupyter.syntax.cell import Cell, LeftOut
from dnworker_jupyter.syntax.options import Options, WorkerLine, merged, read_worker_line

CellCategory = Literal["plain", "worker", "program", "test", "capability", "opaque"]
"""What a cell is to the exporter; `opaque` is a cell under another cell magic, whose effect is not known."""

PYTHON_MAGICS = frozenset({"time", "capture", "prun"})
"""Cell magics that run their body once, as a cell; other bodies are another language, or run otherwise."""

_CELL_MAGIC = re.compile(r"%%(\w+)(.*)")


@dataclass(frozen=True)
class SourceCell:
    """One code cell, with its number in the order of definition."""

    cell: Cell
    order: int
    category: CellCategory
    line: WorkerLine | None
    body: str
    """The Python text, with as many lines as the cell: the `%%` line is a comment in it.

    For programs, tests and heads: the text below the `%%` line.
    """
    only: frozenset[int] | None = None
    """The numbers of the statements of the body that belong to it; None for all."""
    alias: str | None = None
    """The name under which the cell knows its worker, beside `worker`."""
    counts: bool = True
    """Whether the handlers that this run of the cell registered are those that run now."""
    left_out: tuple[LeftOut, ...] = ()
    """Those of its handlers that were taken out since."""

    @property
    def label(self) -> str:
        """What users call it, such as `cell [3]`."""
        return self.cell.label

    @property
    def worker(self) -> str | None:
        """The worker that its `%%worker` line names; None without such a line."""
        return None if self.line is None else self.line.name

    @property
    def is_shared(self) -> bool:
        """Whether all of it goes into the script of its worker."""
        return self.line is not None and self.line.shared

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed body.

        Raises:
            SyntaxError: the body is not valid Python.
        """
        return _parse(self.body)

    @property
    def statements(self) -> list[ast.stmt]:
        """The top-level statements that belong to it.

        Raises:
            SyntaxError: the body is not valid Python.
        """
        return [node for node, _, _ in self.parts]

    @cached_property
    def parts(self) -> list[tuple[ast.stmt, str | None, bool]]:
        """The top-level statements that belong to it and that ran, without the magics that only run Python.

        Each comes with its text where that is not the cell's, and with whether it ran to its end.

        Raises:
            SyntaxError: the body is not valid Python.
        """
        chosen = [node for n, node in enumerate(self.tree.body) if self.only is None or n in self.only]
        if (failed := self.cell.failed_at) is not None:
            chosen = [node for node in chosen if first_line(node) <= failed]
        return [
            (one, text, failed is None or (node.end_lineno or node.lineno) < failed)
            for node in chosen
            for one, text in without_magics(node)
        ]

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the body."""
        return self.body.split("\n")  # as Python counts lines: a form feed does not end one


def read_cells(cells: Iterable[Cell]) -> list[SourceCell]:
    """Read cells, which are given in the order of definition."""
    return [_read(cell, order) for order, cell in enumerate(cells)]


def options_of(worker: str, sources: Sequence[SourceCell]) -> Options:
    """Return the options of a worker in Python, from the lines of all of its cells that count."""
    lines = (c.line for c in sources if c.category == "worker" and c.worker == worker and c.counts)
    return merged(line.options for line in lines if line is not None)


LONGEST_NOTEBOOK = 1_000_000_000
"""Bytes of a notebook's file, with the outputs that it keeps."""


def read_notebook(path: Path) -> list[Cell]:
    """Return the code cells of an `.ipynb` file, numbered as they stand.

    Raises:
        UsageError: the file is not a notebook.
    """
    try:
        notebook = json.loads(read_text(path, LONGEST_NOTEBOOK))
    except NotText as exc:
        raise UsageError(f"{path} is no notebook: {exc.why}", code="DN510") from exc
    except UnreadableFile as exc:
        raise UsageError(f"{path} {exc.why}", code="DN510") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path} is no notebook: {exc}", code="DN510") from exc
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise UsageError(f"{path} is no notebook: it has no list of cells (nbformat 4)", code="DN510")
    return list(_code_cells(cells))


def _code_cells(cells: list[dict[str, object]]) -> Iterator[Cell]:
    number = 0
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        number += 1
        source = cell.get("source", "")
        text = "".join(source) if isinstance(source, list) else str(source)
        if text.strip():
            identity = cell.get("id")
            yield Cell(number, text, identity if isinstance(identity, str) else None)


def _read(cell: Cell, order: int) -> SourceCell:
    lines = cell.source.split("\n")  # as Python counts lines: a form feed does not end one
    first = next(
        (n for n, text in enumerate(lines) if text.strip() and not text.lstrip().startswith("#")), None
    )
    match = _CELL_MAGIC.match(lines[first]) if first is not None else None
    category: CellCategory = "plain"
    line: WorkerLine | None = None
    if match is not None and first is not None:
        name, options = match.groups()
        if name == "worker":
            category, line = "worker", read_worker_line(options)
            if line.command is not None:
                return SourceCell(cell, order, "program", line, "\n".join([*lines[first + 1 :], ""]))
            if line.test:
                return SourceCell(cell, order, "test", line, "\n".join(lines[first + 1 :]))
        elif name == "capability":
            return SourceCell(cell, order, "capability", None, "\n".join(lines[first + 1 :]))
        elif name not in PYTHON_MAGICS:
            return SourceCell(cell, order, "opaque", None, "")
        lines[first] = "#"
    # IPython drops blank lines at the top; as comments they stay, and so do the line numbers.
    padded = "\n".join("#" if not text.strip() else text for text in _leading(lines))
    rest = "\n".join(lines[len(_leading(lines)) :])
    return SourceCell(cell, order, category, line, _as_python(f"{padded}\n{rest}" if padded else rest))


_IPYTHON_CHANGES = re.compile(
    r"""
    \A\s                                      # blank lines and an indentation at the top go
    | ^[^\S\n]+$                              # so do the blanks of an empty line
    | ^[^\S\n]*(?: >>> | \.\.\. | [%!,;/] )   # prompts, magics and commands
    | In\ \[                                  # prompts of IPython
    | =[^\S\n]*[%!]                           # what a magic or a command gives
    | \?                                      # help
    | [\r\v\f\x1c-\x1e\x85\u2028\u2029]       # lines that end in another way
    """,
    re.MULTILINE | re.VERBOSE,
)
"""Stands in every text in which IPython changes more than that it ends its last line; in some others, too."""


@lru_cache(maxsize=4096)
def _as_python(text: str) -> str:
    """Return a cell without its magics; a cell that ran often is read once.

    IPython makes tokens of every text, which takes longer than to parse it. Most cells have nothing for it.
    """
    if _IPYTHON_CHANGES.search(text) is None:
        return text if text.endswith("\n") else f"{text}\n"
    try:
        return str(TransformerManager().transform_cell(text))
    except SyntaxError:  # there are no tokens of it: to parse it says why
        return text


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.Module:
    return parse(text, "cell", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def first_line(node: ast.stmt) -> int:
    """Return the line that a statement begins on, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def last_line(node: ast.stmt, lines: list[str]) -> int:
    """Return the last line of a statement, with the comments below it that are indented into it."""
    end = node.end_lineno or node.lineno
    if not hasattr(node, "body"):
        return end
    for number in range(end, len(lines)):
        line = lines[number]
        if line.strip() and not (line[0] in " \t" and line.lstrip().startswith("#")):
            break
        end = number + 1 if line.strip() else end
    return end


def _leading(lines: list[str]) -> list[str]:
    count = next((n for n, text in enumerate(lines) if text.strip()), len(lines))
    return lines[:count]
