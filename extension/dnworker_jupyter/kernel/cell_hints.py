"""`CellHints`: says below a failed cell how a common mistake with dnworker is put right."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable
from typing import Any

from dnworker.core.errors import DnworkerError, UsageError
from dnworker.core.parsing import parse
from dnworker.workers.hints import way_out_in_cell
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.syntax.cell import Cell

LOOKED_AT = 200
"""Cells that are searched for what assigned a name, the newest first."""


_ON_TOP = ("%worker", "%capability", "%fire", "%agent")


class CellHints:
    """Looks at what a cell raised, once IPython has shown it: the exception stays as it is."""

    def __init__(self, shell: Any, cells: CellBook) -> None:
        self._shell = shell
        self._cells = cells

    def install(self) -> Callable[[], None]:
        """Look from now on; returns what ends it."""
        events, magics = self._shell.events, self._shell.magics_manager.magics["line"]
        events.register("post_run_cell", self._look)
        for name in _ON_TOP:  # IPython asks for the line magic of this name where the line is not the first
            magics[name] = functools.partial(_not_on_top, name)

        def uninstall() -> None:
            events.unregister("post_run_cell", self._look)
            for name in _ON_TOP:
                magics.pop(name, None)

        return uninstall

    def _look(self, result: Any) -> None:
        exc = getattr(result, "error_in_exec", None)
        if exc is None or issubclass(type(exc), DnworkerError) or self._cells.now is not None:
            return
        hint = way_out_in_cell(exc)
        if hint is None:
            return
        culprit = self._assigned("worker") if " no Worker" in hint.text else None
        by = "something assigned it" if culprit is None else f"{culprit.label} assigned it"
        print(f"x {hint}".replace("something assigned it", by), file=sys.stderr)  # noqa: T201  below the traceback

    def _assigned(self, name: str) -> Cell | None:
        """Return the newest cell that gave a name another meaning."""
        for cell in reversed(self._cells.tried()[-LOOKED_AT:]):
            if _assigns(cell.source, name):
                return cell
        return None


def _not_on_top(name: str, line: str) -> None:
    """Raise UsageError: the magic stands below other code of its cell."""
    raise UsageError(
        f"%{name} must be the first line of its cell: move it and what follows to a cell below", code="DN104"
    )


def _assigns(source: str, name: str) -> bool:
    """Return whether a cell assigns a name at its top level, or imports it."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        tree = parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in tree.body:
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Store):
                return True
            if isinstance(one, ast.alias) and name in (one.asname, one.name):
                return True
    return False
