"""Follows names back through what ran, to everything that one worker's handlers need; used by planning.

The slice of a worker is an ordered part of the statements that ran: those that bound the names which its
handlers read, as they were bound when they were read, and those that changed their objects in place.
"""

from __future__ import annotations

import ast
import builtins
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.changes import Strength
from dnworker_jupyter.export.slicing.effects import concerns, is_known, is_of_path, modules_of
from dnworker_jupyter.export.slicing.findings import (
    annotations_made_text,
    changed_by_handlers,
    exported_names,
    omitted,
    run_from_text,
    state_set_elsewhere,
    touched,
)
from dnworker_jupyter.export.slicing.history import Version
from dnworker_jupyter.export.slicing.layout import Layout, arranged
from dnworker_jupyter.export.slicing.name_problems import (
    NOTEBOOK_NAMES,
    UNFOLLOWED,
    Why,
    bound_problem,
    effect_problem,
    lost_effect,
    name_problem,
    unfollowed_modules,
)
from dnworker_jupyter.export.slicing.nodes import find
from dnworker_jupyter.export.slicing.notebook import Notebook
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import STAR, Statement, root_name

BOUND = frozenset({"worker", "EventEnvelope", "RuntimeClient", "TurnFailedError", "TurnCancelledError"})
"""Names that the head of every script binds."""

_MODULE_NAMES = frozenset({"__name__", "__file__", "__package__", "__builtins__"})
_BUILTINS = (frozenset(dir(builtins)) | _MODULE_NAMES) - UNFOLLOWED - NOTEBOOK_NAMES - {"__doc__"}


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
    omitted: Mapping[str, Statement] = field(default_factory=dict)
    """For names whose object a statement may have changed that is not exported: the first such statement."""
    changed_by_handlers: frozenset[str] = frozenset()
    """Names whose object a handler, of whatever worker, may change when it runs."""
    surely_changes: frozenset[str] = frozenset()
    """Names whose object the worker's own handlers surely change when they run."""
    asks_for_subclasses: bool = False
    """Whether code of the notebook asks a class for its subclasses."""

    exported_names: frozenset[str] = frozenset()
    """The global names that are at the end in the script what they are at the end in the notebook."""


def worker_names(cells: Iterable[SourceCell]) -> list[str]:
    """Return the names of the workers that cells define, in the order of the cells."""
    return list(
        dict.fromkeys(
            c.line.name for c in cells if c.line is not None and c.category == "worker" and c.counts
        )
    )


def slice_worker(notebook: Notebook, worker: str) -> Slice:
    """Find everything that the handlers of `worker` need, in the order in which it ran."""
    own = [s for s in notebook.history.statements if s.cell.worker == worker and s.cell.counts]
    own = [s for s in own if not s.is_left_out]
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
        problems=tuple(
            dict.fromkeys(
                [*syntax_problems, *walk.problems, *(p for s in layout.body for p in unfollowed_modules(s))]
            )
        ),
        names=_names_of_worker(used, aliases),
        is_broken=bool(syntax_problems),
        body=layout.body,
        has_future=any(s.future for s in layout.body),
        warnings=tuple(
            dict.fromkeys(
                [
                    *walk.warnings,
                    *state_set_elsewhere(notebook, worker, aliases, walk.taken),
                    *run_from_text(notebook, worker, walk.taken),
                    *annotations_made_text(notebook, layout.body),
                ]
            )
        ),
        touched={s: touched(notebook, s) for s in layout.body},
        effects=frozenset(walk.effects),
        omitted=omitted(notebook, layout.body),
        changed_by_handlers=changed_by_handlers(notebook, layout.body),
        surely_changes=frozenset(n for h in handlers for n in notebook.changes.of_call(h, Strength.SURE)),
        asks_for_subclasses=notebook.changes.asks_for_subclasses,
        exported_names=exported_names(notebook, layout, walk.names) - BOUND - aliases,
    )


def _layout(notebook: Notebook, walk: _Walk, handlers: Sequence[Statement]) -> Layout:
    return arranged(notebook.history, notebook.changes, list(walk.taken), handlers, walk.effects)


def _changes_of_worker(
    notebook: Notebook, own: Sequence[Statement], aliases: Collection[str], walk: _Walk
) -> list[Statement]:
    """Return what the worker's cells do to the worker beside registering handlers, such as fill its state."""
    found = []
    names = {"worker", *aliases}
    for statement in own:
        if statement.is_handler or statement.cell.is_shared or statement.category == "import":
            continue
        position = notebook.history.position[statement]
        changed = {n for n, s in notebook.changes.of(position).items() if s >= Strength.LIKELY}
        if changed & names or any(
            root in names for name in changed for root, _ in notebook.history.roots(name, position)
        ):
            if (why := notebook.purity.why_not(statement)) is not None:
                walk.problems.append(effect_problem(statement, why, "the worker"))
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
        self._done: dict[tuple[Version, Version, str], int] = {}
        self._changes: dict[tuple[Version, Version, bool], tuple[list[int], set[int]]] = {}
        self._unbound: set[tuple[str, int]] = set()
        """Names that nothing bound where they are read: builtins, which other code may have hidden before."""

    def follow(self, handlers: Sequence[Statement], shared: Sequence[Statement]) -> None:
        """Follow all names from the handlers and the statements of `--shared` cells, to the end."""
        for statement in (*shared, *handlers):
            self._take(statement)
        self._follow_names()
        while self._take_effects() or self._take_deletions():
            self._follow_names()

    def _follow_names(self) -> None:
        while self._waiting:
            name, position, user, is_soft = self._waiting.popleft()
            if (name, position) not in self._seen:
                self._seen.add((name, position))
                self._follow_name(name, position, user, is_soft=is_soft)

    def _take(self, statement: Statement) -> None:
        """Take a statement, and note what it reads: at once as it was then, in functions as it is at last."""
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
        if isinstance(statement.node, ast.ClassDef):  # its objects reach it, under whatever name
            self._take_changes((statement.node.name, position), self._history.end, statement)
        for name in sorted(statement.reads_perhaps | self._classes_named(statement)):
            self._waiting.append((name, self._history.end, statement, True))

    def _classes_named(self, statement: Statement) -> set[str]:
        end = self._history.end
        names = {n for n in statement.names_in_texts if n in self._history}
        definitions = ((name, self._history.definition(name, end)) for name in names)
        return {name for name, node in definitions if isinstance(node, ast.ClassDef)}

    # -- names -----------------------------------------------------------------------------------------

    def _follow_name(self, name: str, position: int, user: Statement, *, is_soft: bool) -> None:
        binders = self._history.resolve(name, position)
        if name in self._bound:
            bound = [self._history.statements[b] for b in binders]
            if user.cell.category == "plain" and any(s.category != "import" for s in bound):
                self.problems.append(bound_problem(name, user, bound[-1]))
            return
        if not binders:
            self._unbound.add((name, position))
            if not (is_soft or name in _BUILTINS or name in user.binds):
                self._refuse(name, user, None, None)
            return
        for binder in binders:
            if not self._bind(name, self._history.statements[binder], user, is_soft=is_soft):
                return
        self._take_changes((name, binders[0]), position, user)  # all of them are in one group

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

    def _take_changes(self, version: Version, position: int, user: Statement) -> None:
        """Take the statements that changed the object of a name before a position."""
        waiting = [(version, position, user)]
        while waiting:
            version, position, user = waiting.pop()
            if self._is_done(version, position):
                continue
            for changing, is_needed in self._changing(version, position):
                statement = self._history.statements[changing]
                if statement in self.taken or statement.is_handler:
                    continue
                why = None if statement.cell.is_shared else self._notebook.purity.why_not(statement)
                if why is None:
                    self._take(statement)
                    # what it made may be held by what it changed
                    waiting += [
                        ((bound, changing), self._history.end, statement) for bound in statement.binds
                    ]
                elif is_needed:
                    self._refuse(version[0], user, statement, why)
                elif self._is_unclear(version, changing):
                    self.warnings.append(lost_effect(statement, self._worker, why))

    def _is_done(self, version: Version, position: int) -> bool:
        """Return whether all changes after a version were taken already; notes that they will be."""
        if position < self._history.end:
            return False
        notebook = self._notebook
        key = notebook.sure_sharers.group(version), notebook.sharers.group(version), version[0]
        done = self._done.get(key, self._history.end)
        self._done[key] = min(done, version[1])
        return done <= version[1]

    def _changing(self, version: Version, position: int) -> Iterator[tuple[int, bool]]:
        """Go through the statements that may have changed an object, and whether they surely did."""
        found, sure = self._changes_of_group(version)
        for changing in found[bisect_right(found, version[1]) : bisect_left(found, position)]:
            yield changing, changing in sure

    def _is_unclear(self, version: Version, position: int) -> bool:
        """Return whether a file's statement may change an object in a way that cannot be followed."""
        notebook = self._notebook
        group = notebook.sharers.group(version)
        return notebook.suspects is None and position in notebook.unclear.get(group, ())

    def _changes_of_group(self, version: Version) -> tuple[list[int], set[int]]:
        """Return the positions of the changes that count of what shares an object, and the sure ones."""
        notebook, suspects = self._notebook, self._notebook.suspects
        is_suspect = suspects is not None and version[0] in suspects
        groups = notebook.sure_sharers.group(version), notebook.sharers.group(version)
        if (*groups, is_suspect) not in self._changes:
            near = notebook.sure_events.get(groups[0], ())
            wide = notebook.events.get(groups[1], ())
            sure = {p for p, s in near if s is Strength.SURE}
            found = set(sure)
            if suspects is None:  # a file: nothing can be proved, so what is likely is taken at once
                found |= {p for p, s in near if s >= Strength.LIKELY}
                found |= {p for p, s in wide if s >= Strength.LIKELY}
                found |= notebook.unclear.get(groups[1], set())
            elif is_suspect:
                found |= {p for p, _ in (*near, *wide)}
            self._changes[*groups, is_suspect] = sorted(found), sure
        return self._changes[*groups, is_suspect]

    # -- effects ---------------------------------------------------------------------------------------

    def _take_effects(self) -> bool:
        """Take effects on the process and on modules that concern the script; returns whether there were."""
        modules = modules_of(self.taken)
        defined = {name for s in self.taken if s.category != "import" for name in s.binds}
        before = len(self.taken)
        for position, effects in self._notebook.effects.items():
            statement = self._history.statements[position]
            if statement in self.taken or statement in self.effects:
                continue
            if statement.is_handler or statement.category == "import":
                continue
            ours = bool(statement.reads_at_once & defined)
            mine = [e for e, strength in effects.items() if concerns(e, strength, modules, names_ours=ours)]
            if mine:
                self.effects.add(statement)
                self._take_effect(statement, mine)
        self._take_draws()
        return len(self.taken) > before

    def _take_draws(self) -> None:
        """Take what has drawn from a seeded generator: what the script draws follows from that."""
        purity = self._notebook.purity
        drawn = {module for statement in self.taken for module in purity.draws_in(statement)}
        for position, statement in enumerate(self._history.statements) if drawn else ():
            if purity.draws_at_once(position) & drawn and purity.why_not(statement) is None:
                self._take(statement)

    def _take_deletions(self) -> bool:
        """Take `del` statements that others see: of what hides a builtin, and of what is held weakly."""
        before = len(self.taken)
        sees_all = bool(self._history.unbinding) and any(map(_sees_deletions, self.taken))
        for position, statement in self._history.unbinding:
            for name in statement.unbinds if statement.ran and statement not in self.taken else ():
                bound = self._history.resolve(name, position)
                if any(self._history.statements[b] in self.taken for b in bound) and (
                    sees_all or any(n == name and at > position for n, at in self._unbound)
                ):
                    self._take(statement)
                    self._waiting.extend((n, position, statement, True) for n in sorted(statement.unbinds))
        return len(self.taken) > before

    def _take_effect(self, statement: Statement, effects: Sequence[str]) -> None:
        why = self._notebook.purity.why_not(statement)
        if why is None and not any(map(is_of_path, effects)):
            self._take(statement)
        elif why is not None and any(map(is_known, effects)):
            self.problems.append(effect_problem(statement, why, "the process"))
        else:
            self.warnings.append(lost_effect(statement, self._worker, why))


def _sees_deletions(statement: Statement) -> bool:
    """Return whether what a statement defines may see that an object is gone: a weak reference, `__del__`."""
    if statement.category == "import":
        return "weakref" in modules_of([statement])
    functions = find(statement.node, ast.FunctionDef, ast.AsyncFunctionDef)
    return any(node.name == "__del__" for node in functions)


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
