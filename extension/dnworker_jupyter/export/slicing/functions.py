"""Reads the definitions of functions and classes: parameters, local names, what they keep; for `changes`."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from dnworker_jupyter.export.slicing.facts import Facts, facts_of, shared_names
from dnworker_jupyter.export.slicing.history import Definition
from dnworker_jupyter.export.slicing.knowledge import CHANGING_METHODS
from dnworker_jupyter.export.slicing.nodes import KEPT, find
from dnworker_jupyter.export.slicing.reads import Function

ON_CONSTRUCTION = ("__init__", "__post_init__", "__new__")
"""Methods that run when an object is made."""


def bases(node: ast.ClassDef) -> list[str]:
    """Return the names of a class's bases and of its metaclass."""
    given = [*node.bases, *(k.value for k in node.keywords if k.arg == "metaclass")]
    return [base.id for base in given if isinstance(base, ast.Name)]


def holds(definition: Definition | None, path: tuple[str, ...]) -> bool:
    """Return whether a change of `object.path` may be one of what the object's class holds."""
    if not isinstance(definition, ast.ClassDef) or not path:
        return False
    for node in definition.body:
        if not isinstance(node, ast.Assign):
            continue
        if any(isinstance(target, ast.Name) and target.id == path[0] for target in node.targets):
            return len(path) > 1 or not isinstance(node.value, ast.Constant)
    return False


def with_default(arguments: ast.arguments) -> set[str]:
    """Return the parameters that have a default."""
    named = [*arguments.posonlyargs, *arguments.args]
    found = {a.arg for a in named[len(named) - len(arguments.defaults) :]}
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found | {a.arg for a, default in pairs if default is not None}


def keeps_state(maker: Function) -> bool:
    """Return whether functions within a function change what it has bound."""
    inner = [n for n in ast.walk(maker) if isinstance(n, Function | ast.Lambda) and n is not maker]
    if any(isinstance(part, ast.Nonlocal) for node in inner for part in ast.walk(node)):
        return True
    outer_functions = {n.name for n in inner if isinstance(n, Function)}  # `wrapper.calls += 1`
    bodies = [[node.body] if isinstance(node, ast.Lambda) else node.body for node in inner]
    outer = outer_functions | {a.arg for a in ast.walk(maker.args) if isinstance(a, ast.arg)}
    outer |= {n.id for n in ast.walk(maker) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for body in bodies:
        facts = facts_of(body, deep=True)
        changed = {store.root for store in facts.stores}
        changed |= {c.root for c in facts.calls if c.root and c.path and c.path[-1] in CHANGING_METHODS}
        if changed & outer:
            return True
    return False


def called_by(definition: Definition) -> list[Function]:
    """Return the functions that a call of a function or class of the notebook runs."""
    if not isinstance(definition, ast.ClassDef):
        return [definition]
    return [n for n in definition.body if isinstance(n, Function) and n.name in ON_CONSTRUCTION]


def parameter_names(arguments: ast.arguments) -> tuple[str, ...]:
    """Return the parameters that a call fills by position, and then those by keyword only."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return tuple(argument.arg for argument in named)


def local_names(node: ast.AST) -> frozenset[str]:
    """Return the names that a function binds, those of its parameters and inner functions among them."""
    definitions = find(node, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(
        [
            *(one.id for one in find(node, ast.Name) if isinstance(one.ctx, ast.Store)),
            *(one.arg for one in find(node, ast.arg)),
            *(one.name for one in definitions if one is not node),
            *(one.asname or one.name.partition(".")[0] for one in find(node, ast.alias)),
        ]
    )


class Body(NamedTuple):
    """What the body of a function does by itself, whatever runs beside it."""

    facts: Facts
    parameters: tuple[str, ...]
    local: frozenset[str]
    """The names that it binds for itself, its parameters among them."""
    held: dict[str, dict[str, bool]]
    """See `held_by_locals`."""


@lru_cache(maxsize=KEPT)
def handed_on(definition: Definition | ast.Lambda) -> frozenset[str]:
    """Return the names outside of a function, or of a class's methods, whose objects it may return."""
    if isinstance(definition, ast.Lambda):
        return frozenset(shared_names(definition.body)[0] - local_names(definition))
    found: set[str] = set()
    for function in find(definition, ast.FunctionDef, ast.AsyncFunctionDef):
        body = body_of(function)
        for node in find(function, ast.Return, ast.Yield):
            for name in shared_names(node.value)[0]:
                found |= {source for source, sure in body.held.get(name, {}).items() if sure}
                found |= {name} - body.local
    return frozenset(found)


@lru_cache(maxsize=KEPT)
def body_of(node: Function | ast.Lambda) -> Body:
    """Return what the body of a function does, which is read once; it must not be changed."""
    facts = _each_once(facts_of([node.body] if isinstance(node, ast.Lambda) else node.body, deep=True))
    parameters = parameter_names(node.args)
    local = local_names(node) - facts.global_binds
    return Body(facts, parameters, local, held_by_locals(facts, local.difference(parameters)))


def _each_once(facts: Facts) -> Facts:
    """Return facts without those that stand there already: the same call a second time changes no more."""
    calls = {c if c.node is None or isinstance(c.node.func, ast.Lambda) else c[1:]: c for c in facts.calls}
    return replace(
        facts,
        stores=[*dict.fromkeys(facts.stores)],
        calls=[*calls.values()],
        sharing=[*dict.fromkeys(facts.sharing)],
    )


def held_by_locals(facts: Facts, local: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return for each local name the names outside whose objects it may hold; True where it surely does."""
    held: dict[str, dict[str, bool]] = {}
    for sharing in facts.sharing:
        for target in sharing.targets.intersection(local):
            mine = held.setdefault(target, {})
            mine |= dict.fromkeys(sharing.maybe - mine.keys(), False)
            mine |= dict.fromkeys(sharing.sources, True)
    found: dict[str, dict[str, bool]] = {}
    for name in held:
        reached = {name: True}
        waiting = [name]
        while waiting:
            user = waiting.pop()
            for source, is_sure in held.get(user, {}).items():
                is_sure = is_sure and reached[user]
                if source not in reached or (is_sure and not reached[source]):
                    reached[source] = is_sure
                    waiting.append(source)
        found[name] = {source: sure for source, sure in reached.items() if source not in local}
    return found
