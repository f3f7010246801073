"""Finds calls whose object no name in the code says, and what they may change; used by `notebook`.

`changes` does not follow `(a if b else c).append(1)`, `get().append(1)`, `list(map(log.append, rows))` or
`put(*rows)`. An export of a file, which nothing proves, takes each as a change of all that it may reach.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from functools import lru_cache

from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.changes import Changes
from dnworker_jupyter.export.slicing.facts import Call
from dnworker_jupyter.export.slicing.functions import body_of
from dnworker_jupyter.export.slicing.history import Definition, History
from dnworker_jupyter.export.slicing.knowledge import CHANGING_METHODS, LOOKING_METHODS, LOOKING_PREFIXES
from dnworker_jupyter.export.slicing.nodes import KEPT, find, text_constants
from dnworker_jupyter.export.slicing.reads import Function

_HOLDING = ast.Name | ast.Attribute | ast.List | ast.Tuple | ast.Set | ast.Dict

_BY_TEXT = ("eval", "exec", "globals", "locals", "vars")
"""Builtins that find names by a text."""


class Unclear:
    """The unclear calls of a history."""

    def __init__(self, history: History, changes: Changes) -> None:
        self._history = history
        self._changes = changes
        self._bodies: dict[int, set[str]] = {}
        definitions = [s.node for s in history.statements if isinstance(s.node, Definition)]
        self._has_unclear_bodies = any(map(self._in_body, definitions))

    def changed_by(self, position: int) -> set[str]:
        """Return the names whose objects the unclear calls may change that a statement runs."""
        found: set[str] = set()
        statement = self._history.statements[position]
        for call in statement.facts.calls:
            if call.node is None:
                continue
            if self._is_of_loop(call):
                names = self._reached(statement.reads_at_once, position)
                found |= (
                    names if call.path or any(self._changes_things(n, position) for n in names) else set()
                )
            is_unclear = self._is_unclear(call, position) or self._calls_value(call, position)
            if is_unclear or self._has_unclear_bodies:
                names = self._reached(_names_in(call.node), position)
                in_bodies = {n for name in names for n in self._in_body_of(name, position)}
                found |= names | in_bodies if is_unclear or in_bodies else set()
        return {name for name in found if self._history.imported_as(name, position) is None}

    # -- which calls -----------------------------------------------------------------------------------

    def _is_unclear(self, call: Call, position: int) -> bool:
        """Return whether no name in the code says which object a call is given, or is one of."""
        if call.node is None or isinstance(call.node.func, ast.Lambda):
            return False
        func, given = call.node.func, [*call.node.args, *(k.value for k in call.node.keywords)]
        if any(map(_has_changing_method, given)) or call.root in _BY_TEXT:
            return True
        if any(isinstance(one, ast.Starred) for one in given) and not _only_looks(call):
            return True
        if call.root is None:
            return bool(find(func, ast.Name)) and not _only_looks(call)
        if isinstance(func, ast.Call):
            return True
        is_imported = self._history.imported_as(call.root, position) is not None
        return is_imported and call.path[-1:] in _CHANGING and bool(find(func, ast.Call))  # asarray(a).sort()

    def _is_of_loop(self, call: Call) -> bool:
        """Return whether a call is of the name of a comprehension, or changes its object."""
        is_own = call.root is not None and call.root not in self._history and not hasattr(builtins, call.root)
        return is_own and (not call.path or call.path[-1:] in _CHANGING)

    def _calls_value(self, call: Call, position: int) -> bool:
        """Return whether a call is one of a name that is bound to a function: `push = log.append`."""
        if call.root is None or call.path or call.root not in self._history or not call.is_discarded:
            return False
        is_imported = self._history.imported_as(call.root, position) is not None
        return not is_imported and self._history.definition(call.root, position) is None

    def _changes_things(self, name: str, position: int) -> bool:
        """Return whether a name is that of a function that changes what it is given, or what has a name."""
        definition = self._history.definition(name, position)
        functions: list[Function | ast.Lambda] = _functions(definition) if definition is not None else []
        functions += [v for v in self._history.values(name, position) if isinstance(v, ast.Lambda)]
        return any(self._changes.summary(function, position).changes for function in functions)

    # -- what they reach -------------------------------------------------------------------------------

    def _reached(self, names: Iterable[str], position: int) -> set[str]:
        """Return names, with those that the functions behind them read, and those bound along with them."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            waiting += self._history.read_by_call(name, position)
            if self._history.definition(name, position) is None:
                for value in self._history.values(name, position):
                    if find(value, ast.Lambda, ast.Call) or isinstance(value, _HOLDING):
                        waiting += _names_in(value)
                for binder in self._history.resolve(name, position):  # add, show = make()
                    waiting += self._history.statements[binder].binds
        return found

    def _in_body_of(self, name: str, position: int) -> set[str]:
        definition = self._history.definition(name, position)
        return self._in_body(definition) if definition is not None else set()

    def _in_body(self, definition: Definition) -> set[str]:
        """Return the names in the unclear calls of a function, or of a class's methods, and its own."""
        if id(definition) not in self._bodies:
            self._bodies[id(definition)] = {
                name
                for body in map(body_of, _functions(definition))
                for call in body.facts.calls
                if call.node is not None and self._is_unclear(call, self._history.end)
                for name in (_names_in(call.node) - body.local) | {definition.name}
            }
        return self._bodies[id(definition)]


_CHANGING = {(method,) for method in CHANGING_METHODS}


def _only_looks(call: Call) -> bool:
    method = call.path[-1] if call.path else ""
    return method in LOOKING_METHODS or method.startswith(LOOKING_PREFIXES)


def _has_changing_method(node: ast.expr) -> bool:
    """Return whether a value holds a method that changes its object, and is not called there."""
    called = {id(call.func) for call in find(node, ast.Call)}
    return any(
        one.attr in CHANGING_METHODS and id(one) not in called and isinstance(one.ctx, ast.Load)
        for one in find(node, ast.Attribute)
    )


@lru_cache(maxsize=KEPT)
def _names_in(node: ast.AST) -> frozenset[str]:
    """Return the names in an expression, also those in the text that it evaluates or looks up."""
    found = {one.id for one in find(node, ast.Name)}
    if not found.isdisjoint(("globals", "vars", "locals")):
        found |= text_constants(node)
    for text in _texts_run(node):
        try:
            found |= {one.id for one in ast.walk(parse(text)) if isinstance(one, ast.Name)}
        except (SyntaxError, ValueError):
            continue
    return frozenset(found)


def _texts_run(node: ast.AST) -> Iterator[str]:
    for call in find(node, ast.Call):
        match call:
            case ast.Call(func=ast.Name(id="eval" | "exec"), args=[ast.Constant(value=str() as text), *_]):
                yield text.strip()


def _functions(definition: Definition) -> list[Function | ast.Lambda]:
    if isinstance(definition, ast.ClassDef):
        return [one for one in definition.body if isinstance(one, Function)]
    return [definition]
