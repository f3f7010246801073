"""Goes through the nodes of code, and keeps what it found of each statement; used by slicing and planning.

The nodes that say only how another one is used (`Load`, `Store`, operators) are passed over: that is nearly
every second node. What is kept is kept by the identity of a node, as `cells` keeps the tree of each text; it
must not be changed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, TypeVar, overload

A = TypeVar("A", bound=ast.AST)
B = TypeVar("B", bound=ast.AST)
C = TypeVar("C", bound=ast.AST)

KEPT = 8192
"""Statements, the last ones, of which what was found is kept."""

_NO_NODES = frozenset({"arg", "asname", "attr", "ctx", "id", "kind", "op", "ops", "type_comment"})
"""Fields without nodes, or with such as are passed over."""


_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: () if kind is ast.Constant else tuple(name for name in kind._fields if name not in _NO_NODES)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
"""The fields of each kind of node that may hold others."""

LEAVES = frozenset({ast.Name, ast.Constant})
"""The kinds that every second node is of, with nothing below."""


_OFTEN: dict[type[ast.AST], Callable[[Any], list[ast.AST]]] = {
    ast.Name: lambda node: [],
    ast.Constant: lambda node: [],
    ast.Attribute: lambda node: [node.value],
    ast.Call: lambda node: [node.func, *node.args, *node.keywords],
    ast.keyword: lambda node: [node.value],
    ast.BinOp: lambda node: [node.left, node.right],
    ast.Compare: lambda node: [node.left, *node.comparators],
    ast.Subscript: lambda node: [node.value, node.slice],
    ast.Expr: lambda node: [node.value],
    ast.Assign: lambda node: [*node.targets, node.value],
    ast.AugAssign: lambda node: [node.target, node.value],
}
"""What is below the kinds that most code consists of, whose fields are never empty."""


def children(node: ast.AST) -> list[ast.AST]:
    """Return the nodes directly below one, as they stand in it."""
    if (below := _OFTEN.get(node.__class__)) is not None:
        return below(node)
    found: list[ast.AST] = []
    for name in _FIELDS[node.__class__]:
        value = getattr(node, name, None)
        if value.__class__ is list:
            found += [one for one in value if isinstance(one, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


@lru_cache(maxsize=KEPT)
def nodes_in(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return the same as `walk`, which is kept: for statements and functions, which many ask for."""
    return tuple(walk(node))


def walk(node: ast.AST) -> list[ast.AST]:
    """Return a node and all below, each level before the next one, as `ast.walk` does."""
    found = [node]
    for one in found:  # which grows
        if one.__class__ not in LEAVES:
            found += children(one)
    return found


def depth_of(node: ast.AST) -> int:
    """Return how many levels of nodes there are, a node itself counted."""
    levels, level = 0, [node]
    while level:
        levels += 1
        level = [below for one in level for below in children(one)]
    return levels


@lru_cache(maxsize=KEPT)
def _by_kind(node: ast.AST) -> dict[type[ast.AST], list[ast.AST]]:
    found: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
    for one in nodes_in(node):
        found[one.__class__].append(one)
    return dict(found)


def kinds_in(node: ast.AST) -> Collection[type[ast.AST]]:
    """Return the kinds of a node and all below."""
    return _by_kind(node).keys()


@overload
def find(node: ast.AST, kind: type[A], /) -> list[A]: ...


@overload
def find(node: ast.AST, kind: type[A], other: type[B], /) -> list[A | B]: ...


@overload
def find(node: ast.AST, kind: type[A], other: type[B], third: type[C], /) -> list[A | B | C]: ...


def find(node: ast.AST, *kinds: type[Any]) -> list[Any]:
    """Return those of some kinds of a node and all below, in the order of `nodes_in`; not to be changed."""
    found = _by_kind(node)
    there = [kind for kind in kinds if kind in found]
    if len(there) < 2:
        return found[there[0]] if there else []
    return [one for one in nodes_in(node) if isinstance(one, kinds)]


@lru_cache(maxsize=KEPT)
def text_constants(node: ast.AST) -> frozenset[str]:
    """Return the constants of a node and all below that are texts, the parts of f-strings among them."""
    return frozenset(one.value for one in find(node, ast.Constant) if isinstance(one.value, str))
