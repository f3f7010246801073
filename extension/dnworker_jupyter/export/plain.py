"""Workers in plain Python, `bridge = dn.worker("bridge")`, as the exporter sees `%%worker` cells.

A plain cell that registers becomes one cell a worker, with its handlers alone and the handle renamed to
`worker`, and one with the rest. Lines keep their numbers, so that what is refused is found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dnworker_jupyter.export.reading import SourceCell
from dnworker_jupyter.options import Options, WorkerLine
from dnworker_jupyter.transform import DECORATORS

_WORKER = "worker"


def unfold(cells: Sequence[SourceCell]) -> list[SourceCell]:
    """Return the cells with those that register in plain Python taken apart."""
    handles: dict[str, WorkerLine] = {}
    unfolded: list[SourceCell] = []
    for cell in cells:
        unfolded += _unfold(cell, handles) if cell.sort == "plain" else [cell]
    return unfolded


def _unfold(cell: SourceCell, handles: dict[str, WorkerLine]) -> Iterator[SourceCell]:
    try:
        nodes = cell.tree.body
    except SyntaxError:
        yield cell
        return
    own: dict[str, list[ast.stmt]] = {}
    away: list[ast.stmt] = []
    for node in nodes:
        made = _made(node)
        if made is not None:
            variable, line = made
            handles[variable] = line
            own.setdefault(variable, [])
            away.append(node)
        elif (handle := _handle_of(node, handles)) is not None:
            own.setdefault(handle, []).append(node)
            away.append(node)
        elif _is_guard(node, handles) and (own or handles):
            away.append(node)
    if not away:
        yield cell
        return
    yield replace(cell, body=_without(cell.lines, away))
    for variable, handlers in own.items():
        others = [node for node in nodes if node not in handlers]
        body = _renamed(_without(cell.lines, others), variable)
        yield replace(cell, sort="worker", line=handles[variable], body=body)


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
    return variable, WorkerLine(name.value, Options(when, env), shared=False, restart=False, quiet=False)


def _literal(node: ast.expr | None, default: Any) -> Any:
    if node is None:
        return default
    try:
        return ast.literal_eval(node)
    except ValueError:  # worked out at run time: the manifest cannot know it
        return default


def _handle_of(node: ast.stmt, handles: dict[str, WorkerLine]) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            match called:
                case ast.Attribute(value=ast.Name(id=variable), attr=attr) if attr in DECORATORS:
                    return variable if variable in handles else None
    return None


def _is_guard(node: ast.stmt, handles: dict[str, WorkerLine]) -> bool:
    """Tell whether a statement only runs the worker: the script has a run guard of its own."""
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return True
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=variable), attr="run" | "arun"))):
            return variable in handles
    return False


def _without(lines: Sequence[str], nodes: Sequence[ast.stmt]) -> str:
    """Return the text with the lines of some statements left empty."""
    kept = [*lines]
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        assert node.end_lineno is not None
        for number in range(first - 1, node.end_lineno):
            kept[number] = ""
    return "\n".join(kept) + "\n"


def _renamed(body: str, variable: str) -> str:
    """Return the text with a handle's name replaced by the one that scripts have."""
    if variable == _WORKER:
        return body
    lines = [line.encode() for line in body.splitlines()]
    tree = ast.parse(body)
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == variable]
    for node in sorted(found, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        row = lines[node.lineno - 1]
        end = node.col_offset + len(variable.encode())
        lines[node.lineno - 1] = row[: node.col_offset] + _WORKER.encode() + row[end:]
    return "\n".join(line.decode() for line in lines) + "\n"
