"""`Notebook`: what ran in a notebook, and what is known of it, made once for all workers; used by `slice`."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.changes import Changes, Strength
from dnworker_jupyter.export.slicing.effects import effects_of
from dnworker_jupyter.export.slicing.history import History, Version
from dnworker_jupyter.export.slicing.name_problems import syntax_problem
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.purity import Purity
from dnworker_jupyter.export.slicing.sharing import Sharers, changed_versions, events
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.export.slicing.unclear import Unclear

Events = dict[Version, list[tuple[int, Strength]]]
"""Changes in the order in which they ran, by the group of names whose object they change."""


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
    def effects(self) -> dict[int, dict[str, Strength]]:
        """Those that change modules or the process, by position: what they change, by dotted name."""
        found = ((n, effects_of(self.changes.of(n))) for n in range(self.history.end))
        return {position: effects for position, effects in found if effects}

    @cached_property
    def of_states(self) -> list[tuple[Statement, list[tuple[str | None, tuple[str, ...]]]]]:
        """Statements of plain cells that may fill the state of a worker: what they set and call, by root."""
        found = []
        for statement in self.history.statements:
            facts = statement.facts
            changed = [
                *((store.root, store.path) for store in facts.stores),
                *((call.root, call.path[:-1]) for call in facts.calls if call.is_discarded),
            ]
            position = self.history.position[statement]
            for root, path in [(r, p) for r, p in changed if r is not None]:  # `kept = worker.state`
                roots = self.history.roots(root, position)
                changed += [(of, (*way, *path)) for of, way in roots if of is not None]
            if statement.cell.category == "plain" and any(path[-1:] == ("state",) for _, path in changed):
                found.append((statement, changed))
        return found

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
    def sure_events(self) -> Events:
        """The changes of objects that names surely share."""
        return events(self.history, self.changes, self.sure_sharers)

    @cached_property
    def events(self) -> Events:
        """The changes of objects that names may share."""
        return events(self.history, self.changes, self.sharers)

    @cached_property
    def unclear(self) -> dict[Version, set[int]]:
        """The positions of calls that may change what no name there says, by the group of what they reach."""
        found: dict[Version, set[int]] = {}
        unclear = Unclear(self.history, self.changes)
        for position in range(self.history.end):
            for name in unclear.changed_by(position):
                for version in changed_versions(self.history, name, position):
                    found.setdefault(self.sharers.group(version), set()).add(position)
        return found

    @cached_property
    def unfollowed(self) -> list[int]:
        """The positions of statements that may have changed anything: `exec(text)`, `%run file`."""
        return [n for n, s in enumerate(self.history.statements) if _runs_anything(s)]

    @cached_property
    def changed_by_handlers(self) -> set[str]:
        """The global names whose objects handlers, or the functions that they call, change when they run."""
        return {
            name
            for statement in self.history.statements
            if statement.is_handler or statement.is_left_out  # which may have run before
            for name in self.changes.of_call(statement, Strength.LIKELY)
        }

    def syntax_problems(self, worker: str) -> list[ExportProblem]:
        """Return the problems of the worker's own cells that do not parse."""
        _ = self.history
        return [problem for cell, problem in self._problems if cell.worker == worker]


def _runs_anything(statement: Statement) -> bool:
    for call in statement.facts.calls:
        if call.root in ("exec", "eval") and not call.path:
            return True
        if call.root == "get_ipython" and call.node is not None:
            text = ast.unparse(call.node)
            if call.path[-1:] in (("run_cell",), ("ex",), ("push",)) or "_magic('run'" in text:
                return True
    return False
