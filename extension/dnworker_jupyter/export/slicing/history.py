"""`History`: the statements of a notebook in the order in which they ran, and what a name meant when.

Used by `changes`, `purity` and `slice`. A *position* counts statements from 0; `end` is after the last one.
"""

from __future__ import annotations

import ast
import builtins
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from dnworker_jupyter.export.slicing.facts import dotted
from dnworker_jupyter.export.slicing.nodes import find
from dnworker_jupyter.export.slicing.reads import Function
from dnworker_jupyter.export.slicing.statements import STAR, Statement

Version = tuple[str, int]
"""A name as one statement bound it: the name, and the position of the statement."""

VALUES_SEEN = 100
"""Statements that may have bound a name, the last ones, whose values are looked at."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


_PARTS = ast.Name | ast.Attribute | ast.Subscript


class History:
    """Statements in the order in which they ran.

    Args:
        statements: in that order.
        is_order_of_run: whether they ran in this order; if not, it is that of a file, whose cells may have
            run in another one, and a name that no earlier statement binds is looked for in later ones.
    """

    def __init__(self, statements: Sequence[Statement], *, is_order_of_run: bool = True) -> None:
        self.statements = tuple(statements)
        self.end = len(self.statements)
        self.is_order_of_run = is_order_of_run
        self.position = {statement: n for n, statement in enumerate(self.statements)}
        self._binders: dict[str, list[int]] = {}
        self._bound: list[frozenset[str]] = []
        setters: dict[str, set[str]] = {}
        for position, statement in enumerate(self.statements):
            called = {n for name in statement.reads_at_once for n in setters.get(name, ())}
            self._bound.append(frozenset(statement.binds) | called)
            for name in self._bound[-1]:
                self._binders.setdefault(name, []).append(position)
            _note_setters(setters, statement)
        self._latest: dict[Version, int | None] = {}
        self._resolved: dict[Version, tuple[int, ...]] = {}
        self._second_names = {
            name
            for statement in self.statements
            if isinstance(statement.node, ast.Assign | ast.AnnAssign)
            and isinstance(statement.node.value, _PARTS)
            for name in statement.binds
        }
        """Those that are bound to what another name has, or to a part of it."""
        self.unbinding = [(n, s) for n, s in enumerate(self.statements) if s.unbinds]
        """The statements that take names away, by their positions."""
        self.methods = _methods(self.statements)
        """The methods of the notebook's classes, by name."""
        self.hidden = _hidden(self.statements)
        """The methods that run without a call of them, by their class: properties, and special methods."""

    def __contains__(self, name: object) -> bool:
        return name in self._binders

    def resolve(self, name: str, position: int) -> tuple[int, ...]:
        """Return which statements may have bound the name as it was before a position, in their order.

        The first of them surely bound it, unless none surely did. Several are submodules of one package, or
        statements after a sure one that may have bound the name anew. Nothing is returned where no statement
        bound it, or where `del` has taken it away.
        """
        if (name, position) not in self._resolved:
            self._resolved[name, position] = tuple(reversed([*self._backwards(name, position)]))
        return self._resolved[name, position]

    def latest(self, name: str, position: int) -> int | None:
        """Return the last of the statements that `resolve` returns; None where there is none."""
        if (name, position) not in self._latest:
            self._latest[name, position] = next(self._backwards(name, position), None)
        return self._latest[name, position]

    def _backwards(self, name: str, position: int) -> Iterator[int]:
        binders = self._binders.get(name, [])
        place = bisect_left(binders, position)
        if place == 0 or name in self.statements[binders[place - 1]].unbinds:
            is_below = not self.is_order_of_run and not hasattr(builtins, name)
            yield from binders[place : place + 1] if is_below else []
            return
        for binder in reversed(binders[:place]):
            statement = self.statements[binder]
            if name in statement.unbinds:
                return
            yield binder
            if statement.binds.get(name) and not _imports_submodule(statement, name):
                return

    def bound_by(self, statement: Statement) -> frozenset[str]:
        """Return the names that a statement may bind, those among them that a function binds by `global`."""
        return self._bound[self.position[statement]]

    def versions(self, name: str, position: int) -> Iterator[Version]:
        """Go through the versions of a name that may have been the present one before a position."""
        for binder in self.resolve(name, position):
            yield name, binder

    def imported_as(self, name: str, position: int) -> str | None:
        """Return the dotted name of what a name was imported as; None where it is not imported."""
        latest = self.latest(name, position)
        if latest is None:
            return None
        match self.statements[latest].node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.asname == name:
                        return alias.name
                    if alias.asname is None and alias.name.partition(".")[0] == name:
                        return name
            case ast.ImportFrom(module=module, names=names):
                for alias in names:
                    if (alias.asname or alias.name) == name or alias.name == STAR:
                        return f"{module or ''}.{name if alias.name == STAR else alias.name}"
        return None

    def alias_of(self, name: str, position: int) -> str | None:
        """Return the dotted name of the imported thing that a name stands for: `env = os.environ`."""
        if name not in self._second_names:
            return None
        found = (self.imported_by(value, position) for value in self.values(name, position))
        return next(filter(None, found), None)

    def imported_by(self, node: ast.expr, position: int) -> str | None:
        """Return the dotted name of an imported thing, or of an attribute of it; None for anything else."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        imported = self.imported_as(node.id, position) if isinstance(node, ast.Name) else None
        return None if imported is None else ".".join((imported, *reversed(path)))

    def roots(self, name: str, position: int) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        """Go through what a name may be a part of, as `dotted` says it: `kept` of `kept = worker.state`."""
        for value in self.values(name, position) if name in self._second_names else ():
            if isinstance(value, _PARTS):
                yield dotted(value)

    def made_by(self, node: ast.expr, position: int) -> str | None:
        """Return the dotted name of the imported function whose call an expression is."""
        return self.imported_by(node.func, position) if isinstance(node, ast.Call) else None

    def makers(self, name: str, position: int) -> Iterator[str]:
        """Go through the imported functions that may have made an object, or what it is a cursor of."""
        for value in self.values(name, position):
            if (made := self.made_by(value, position)) is not None:
                yield made
            match value:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=inner), attr="cursor")) if inner != name:
                    of_inner = (self.made_by(value, position) for value in self.values(inner, position))
                    yield from filter(None, of_inner)

    def definition(self, name: str, position: int) -> Definition | None:
        """Return the function or class that a name meant before a position; None where it was neither."""
        latest = self.latest(name, position)
        node = self.statements[latest].node if latest is not None else None
        return node if isinstance(node, Definition) else None

    def read_by_call(self, name: str, position: int) -> set[str]:
        """Return the names that are read where a name, bound to a function, is called before a position."""
        found: set[str] = set()
        waiting, seen = [name], {name}
        while waiting:
            for binder in self.resolve(waiting.pop(), position):
                for inner in self.statements[binder].reads_later - seen:
                    seen.add(inner)
                    found.add(inner)
                    waiting.append(inner)
        return found

    def values(self, name: str, position: int) -> Iterator[ast.expr]:
        """Go through the expressions whose value a name may have had before a position."""
        seen: set[int] = set()
        waiting = [(name, position)]
        while waiting and len(seen) < VALUES_SEEN:
            name, position = waiting.pop()
            for binder in islice(self._backwards(name, position), VALUES_SEEN):
                node = self.statements[binder].node
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                yield value
                if isinstance(value, ast.Name) and binder < position:  # `b = a` is what a was
                    waiting.append((value.id, binder))


def _note_setters(setters: dict[str, set[str]], statement: Statement) -> None:
    """Note which names a function binds by `global`, itself or by what it calls."""
    is_function = not isinstance(statement.node, ast.Expr | ast.Import | ast.ImportFrom)
    nodes = find(statement.node, ast.Global) if is_function and statement.reads_later else []
    mine = {n for node in nodes for n in node.names}
    mine |= {n for name in statement.reads_later for n in setters.get(name, ())}
    for name in statement.binds:
        if mine:
            setters[name] = mine
        else:
            setters.pop(name, None)


def _imports_submodule(statement: Statement, name: str) -> bool:
    node = statement.node
    return isinstance(node, ast.Import) and any(
        a.asname is None and a.name.startswith(f"{name}.") for a in node.names
    )


def _methods(statements: Sequence[Statement]) -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]:
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
    for statement in statements:
        if isinstance(statement.node, ast.ClassDef):
            for inner in statement.node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.setdefault(inner.name, []).append(inner)
    return found


_SEEN = frozenset({"__init__", "__post_init__", "__new__", "__init_subclass__", "__call__"})
"""Special methods that run by a call or a definition, which is followed."""


def _hidden(statements: Sequence[Statement]) -> dict[str, list[Function]]:
    found: dict[str, list[Function]] = {}
    for statement in statements:
        if isinstance(statement.node, ast.ClassDef):
            methods = [n for n in statement.node.body if isinstance(n, Function)]
            hidden = [n for n in methods if _is_property(n) or (_is_special(n.name) and n.name not in _SEEN)]
            if hidden:
                found[statement.node.name] = hidden
    return found


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_property(node: Function) -> bool:
    names = {n.id for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Name)}
    return bool(names & {"property", "cached_property"}) or any(
        isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter") for d in node.decorator_list
    )
