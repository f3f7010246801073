"""`Actions`: the panel's operations that need a notebook; these refuse, `NotebookActions` does them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnworker.core.errors import UsageError
from dnworker.core.locations import location_of
from dnworker.core.parsing import parse
from dnworker.core.source import text_of
from dnworker.engine.suggest import Suggestions
from dnworker.panel.code_diff import Code, Section
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dnworker.core.handlers import HandlerKey
    from dnworker.engine.engine import Engine
    from dnworker.workers.managed import ManagedWorker

ONLY_NOTEBOOK = "only a notebook can do this"


class HandlerSource(NamedTuple):
    """The source of a handler: its text, and where that begins."""

    text: str
    place: str
    """Where its first line is, such as `cell [3], line 4`."""
    line: int
    note: str = ""
    """What is to be said of it, such as that another generation ran."""


class CellNow(NamedTuple):
    """A cell by the number of one of its runs: the front end's id, and the number of its newest run."""

    id: str | None
    number: int
    note: str = ""
    """Why the link leads elsewhere, or nowhere; empty where it is as it was."""


class AgentMark(NamedTuple):
    """That a coding agent wrote handlers of a worker which run now."""

    by: str
    """Its name."""
    change: str | None
    """Its change that can be undone; None where a person has changed the worker since."""
    is_outside: bool
    """Whether the notebook does not have its cell."""


class Actions:
    """What can be done where there is no notebook, as on the page of `dnworker serve`."""

    def __init__(self, engine: Engine, suggestions: Suggestions | None = None) -> None:
        self.engine = engine
        self._suggestions = suggestions or Suggestions(engine)

    @property
    def paused_by(self) -> str | None:
        """Who holds the loop, so that no worker can run; None while it is free."""
        return None

    def agent_mark(self, worker: ManagedWorker) -> AgentMark | None:
        """Return which coding agent wrote handlers that a worker runs now; None where none did."""
        return None

    async def undo_change(self, change: str) -> None:
        """Undo a change of a coding agent.

        Raises:
            UsageError: there is no notebook.
        """
        raise UsageError(ONLY_NOTEBOOK, code="DN917")

    def origins(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return where handlers are from, such as `cell [3]`."""
        return {}

    def stale(self, worker: ManagedWorker) -> Mapping[HandlerKey, str]:
        """Return why handlers are stale, of those that are: their cell was edited, failed or deleted."""
        return {}

    async def remove_handler(self, worker: ManagedWorker, key: HandlerKey) -> None:
        """Take one handler of a cell out, until that cell runs again.

        Raises:
            UsageError: it is of no cell.
        """
        raise UsageError(ONLY_NOTEBOOK, code="DN917")

    def cell_now(self, number: int) -> CellNow:
        """Return where the cell is that had this number when it ran."""
        return CellNow(None, number, ONLY_NOTEBOOK)

    def source_of(self, worker: str, key: HandlerKey, generation: int) -> HandlerSource | None:
        """Return the source of a handler as a generation of its worker has it; None where nobody has it."""
        managed = next((one for one in self.engine.workers() if one.qualified_name == worker), None)
        if managed is None:
            return None
        if isinstance(managed, InProcessWorker):
            registry = managed.worker_of(generation)
            found = [one for one in handlers_of(registry) if one.key == key] if registry is not None else []
            code = source_of(found[0].function) if found else None
        else:
            code = _code_in(self._script(managed), key.name)
        if code is None or managed.generation == generation:
            return code
        return code._replace(note=f"generation {generation} ran; this is generation {managed.generation}")

    def cells(self) -> list[tuple[int, str]]:
        """Return the number and the first line of each cell that ran, in the order in which they ran last."""
        return []

    @property
    def has_cells(self) -> bool:
        """Whether a test can be put into a cell."""
        return False

    def script_of(self, worker: ManagedWorker) -> str:
        """Return the path of the worker's script in its capability, as a test names it."""
        script = self._script(worker)
        if script is None:
            return f"workers/{worker.name}.py"
        return script.relative_to(self.engine.capability(worker.capability).root).as_posix()

    def _script(self, worker: ManagedWorker) -> Path | None:
        """Return the file of a worker in its capability, where it has one."""
        capability = self.engine.capability(worker.capability)
        for one in (worker.definition.path, *map(Path, worker.definition.args)):
            is_script = one is not None and one.suffix == ".py" and not capability.live
            if one is not None and is_script and one.is_relative_to(capability.root):
                return one
        return None

    def why_no_rollback(self, worker: ManagedWorker) -> str | None:
        """Return why there is no earlier generation to go back to; None where there is one."""
        return f"earlier generations are kept in a notebook; {ONLY_NOTEBOOK}"

    def generations(self, worker: ManagedWorker) -> list[Code]:
        """Return the generations of a worker whose code is known, oldest first; the last one runs.

        Outside of a notebook they are the texts that its file had at its starts.
        """
        return [
            Code(one.number, one.at, one.why, (Section(one.name, one.name, one.text),))
            for one in worker.life.versions
        ]

    def previous(self, worker: ManagedWorker) -> int | None:
        """Return the generation that a rollback goes back to, unless another is named; None without one."""
        return None

    async def roll_back(self, worker: ManagedWorker, generation: int | None = None) -> None:
        """Go back to an earlier generation, by default to the one before.

        The handlers are those of that generation; the state, the gate and the topology stay.

        Raises:
            UsageError: there is none.
        """
        raise UsageError(self.why_no_rollback(worker) or ONLY_NOTEBOOK, code="DN917")

    def why_no_export(self) -> str | None:
        """Return why nothing can be exported here; None where something can."""
        return f"what is served is a capability already; {ONLY_NOTEBOOK}"

    async def export(self, path: str, *, target: str, topology: str, force: bool) -> dict[str, Any]:
        """Export to a directory; returns `text`, and `problems` with locations when nothing was written.

        Raises:
            UsageError: there is no notebook to export.
        """
        raise UsageError(self.why_no_export() or ONLY_NOTEBOOK, code="DN917")

    def kinds(self) -> set[str]:
        """Return the kinds that can be expected to do something."""
        return self._suggestions.kinds()

    async def suggest(self, kind: str) -> tuple[dict[str, Any], str]:
        """Return a payload for a kind, and its source: a template, the last event, what handlers read."""
        return await self._suggestions.suggest(kind)

    def reads(self, kind: str) -> dict[str, Any]:
        """Return what handlers of a kind read of its payload, as far as their source is known."""
        return self._suggestions.reads(kind)


def source_of(function: Any) -> HandlerSource | None:
    """Return the source of a function; None where Python has none."""
    try:
        plain = inspect.unwrap(function)
        lines, first = inspect.getsourcelines(plain)
        file = inspect.getsourcefile(plain) or ""
    except (OSError, TypeError, ValueError):
        return None
    return HandlerSource("".join(lines).rstrip("\n"), location_of(file, first), first)


def _code_in(script: Path | None, name: str) -> HandlerSource | None:
    """Return the source of the function of a name in a script."""
    lines = text_of(str(script)) if script is not None else []
    try:
        tree = parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return None
    for one in ast.walk(tree):
        if isinstance(one, ast.AsyncFunctionDef) and one.name == name.partition("#")[0]:
            first = min([one.lineno, *(decorator.lineno for decorator in one.decorator_list)])
            text = "\n".join(lines[first - 1 : one.end_lineno])
            return HandlerSource(text, location_of(str(script), first), first)
    return None
