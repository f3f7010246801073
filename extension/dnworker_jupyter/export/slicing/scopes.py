"""Which global names a function with no scope within reads, without `symtable`; used by `statements`."""

from __future__ import annotations

import ast
from typing import TypeGuard

from dnworker_jupyter.export.slicing.nodes import find, kinds_in, walk
from dnworker_jupyter.export.slicing.reads import Function

_NOT_PLAIN = frozenset(
    {
        *(ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
        *(ast.Global, ast.Nonlocal, ast.AnnAssign, ast.Match),
        *(getattr(ast, name) for name in ("TypeAlias", "TypeVar", "TemplateStr") if hasattr(ast, name)),
    }
)
"""The kinds of nodes with scopes of their own, or that bind names or say where they are by other rules."""


def is_alone(node: ast.stmt) -> TypeGuard[Function]:
    """Return whether a statement is a function, with no other scope in it and no declaration of names."""
    return (
        isinstance(node, Function)
        and _NOT_PLAIN.isdisjoint(kinds_in(node))
        and len(find(node, ast.FunctionDef, ast.AsyncFunctionDef)) == 1
    )


def read_by_function(node: Function) -> frozenset[str]:
    """Return the global names that such a function reads when it is called, the same as `symtable` tells.

    `symtable` would parse its text again, which takes half as long as the first time.
    """
    header = [*node.decorator_list, node.args, *([node.returns] if node.returns is not None else [])]
    outside = {id(one) for part in header for one in walk(part)}
    names = [name for name in find(node, ast.Name) if id(name) not in outside]
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    bound |= {one.arg for one in find(node, ast.arg)}
    bound |= {one.asname or one.name.partition(".")[0] for one in find(node, ast.alias)}
    bound |= {one.name for one in find(node, ast.ExceptHandler) if one.name is not None}
    named = {name.id for name in names}
    return frozenset(named | {"__class__"} if "super" in named else named) - bound
