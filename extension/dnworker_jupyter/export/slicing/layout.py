"""Puts the statements of a slice into the order of a script; used by `slice`.

Imports stand at the top and handlers at the end, as a person would write it, wherever that changes nothing;
elsewhere statements stand in the order in which they ran.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dnworker_jupyter.export.slicing.changes import Changes, Strength
from dnworker_jupyter.export.slicing.effects import effects_of
from dnworker_jupyter.export.slicing.history import History
from dnworker_jupyter.export.slicing.requirements import is_sdk_module
from dnworker_jupyter.export.slicing.statements import STAR, Statement

_SEEN_BY_IMPORTS = (
    "os.environ",
    "os.putenv",
    "os.unsetenv",
    "sys.modules",
    "builtins.",
    "matplotlib.use",
    "warnings.",
)
"""Effects that a module may look at while it is imported."""


@dataclass(frozen=True)
class Layout:
    """The imports at the top, and all other statements, in their order."""

    imports: tuple[Statement, ...]
    body: tuple[Statement, ...]


def arranged(
    history: History,
    changes: Changes,
    taken: Collection[Statement],
    handlers: Sequence[Statement],
    effects: Collection[Statement],
) -> Layout:
    """Return the statements of a slice, `handlers` among them, in the order of a script."""
    order = _runnable(history, sorted({*taken, *handlers}, key=lambda s: s.order))
    barriers = [s for s in order if s in effects and _is_seen_by_imports(history, changes, s)]
    imports = [s for s in order if s.category == "import" and _may_be_first(history, s, order, barriers)]
    rest = [s for s in order if s not in imports]
    last = [s for s in rest if s.is_handler]
    if _may_be_last(history, changes, last, [s for s in rest if not s.is_handler]):
        rest = [*(s for s in rest if not s.is_handler), *last]
    return Layout(tuple(imports), tuple(rest))


def _runnable(history: History, ordered: Sequence[Statement]) -> list[Statement]:
    """Put each statement after those that bind what it reads at once: in a file they may stand below."""
    if history.is_order_of_run:
        return [*ordered]
    chosen = set(ordered)
    placed: dict[Statement, None] = {}
    for last in ordered:
        waiting, above = [last], set[Statement]()
        while waiting:  # each stands above those that it waits for, which chains of names make many
            statement = waiting[-1]
            first = () if statement in above else _bound_before(history, statement, chosen)
            above.add(statement)
            if still := [s for s in first if s not in placed and s not in above]:
                waiting += reversed(still)
            else:
                placed[waiting.pop()] = None
    return list(placed)


def _bound_before(history: History, statement: Statement, chosen: Collection[Statement]) -> list[Statement]:
    """Return the chosen statements that bound what a statement reads at once, by the names in their order."""
    position = history.position[statement]
    binders = (b for name in sorted(statement.reads_at_once) for b in history.resolve(name, position))
    return [source for binder in binders if (source := history.statements[binder]) in chosen]


def _is_seen_by_imports(history: History, changes: Changes, statement: Statement) -> bool:
    found = effects_of(changes.of(history.position[statement]))
    return any(e.startswith(_SEEN_BY_IMPORTS) or s is Strength.SURE for e, s in found.items())


def _may_be_first(
    history: History, statement: Statement, order: Sequence[Statement], barriers: Iterable[Statement]
) -> bool:
    """Return whether an import may stand above everything: what it binds is bound in no other way."""
    node = statement.node
    if isinstance(node, ast.ImportFrom) and (node.module == "__future__" or is_sdk_module(node.module)):
        return True
    after = history.position[statement] + 1
    hidden = {name for name in statement.binds if hasattr(builtins, name)}
    if any(hidden & other.needs for other in order[: order.index(statement)]):
        return False
    mine = {name: history.imported_as(name, after) for name in statement.binds}
    for other in order:
        both = mine.keys() & other.binds.keys() - ({STAR} if len(other.binds) > 1 < len(mine) else set())
        for name in both if other is not statement else ():
            at = history.position[other] + 1
            if other.category != "import" or history.imported_as(name, at) != mine[name]:
                return False
    if _modules(node) <= sys.stdlib_module_names:
        return True
    return all(history.position[b] > history.position[statement] for b in barriers)


def _modules(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]} if not node.level else {""}
    return {a.name.partition(".")[0] for a in node.names} if isinstance(node, ast.Import) else set()


def _may_be_last(
    history: History, changes: Changes, handlers: Sequence[Statement], others: Sequence[Statement]
) -> bool:
    """Return whether handlers may stand below the rest: nothing later changes what they read or bind."""
    positions = {history.position[h] for h in handlers}
    for statement in others:
        position = history.position[statement]
        if any(positions & {*history.resolve(name, position)} for name in statement.reads_at_once):
            return False
    for handler in handlers:
        ran = history.position[handler]
        read = handler.reads_at_once - handler.worker_names
        read = read.union(handler.binds, *(history.read_by_call(name, ran) for name in read))
        for statement in others:
            position = history.position[statement]
            if position > ran and not _leaves_alone(statement, read, changes, position):
                return False
    return True


def _leaves_alone(statement: Statement, names: Collection[str], changes: Changes, position: int) -> bool:
    changed = changes.of(position)
    return not any(name in statement.binds or name in changed for name in names)
