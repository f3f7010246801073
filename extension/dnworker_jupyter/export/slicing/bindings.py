"""Finds the statement that binds or changes each global name; used by the walk in `slice`."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from dnworker_jupyter.export.slicing.statements import Statement


def definitions_by_name(statements: Iterable[Statement]) -> dict[str, list[Statement]]:
    """Return what binds each name: the last statement, or all imports of submodules of one package."""
    found: dict[str, list[Statement]] = {}
    for statement in statements:
        for name in statement.defines:
            before = found.get(name, [])
            are_submodules = all(_imports_submodule(s, name) for s in (*before, statement))
            found[name] = [*before, statement] if are_submodules else [statement]
    return found


def mutations_by_name(statements: Iterable[Statement]) -> dict[str, Statement]:
    """Return for each name the last top-level statement that changes the object behind it."""
    found: dict[str, Statement] = {}
    for statement in statements:
        changed = _changed_names(statement.node)
        for name in changed:
            found[name] = statement
        for name in statement.defines - changed:
            found.pop(name, None)  # it is bound to a new object
    return found


def _imports_submodule(statement: Statement, name: str) -> bool:
    node = statement.node
    return isinstance(node, ast.Import) and any(
        a.asname is None and a.name.startswith(f"{name}.") for a in node.names
    )


def _changed_names(node: ast.stmt) -> set[str]:
    targets: list[ast.expr] = []
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute() as called)):
            targets = [called]
        case ast.Assign(targets=assigned) | ast.Delete(targets=assigned):
            targets = [t for t in assigned if isinstance(t, ast.Attribute | ast.Subscript)]
        case ast.AugAssign(target=(ast.Attribute() | ast.Subscript()) as target):
            targets = [target]
    return {name for target in targets if (name := _base_name(target))}


def _base_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
