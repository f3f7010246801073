"""Follows names back through what ran, to everything that one worker's handlers need; used by planning.

The slice of a worker is an ordered part of the statements that ran: those that bound the names which its
handlers read, as they were bound when they were read, and those that changed their objects in place.
"""

from __future__ import annotations

import ast
import builtins
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.changes import MODULE, Changes, Sharers, Strength, events
from dnworker_jupyter.export.slicing.effects import concerns, effects_of, is_of_path, modules_of
from dnworker_jupyter.export.slicing.history import History
from dnworker_jupyter.export.slicing.layout import Layout, arranged
from dnworker_jupyter.export.slicing.name_problems import (
    NOTEBOOK_NAMES,
    UNFOLLOWED,
    Why,
    effect_problem,
    lost_effect,
    name_problem,
    syntax_problem,
)
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.purity import Purity
from dnworker_jupyter.export.slicing.statements import STAR, Statement, Statements, root_name

BOUND = frozenset({"worker", "EventEnvelope", "RuntimeClient", "TurnFailedError", "TurnCancelledError"})
"""Names that the head of every script binds."""

_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__package__", "__builtins__"})
_BUILTINS = (frozenset(dir(builtins)) | _MODULE_NAMES) - UNFOLLOWED - NOTEBOOK_NAMES


@dataclass(frozen=True)
class Slice:
    """The part of a notebook that goes into one worker's script."""

    worker: str
    imports: tuple[Statement, ...]
    """Those that stand at the top of the script."""
    import_names: frozenset[str]
    definitions: tuple[Statement, ...]
    handlers: tuple[Statement, ...]
    problems: tuple[ExportProblem, ...]
    names: tuple[str, ...] = ("worker",)
    """What its code calls the worker; `worker` comes first where it is among them."""
    is_broken: bool = False
    """Whether one of its cells is not valid Python."""
    body: tuple[Statement, ...] = ()
    """Definitions and handlers in the order of the script."""
    has_future: bool = False
    """Whether its code was compiled with `from __future__ import annotations`."""
    warnings: tuple[ExportProblem, ...] = ()
    """What the notebook did that the script does not do."""
    touched: Mapping[Statement, frozenset[str]] = field(default_factory=dict)
    """The names that each statement of the body binds, or whose object it changes."""
    effects: frozenset[Statement] = frozenset()
    """Those statements that are there for their effect on the process or on a module."""

    @property
    def exported_names(self) -> frozenset[str]:
        """The global names that the script binds, the worker's own excepted."""
        bound = {name for s in self.body for name in s.binds}
        return (frozenset(bound) | self.import_names) - {STAR, *self.names} - BOUND


@dataclass(frozen=True)
class Notebook:
    """What ran in a notebook, made once for all workers.

    Args:
        statements: of its cells.
        is_order_of_run: see `History`.
        suspects: names, of which also those changes are taken that are not sure; None for all.
    """

    statements: Statements
    is_order_of_run: bool = False
    suspects: Collection[str] | None = None
    _problems: list[tuple[SourceCell, ExportProblem]] = field(default_factory=list)

    @cached_property
    def history(self) -> History:
        """All statements that ran; of cells that do not parse there are none."""
        found: list[Statement] = []
        for cell in self.statements.cells:
            if cell.category in ("capability", "program", "test", "opaque"):
                continue
            try:
                found += self.statements.of(cell)
            except SyntaxError as exc:
                self._problems.append((cell, syntax_problem(cell, exc)))
        return History(sorted(found, key=lambda s: s.order), is_order_of_run=self.is_order_of_run)

    @cached_property
    def changes(self) -> Changes:
        """What each statement changes."""
        return Changes(self.history)

    @cached_property
    def purity(self) -> Purity:
        """Which statements a script may run while it is imported."""
        return Purity(self.history)

    @cached_property
    def sure_sharers(self) -> Sharers:
        """Which names surely share objects."""
        return Sharers(self.history, maybe=False)

    @cached_property
    def sharers(self) -> Sharers:
        """Which names may share objects."""
        return Sharers(self.history, maybe=True)

    @cached_property
    def sure_events(self) -> dict[tuple[str, int], list[tuple[int, Strength]]]:
        """The changes of objects that names surely share."""
        return events(self.history, self.changes, self.sure_sharers)

    @cached_property
    def events(self) -> dict[tuple[str, int], list[tuple[int, Strength]]]:
        """The changes of objects that names may share."""
        return events(self.history, self.changes, self.sharers)

    def syntax_problems(self, worker: str) -> list[ExportProblem]:
        """Return the problems of the worker's own cells that do not parse."""
        _ = self.history
        return [problem for cell, problem in self._problems if cell.worker == worker]


def worker_names(cells: Iterable[SourceCell]) -> list[str]:
    """Return the names of the workers that cells define, in the order of the cells."""
    return list(
        dict.fromkeys(c.line.name for c in cells if c.line is not None and c.category == "worker" and c.counts)
    )


def slice_worker(notebook: Notebook, worker: str) -> Slice:
    """Find everything that the handlers of `worker` need, in the order in which it ran."""
    own = [s for s in notebook.history.statements if s.cell.worker == worker and s.cell.counts]
    handlers = _latest_handlers(own)
    aliases = {s.cell.alias for s in own if s.cell.alias}
    walk = _Walk(notebook, worker, BOUND | aliases)
    shared = [s for s in own if s.cell.is_shared and not s.is_handler]
    walk.follow([*handlers, *_changes_of_worker(notebook, own, aliases, walk)], shared)
    layout = _layout(notebook, walk, handlers)
    syntax_problems = notebook.syntax_problems(worker)
    used = {name for s in layout.body for name in s.needs}
    return Slice(
        worker=worker,
        imports=layout.imports,
        import_names=frozenset(walk.names).union(*(s.defines for s in shared if s.category == "import")),
        definitions=tuple(s for s in layout.body if not s.is_handler),
        handlers=tuple(s for s in layout.body if s.is_handler),
        problems=tuple(dict.fromkeys([*syntax_problems, *walk.problems])),
        names=_names_of_worker(used, aliases),
        is_broken=bool(syntax_problems),
        body=layout.body,
        has_future=any(s.future for s in layout.body),
        warnings=tuple(dict.fromkeys(walk.warnings)),
        touched={s: _touched(notebook, s) for s in layout.body},
        effects=frozenset(walk.effects),
    )


def _touched(notebook: Notebook, statement: Statement) -> frozenset[str]:
    changed = notebook.changes.of(notebook.history.position[statement])
    surely = {name for name, strength in changed.items() if strength is Strength.SURE}
    return frozenset(statement.binds) | {name for name in surely if not name.startswith(MODULE)}


def _layout(notebook: Notebook, walk: _Walk, handlers: Sequence[Statement]) -> Layout:
    return arranged(notebook.history, notebook.changes, list(walk.taken), handlers, walk.effects)


def _changes_of_worker(
    notebook: Notebook, own: Sequence[Statement], aliases: Collection[str], walk: _Walk
) -> list[Statement]:
    """Return what the worker's cells do to the worker beside registering handlers, such as fill its state."""
    found = []
    for statement in own:
        if statement.is_handler or statement.cell.is_shared or statement.category == "import":
            continue
        changed = notebook.changes.of(notebook.history.position[statement])
        if any(changed.get(name, 0) >= Strength.LIKELY for name in ("worker", *aliases)):
            if (why := notebook.purity.why_not(statement)) is not None:
                walk.problems.append(effect_problem(statement, why))
            else:
                found.append(statement)
    return found


class _Walk:
    """Follows the names that statements read to the statements that bound them, and changed their objects."""

    def __init__(self, notebook: Notebook, worker: str, bound: frozenset[str]) -> None:
        # What was found
        self.taken: dict[Statement, None] = {}
        self.names: set[str] = set()
        """Names that come from imports."""
        self.effects: set[Statement] = set()
        self.problems: list[ExportProblem] = []
        self.warnings: list[ExportProblem] = []
        # Where names come from
        self._notebook = notebook
        self._history = notebook.history
        self._worker = worker
        self._bound = bound
        # What is still to be followed
        self._waiting: deque[tuple[str, int, Statement, bool]] = deque()
        """Names with the position at which they are read, who reads them, and whether they may be missing."""
        self._seen: set[tuple[str, int]] = set()

    def follow(self, handlers: Sequence[Statement], shared: Sequence[Statement]) -> None:
        """Follow all names from the handlers and the statements of `--shared` cells, to the end."""
        for statement in (*shared, *handlers):
            self._take(statement)
        self._follow_names()
        while self._take_effects():
            self._follow_names()

    def _follow_names(self) -> None:
        while self._waiting:
            name, position, user, is_soft = self._waiting.popleft()
            if (name, position) not in self._seen:
                self._seen.add((name, position))
                self._follow_name(name, position, user, is_soft=is_soft)

    def _take(self, statement: Statement) -> None:
        """Take a statement, and note what it reads: at once as it was then, in its functions as it is at last."""
        if statement in self.taken:
            return
        self.taken[statement] = None
        position = self._history.position[statement]
        for name in sorted(statement.reads_at_once):
            self._waiting.append((name, position, statement, False))
            for inner in self._history.read_by_call(name, position):
                self._waiting.append((inner, position, statement, True))
        for name in sorted(statement.reads_later):
            self._waiting.append((name, self._history.end, statement, False))
        for name in sorted(statement.reads_perhaps | self._classes_named(statement)):
            self._waiting.append((name, self._history.end, statement, True))

    def _classes_named(self, statement: Statement) -> set[str]:
        end = self._history.end
        names = {n for n in statement.names_in_texts if n in self._history}
        definitions = ((name, self._history.definition(name, end)) for name in names)
        return {name for name, node in definitions if isinstance(node, ast.ClassDef)}

    # -- names -----------------------------------------------------------------------------------------

    def _follow_name(self, name: str, position: int, user: Statement, *, is_soft: bool) -> None:
        if name in self._bound:
            return
        binders = self._history.resolve(name, position)
        if not binders:
            if not (is_soft or name in _BUILTINS or name in user.binds):
                self._refuse(name, user, None, None)
            return
        for binder in binders:
            if not self._bind(name, self._history.statements[binder], user, is_soft=is_soft):
                return
        self._take_changes(name, position, user)

    def _bind(self, name: str, source: Statement, user: Statement, *, is_soft: bool) -> bool:
        """Take the statement that bound a name; returns whether it can be exported."""
        if source in self.taken:
            if source.category == "import":
                self.names.add(name)
            return True
        why = None if source.category == "import" else self._notebook.purity.why_not(source)
        problem = name_problem(name, user, source, self._worker, why)
        if problem is not None:
            self.problems += [] if is_soft else [problem]
            return False
        if source.category == "import":
            self.names.add(name)
        self._take(source)
        return True

    def _refuse(self, name: str, user: Statement, source: Statement | None, why: Why) -> None:
        if source is None:
            star = self._history.resolve(STAR, self._history.end)
            source = self._history.statements[star[-1]] if star else None
        problem = name_problem(name, user, source, self._worker, why)
        if problem is not None:
            self.problems.append(problem)

    def _take_changes(self, name: str, position: int, user: Statement) -> None:
        """Take the statements that changed the object of a name before a position."""
        for changing, is_needed in self._changing(name, position):
            statement = self._history.statements[changing]
            if statement in self.taken or statement.is_handler:
                continue
            if not statement.cell.is_shared and (why := self._notebook.purity.why_not(statement)) is not None:
                if is_needed:
                    self._refuse(name, user, statement, why)
                continue
            self._take(statement)

    def _changing(self, name: str, position: int) -> Iterator[tuple[int, bool]]:
        """Go through the statements that may have changed the object of a name, and whether they surely did."""
        notebook = self._notebook
        suspects = notebook.suspects
        is_suspect = suspects is None or name in suspects
        sure, likely = set(), set()
        for version in self._history.versions(name, position):
            first = version[1]
            within = [
                (p, s)
                for p, s in notebook.sure_events.get(notebook.sure_sharers.group(version), ())
                if first < p < position
            ]
            sure |= {p for p, s in within if s is Strength.SURE}
            if not is_suspect:
                continue
            least = Strength.LIKELY if suspects is None else Strength.PERHAPS
            likely |= {p for p, s in within if s >= least}
            if suspects is not None or not self._history.is_order_of_run:
                wider = notebook.events.get(notebook.sharers.group(version), ())
                least = Strength.SURE if suspects is None else Strength.PERHAPS
                likely |= {p for p, s in wider if first < p < position and s >= least}
        yield from ((p, p in sure) for p in sorted(sure | likely))

    # -- effects ---------------------------------------------------------------------------------------

    def _take_effects(self) -> bool:
        """Take the effects on the process and on modules that concern the script; returns whether there were."""
        modules = modules_of(self.taken)
        before = len(self.taken)
        for position, statement in enumerate(self._history.statements):
            if statement in self.taken or statement.is_handler or statement.category == "import":
                continue
            effects = effects_of(dict(self._notebook.changes.of(position)))
            mine = [e for e, strength in effects.items() if concerns(e, strength, modules)]
            if not mine or statement in self.effects:
                continue
            self.effects.add(statement)
            why = self._notebook.purity.why_not(statement)
            if why is None and not any(map(is_of_path, mine)):
                self._take(statement)
            else:
                self.warnings.append(lost_effect(statement, self._worker, why))
        return len(self.taken) > before


def _names_of_worker(needed: set[str], aliases: set[str]) -> tuple[str, ...]:
    """Return what the code calls its worker; `worker` where the code does not name it."""
    used = sorted(needed & aliases - {"worker"})
    return tuple(["worker"] if "worker" in needed or not used else []) + tuple(used)


def _latest_handlers(own: Iterable[Statement]) -> list[Statement]:
    """Return the statements whose handlers count: those of a cell replace equal ones of earlier cells."""
    handlers: list[Statement] = []
    for statement in own:
        if statement.is_handler:
            handlers = [h for h in handlers if not _replaces(statement, h)]
            handlers.append(statement)
    return handlers


def _replaces(later: Statement, earlier: Statement) -> bool:
    if later.cell is earlier.cell or "registration" in (later.category, earlier.category):
        return False
    return getattr(later.node, "name", "") == getattr(earlier.node, "name", "") and (
        _registrations(later) >= _registrations(earlier)
    )


def _registrations(statement: Statement) -> frozenset[str]:
    """Return the decorators of the worker on a function, without what the cell calls the worker."""
    decorators: list[ast.expr] = getattr(statement.node, "decorator_list", [])
    mine = [ast.unparse(d) for d in decorators if root_name(d) in statement.worker_names]
    return frozenset(text.partition(".")[2] for text in mine)
