"""`ExportProblem`: why something cannot be exported: name, location, reason, remedy; for all of export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from dnworker.core.errors import UsageError
from dnworker_jupyter.syntax.cell import Cell


@dataclass(frozen=True)
class ExportProblem:
    """One thing that cannot be exported or, as a warning, should not; `line` and `column` count from 1."""

    name: str
    why: str
    remedy: str
    cell: Cell | None = None
    line: int | None = None
    column: int | None = None

    @property
    def location(self) -> str:
        """Where it is used, such as `cell [3], line 2, column 5`; empty where it is in no cell."""
        if self.cell is None:
            return ""
        parts = [self.cell.label]
        parts += [f"line {self.line}"] if self.line is not None else []
        parts += [f"column {self.column}"] if self.column is not None else []
        return ", ".join(parts)

    @property
    def text(self) -> str:
        """The name, the reason and the remedy."""
        return f"{self.name}: {self.why}; {self.remedy}"

    def __str__(self) -> str:
        return f"{self.location}: {self.text}" if self.location else self.text

    @property
    def order(self) -> tuple[float, int, int]:
        """The key by which a report is sorted: in the order of the notebook, and last what is in no cell."""
        return (self.cell.number if self.cell is not None else math.inf, self.line or 0, self.column or 0)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "cell": None if self.cell is None else self.cell.number,
            "cell_id": None if self.cell is None else self.cell.id,
            "line": self.line,
            "column": self.column,
            "name": self.name,
            "why": self.why,
            "remedy": self.remedy,
        }

    def as_html(self) -> str:
        """Return it with its location as a link to the cell, which JupyterLab follows."""
        text = escape(self.text)
        if self.cell is None or self.cell.id is None:
            return escape(str(self))
        return f'<a href="#cell-id={quote(self.cell.id)}">{escape(self.location)}</a>: {text}'


class NotExportable(UsageError):
    """Something in the notebook cannot be exported; `problems` holds every reason."""

    code = "DN501"

    def __init__(self, problems: Sequence[ExportProblem], *, code: str | None = None) -> None:
        problems = sorted(problems, key=lambda problem: problem.order)
        self.problems = tuple(problems)
        self.is_shown = False
        """Whether the report was displayed already, so that a traceback need not repeat it."""
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{self.title}\n{lines}", code=code)

    @property
    def title(self) -> str:
        """The sentence above the list of reasons."""
        count = "one thing" if len(self.problems) == 1 else f"{len(self.problems)} things"
        return f"{count} cannot be exported; nothing was written"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"error": self.title, "refusals": [problem.as_json() for problem in self.problems]}

    def _render_traceback_(self) -> list[str]:
        if self.is_shown:
            return [f"{type(self).__name__}: {self.title}; the report above says why ({self.code})"]
        return super()._render_traceback_()


class ProblemReport:
    """Problems, or warnings, as a cell shows them: text in a terminal, a list with links in JupyterLab."""

    def __init__(self, title: str, problems: Iterable[ExportProblem]) -> None:
        self._title = title
        self._problems = tuple(problems)

    def __repr__(self) -> str:
        return "\n".join([self._title, *(f"  {problem}" for problem in self._problems)])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{problem.as_html()}</li>" for problem in self._problems)
        return f"<p>{escape(self._title)}</p><ul>{items}</ul>"
