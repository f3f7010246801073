"""Follows names through a notebook to everything that one worker's handlers need; used by planning."""

from __future__ import annotations

import ast
import builtins
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dnworker_jupyter.export.slicing.bindings import definitions_by_name, mutations_by_name
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.name_problems import (
    UNFOLLOWED,
    effect_problem,
    is_harmless,
    name_problem,
    syntax_problem,
)
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import STAR, Statement, Statements, root_name

BOUND = frozenset({"worker", "EventEnvelope", "RuntimeClient", "TurnFailedError", "TurnCancelledError"})
"""Names that the head of every script binds."""

_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__package__", "__builtins__"})
_BUILTINS = (frozenset(dir(builtins)) | _MODULE_NAMES) - UNFOLLOWED


@dataclass(frozen=True)
class Slice:
    """The part of a notebook that goes into one worker's script."""

    worker: str
    imports: tuple[Statement, ...]
    import_names: frozenset[str]
    definitions: tuple[Statement, ...]
    handlers: tuple[Statement, ...]
    problems: tuple[ExportProblem, ...]
    names: tuple[str, ...] = ("worker",)
    """What its code calls the worker; `worker` comes first where it is among them."""
    is_broken: bool = False
    """Whether one of its cells is not valid Python."""


def worker_names(cells: Iterable[SourceCell]) -> list[str]:
    """Return the names of the workers that cells define, in the order of the cells."""
    return list(dict.fromkeys(c.line.name for c in cells if c.line is not None and c.category == "worker"))


def slice_worker(notebook: Statements, worker: str) -> Slice:
    """Find everything that the handlers of `worker` need, in the order in which the notebook defines it."""
    statements, syntax_problems = _read(notebook, worker)
    own = [s for s in statements if s.cell.worker == worker]
    handlers = _latest_handlers(own)
    shared = [s for s in own if s.cell.is_shared and s.category != "handler"]
    effects = [s for s in own if s.category == "other" and not s.cell.is_shared and not is_harmless(s.node)]
    aliases = {c.alias for c in notebook.cells if c.worker == worker and c.alias}
    walk = _Walk(worker, BOUND | aliases, statements)
    walk.follow(handlers, shared)
    ordered = _in_order_of_definition(walk.taken)
    return Slice(
        worker=worker,
        imports=tuple(s for s in ordered if s.category == "import"),
        import_names=frozenset(walk.names).union(*(s.defines for s in shared if s.category == "import")),
        definitions=tuple(s for s in ordered if s.category not in ("import", "handler")),
        handlers=tuple(handlers),
        problems=tuple(dict.fromkeys([*syntax_problems, *map(effect_problem, effects), *walk.problems])),
        names=_names_of_worker({name for s in (*handlers, *ordered) for name in s.needs}, aliases),
        is_broken=bool(syntax_problems),
    )


class _Walk:
    """Follows the names that statements read to the statements that bind them."""

    def __init__(self, worker: str, bound: frozenset[str], statements: Sequence[Statement]) -> None:
        # What was found
        self.taken: dict[Statement, None] = {}
        self.names: set[str] = set()
        self.problems: list[ExportProblem] = []
        # Where names come from
        self._worker = worker
        self._bound = bound
        self._definitions = definitions_by_name(
            s for s in statements if s.category != "handler" or s.cell.worker == worker
        )
        self._mutations = mutations_by_name(s for s in statements if s.cell.category == "plain")
        # What is still to be followed
        self._waiting: deque[Statement] = deque()
        self._seen: set[Statement] = set()

    def follow(self, handlers: Sequence[Statement], shared: Sequence[Statement]) -> None:
        """Follow all names from the handlers and the statements of `--shared` cells, to the end."""
        self.taken = dict.fromkeys(shared)
        self._waiting.extend([*handlers, *shared])
        self._seen.update(self._waiting)
        while self._waiting:
            self._follow_names(self._waiting.popleft())
            if not self._waiting:
                self._take(_registered_with(self.taken, self._definitions, self._seen))

    def _follow_names(self, user: Statement) -> None:
        for name in sorted(user.needs):
            if name in self._bound or (name in _BUILTINS and name not in self._definitions):
                continue
            problem = self._problem(name, user)
            if problem is not None:
                self.problems.append(problem)
            else:
                self.names.add(name)
                self._take(s for s in self._definitions.get(name, ()) if s not in self._seen)

    def _problem(self, name: str, user: Statement) -> ExportProblem | None:
        if (sources := self._definitions.get(name)) is None:
            star = self._definitions.get(STAR, [None])[-1]
            return name_problem(name, user, star, self._worker, is_taken=False)
        source = sources[-1]
        changed = self._mutations.get(name) if source.category != "import" else None
        return name_problem(name, user, changed or source, self._worker, is_taken=source in self.taken)

    def _take(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            self._seen.add(statement)
            self._waiting.append(statement)
            self.taken[statement] = None


def _read(notebook: Statements, worker: str) -> tuple[list[Statement], list[ExportProblem]]:
    """Return the statements of all cells of Python, and of the worker's own cells those that do not parse."""
    statements: list[Statement] = []
    problems: list[ExportProblem] = []
    for cell in notebook.cells:
        if cell.category in ("capability", "program", "test"):
            continue
        try:
            statements += notebook.of(cell)
        except SyntaxError as exc:
            if cell.worker == worker:
                problems.append(syntax_problem(cell, exc))
    return statements, problems


def _names_of_worker(needed: set[str], aliases: set[str]) -> tuple[str, ...]:
    """Return what the code calls its worker; `worker` where the code does not name it."""
    used = sorted(needed & aliases - {"worker"})
    return tuple(["worker"] if "worker" in needed or not used else []) + tuple(used)


def _latest_handlers(own: Iterable[Statement]) -> list[Statement]:
    """Return the handlers that count: those of a cell replace handlers of the same name in earlier cells."""
    handlers: list[Statement] = []
    for statement in own:
        if statement.category == "handler":
            handlers = [h for h in handlers if not _replaces(statement, h)]
            handlers.append(statement)
    return handlers


def _replaces(later: Statement, earlier: Statement) -> bool:
    if _function_name(later) != _function_name(earlier):
        return False
    return later.cell is not earlier.cell or _decorators(later) == _decorators(earlier)


def _function_name(statement: Statement) -> str:
    return str(getattr(statement.node, "name", ""))


def _decorators(statement: Statement) -> list[str]:
    return [ast.unparse(d) for d in getattr(statement.node, "decorator_list", [])]


def _registered_with(
    taken: Iterable[Statement], definitions: Mapping[str, Sequence[Statement]], seen: set[Statement]
) -> list[Statement]:
    """Return the definitions that a decorator of the notebook puts into something that is exported.

    `@command("hi") def hi()` fills the registry `COMMANDS`: where the registry is exported, `hi` is too.
    """
    exported = {name for s in taken if s.category != "import" for name in s.defines}
    registered = []
    for latest in {sources[-1]: None for sources in definitions.values()}:
        if latest in seen or latest.category != "definition" or latest.cell.category != "plain":
            continue
        roots = {root_name(d) for d in getattr(latest.node, "decorator_list", [])}
        decorators = [definitions[root][-1] for root in roots if root is not None and root in definitions]
        if any(d.category == "definition" and d.needs & exported - d.defines for d in decorators):
            registered.append(latest)
    return registered


def _in_order_of_definition(statements: Iterable[Statement]) -> list[Statement]:
    """Order statements as the notebook does, but each after what it reads when it is executed."""
    ordered = sorted(statements, key=lambda s: (s.cell.order, s.node.lineno, s.node.col_offset))
    binding = {name: s for s in ordered for name in s.defines}
    placed: dict[Statement, None] = {}

    def place(statement: Statement, above: frozenset[Statement]) -> None:
        if statement in placed or statement in above:
            return
        for name in sorted(statement.reads_at_once):
            if name in binding:
                place(binding[name], above | {statement})
        placed[statement] = None

    for statement in ordered:
        place(statement, frozenset())
    return list(placed)
