"""Reads workers in plain Python, `bridge = dn.worker("bridge")`, as `%%worker` cells; used by planning.

`@worker.on_event("a")` in a plain cell goes to the worker of the `%%worker` cell that ran before, as live.
A plain cell that registers handlers becomes one cell for each worker, with the statements that belong to it,
and one with the other statements. No code is rewritten: the script binds the handle's name to its worker.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from dnworker.core.handlers import DECORATORS
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.reads import names_of
from dnworker_jupyter.syntax.options import Options, WorkerLine

Handles = dict[str, WorkerLine]
"""What a `%%worker` line would say, by the name of the handle that is bound to the worker."""


def unfold(cells: Sequence[SourceCell]) -> list[SourceCell]:
    """Return the cells, those that register handlers in plain Python split by worker."""
    plain = [(cell, _nodes(cell)) for cell in cells]
    made = [dict(m for node in nodes if (m := _made(node)) is not None) for _, nodes in plain]
    later: Handles = {}
    for bound in reversed(made):  # the first binding of a name counts: cells may have run in another order
        later |= bound
    handles: Handles = {}
    of_magic: Handles = {}
    unfolded: list[SourceCell] = []
    for (cell, nodes), bound in zip(plain, made, strict=True):
        handles |= bound  # a later cell may bind the name to another worker
        of_magic = _of_magic(cell, nodes, of_magic)
        registers = of_magic and any(_registers_with(node, of_magic) for node in nodes)
        known = later | handles | (of_magic if registers else {})
        unfolded += _unfold(cell, nodes, known) if cell.category == "plain" and known else [cell]
    return unfolded


def _of_magic(cell: SourceCell, nodes: list[ast.stmt], before: Handles) -> Handles:
    """Return what the name `worker` stands for, once a cell has run, if a `%%worker` cell has bound it."""
    if cell.category == "worker" and cell.line is not None:
        return {"worker": structs.replace(cell.line, options=Options(), shared=False)}
    return {} if before and "worker" in names_of(nodes).binds else before


def _nodes(cell: SourceCell) -> list[ast.stmt]:
    try:
        return cell.tree.body if cell.category == "plain" else []
    except SyntaxError:
        return []


def _unfold(cell: SourceCell, nodes: list[ast.stmt], handles: Handles) -> Iterator[SourceCell]:
    own: dict[str, list[int]] = {}
    away: set[int] = set()
    for number, node in enumerate(nodes):
        made = _made(node)
        if made is not None:
            own.setdefault(made[0], [])
            away.add(number)
        elif _is_guard(node, handles):
            away.add(number)
        else:
            for variable in _registers_with(node, handles):
                own.setdefault(variable, []).append(number)
                away.add(number)
    for number, node in enumerate(nodes):
        # Changes of the state in such a cell are treated as in a %%worker cell, so that they are not lost.
        for variable in own.keys() & (_changes_state(node) | _hands_over(node)) if number not in away else ():
            own[variable].append(number)
            away.add(number)
    if not own:
        yield cell if not away else replace(cell, only=_rest(nodes, away))
        return
    yield replace(cell, only=_rest(nodes, away))
    for variable, numbers in own.items():
        line = handles[variable]
        yield replace(cell, category="worker", line=line, only=frozenset(numbers), alias=variable)


def _rest(nodes: list[ast.stmt], away: set[int]) -> frozenset[int]:
    return frozenset(range(len(nodes))) - away


def _made(node: ast.stmt) -> tuple[str, WorkerLine] | None:
    """Return the name that is bound to a worker, and what its `%%worker` line would say."""
    match node:
        case ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call() as call):
            pass
        case ast.AnnAssign(target=ast.Name(id=variable), value=ast.Call() as call):
            pass
        case _:
            return None
    match call.func:
        case ast.Name(id="Worker") | ast.Attribute(attr="Worker"):
            pass
        case ast.Attribute(value=ast.Name(), attr="worker"):
            pass
        case _:
            return None
    fields = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    name = call.args[0] if call.args else fields.get("name")
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        return None
    when = tuple(str(flag) for flag in _literal(fields.get("when"), ()))
    env = {str(key): str(value) for key, value in dict(_literal(fields.get("env"), {})).items()}
    options = Options(
        when,
        env,
        keep_state=_literal(fields.get("keep_state"), False) is True,
        check_payloads=_literal(fields.get("check_payloads"), False) is True,
    )
    return variable, WorkerLine(name.value, options, shared=False, restart=False, quiet=False)


def _literal(node: ast.expr | None, default: Any) -> Any:
    if node is None:
        return default
    try:
        return ast.literal_eval(node)
    except ValueError:  # computed at run time, so the manifest cannot have it
        return default


def _registers_with(node: ast.stmt, handles: Handles) -> list[str]:
    """Return the handles whose decorators a statement applies when it runs.

    The body of a function does not count: it runs when the function is called.
    """
    is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    seen: list[ast.AST] = [*node.decorator_list] if is_definition else [node]  # type: ignore[attr-defined]
    found: dict[str, None] = {}
    for inner in (n for top in seen for n in ast.walk(top)):
        match inner:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in DECORATORS and name in handles:
                found[name] = None
    return list(found)


def _changes_state(node: ast.stmt) -> set[str]:
    """Return the names whose `state` a statement changes."""
    targets: list[ast.expr] = []
    match node:
        case ast.Assign(targets=assigned):
            targets = assigned
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            targets = [target]
    found = set()
    for inner in targets:
        while isinstance(inner, ast.Subscript):
            inner = inner.value
        match inner:
            case ast.Attribute(value=ast.Name(id=name), attr="state"):
                found.add(name)
    return found


def _hands_over(node: ast.stmt) -> set[str]:
    """Return the names that a statement gives to a call, such as the worker to a function that registers."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    given = [a for call in calls for a in (*call.args, *(k.value for k in call.keywords))]
    return {a.id for a in given if isinstance(a, ast.Name)}


def _is_guard(node: ast.stmt, handles: Handles) -> bool:
    """Return whether a statement only runs the worker, which the script does at its end."""
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return True
    value = node.value if isinstance(node, ast.Expr) else None
    match value.value if isinstance(value, ast.Await) else value:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=variable), attr="run" | "arun")):
            return variable in handles
    return False
