"""Finds calls whose object no name in the code says, and what they may change; used by `notebook`.

`changes` does not follow `(a if b else c).append(1)`, `get().append(1)`, `list(map(log.append, rows))` or
`put(*rows)`. An export of a file, which nothing proves, takes each as a change of all that it may reach.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache

from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.facts import Call, shared_names
from dnworker_jupyter.export.slicing.functions import body_of
from dnworker_jupyter.export.slicing.history import Definition, History
from dnworker_jupyter.export.slicing.knowledge import CHANGING_METHODS, LOOKING_METHODS, LOOKING_PREFIXES
from dnworker_jupyter.export.slicing.nodes import KEPT, find
from dnworker_jupyter.export.slicing.reads import Function


class Unclear:
    """The unclear calls of a history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._bodies: dict[int, set[str]] = {}
        definitions = [s.node for s in history.statements if isinstance(s.node, Definition)]
        self._has_unclear_bodies = any(map(self._in_body, definitions))

    def changed_by(self, position: int) -> set[str]:
        """Return the names whose objects the unclear calls may change that a statement runs."""
        found: set[str] = set()
        for call in self._history.statements[position].facts.calls:
            if call.node is None:
                continue
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
        if any(map(_has_changing_method, given)) or (call.root in ("eval", "exec") and not call.path):
            return True
        if any(isinstance(one, ast.Starred) for one in given) and not _only_looks(call):
            return True
        if call.root is None:
            return bool(find(func, ast.Name)) and not _only_looks(call)
        return isinstance(func, ast.Call) or (bool(find(func, ast.Call)) and self._is_part(call, position))

    def _is_part(self, call: Call, position: int) -> bool:
        """Return whether a method of a call's result may change a part of something: `get().append(1)`."""
        assert call.node is not None
        assert call.root is not None
        changes = call.path[-1:] in _CHANGING
        if self._history.imported_as(call.root, position) is not None:  # np.asarray(a).sort()
            return changes
        if not _is_of_function(call.node.func) or not (changes or _is_lost(call)):
            return False
        definition = self._history.definition(call.root, position)
        if definition is None:
            return call.root in self._history
        return isinstance(definition, Function) and _hands_on(definition)

    def _calls_value(self, call: Call, position: int) -> bool:
        """Return whether a call is one of a name that is bound to a function: `push = log.append`."""
        if call.root is None or call.path or call.root not in self._history or not call.is_discarded:
            return False
        is_imported = self._history.imported_as(call.root, position) is not None
        return not is_imported and self._history.definition(call.root, position) is None

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
                    if find(value, ast.Lambda, ast.Call) or isinstance(value, ast.Name | ast.Attribute):
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


def _is_lost(call: Call) -> bool:
    return call.is_discarded and not _only_looks(call)


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


def _is_of_function(node: ast.expr) -> bool:
    """Return whether an expression is a part of what a function returns, and not of what a method does."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        inner = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(inner, ast.Name):
            return isinstance(node, ast.Call)
        node = inner
    return False


def _hands_on(function: Function) -> bool:
    """Return whether a function may return what is not its own: a global object, or what it is given."""
    body = body_of(function)
    own = body.local.difference(body.parameters)
    for node in find(function, ast.Return, ast.Yield):
        for name in shared_names(node.value)[0]:
            if name not in own or any(body.held.get(name, {}).values()):
                return True
    return False


@lru_cache(maxsize=KEPT)
def _names_in(node: ast.AST) -> frozenset[str]:
    """Return the names in an expression, also those in the text that it evaluates."""
    found = {one.id for one in find(node, ast.Name)}
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


def _functions(definition: Definition) -> list[Function]:
    if isinstance(definition, ast.ClassDef):
        return [one for one in definition.body if isinstance(one, Function)]
    return [definition]
