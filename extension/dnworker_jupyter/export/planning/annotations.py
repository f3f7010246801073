"""Makes `EventEnvelope[OrderPlaced]` portable: the reference's `EventEnvelope` is None when a script runs.

An annotation becomes text, which nothing evaluates there; elsewhere than in an annotation it is a problem.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence

from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.nodes import find, walk
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.export.slicing.statements import Statement

ENVELOPE = "EventEnvelope"


def envelope_names(imports: Iterable[Statement]) -> frozenset[str]:
    """Return the names under which imports have the envelope: `import EventEnvelope as Event`."""
    aliases = (
        alias
        for statement in imports
        if isinstance(statement.node, ast.ImportFrom)
        for alias in statement.node.names
    )
    return frozenset({ENVELOPE, *(one.asname for one in aliases if one.name == ENVELOPE and one.asname)})


def as_text(source: str, names: Collection[str] = (ENVELOPE,)) -> str:
    """Return the text of a statement in which annotations that subscript the envelope are text.

    Args:
        source: the text of the statement.
        names: those of the envelope.
    """
    if not any(f"{name}[" in source for name in names):
        return source
    try:
        tree = parse(source)
    except SyntaxError:  # what stood behind a magic
        return source
    lines = source.split("\n")
    found = [one for one in _annotations(tree) if _subscripts(one, names)]
    for one in sorted(found, key=lambda one: (one.lineno, one.col_offset), reverse=True):
        _replace(lines, one, f'"{_quoted(one)}"')
    return "\n".join(lines)


def payloads_elsewhere(piece: Slice) -> Iterator[ExportProblem]:
    """Yield a problem for each subscript of the envelope that is evaluated where a script runs."""
    names = envelope_names(piece.imports)
    for statement in (*piece.definitions, *piece.handlers):
        yield from _elsewhere(statement, names)


def _elsewhere(statement: Statement, names: Collection[str]) -> Iterator[ExportProblem]:
    found = [node for node in find(statement.node, ast.Subscript) if _is_subscript(node, names)]
    inside = {id(node) for one in _annotations(statement.node) for node in walk(one)} if found else set()
    for node in found:
        if id(node) not in inside:
            yield ExportProblem(
                ast.unparse(node),
                "the reference's EventEnvelope takes no type where a script runs",
                f"write it as the annotation of a handler: event: {ast.unparse(node)}",
                statement.cell.cell,
                node.lineno,
            )


def _annotations(tree: ast.AST) -> list[ast.expr]:
    """Return all annotations of functions and names."""
    found: list[ast.expr | None] = []
    for node in walk(tree):
        match node:
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                found.append(annotation)
            case ast.FunctionDef(returns=returns) | ast.AsyncFunctionDef(returns=returns):
                found.append(returns)
    return [one for one in found if one is not None and not isinstance(one, ast.Constant)]


def _subscripts(annotation: ast.expr, names: Collection[str]) -> bool:
    return any(_is_subscript(node, names) for node in ast.walk(annotation))


def _is_subscript(node: ast.AST, names: Collection[str]) -> bool:
    match node:
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in names
    return False


def _quoted(annotation: ast.expr) -> str:
    """Return an annotation as it stands between double quotes."""
    return ast.unparse(annotation).replace("\\", "\\\\").replace('"', '\\"')


def _replace(lines: list[str], node: ast.expr, text: str) -> None:
    """Replace the text of a node in the lines of its source; offsets are bytes of UTF-8."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = lines[first].encode()[: node.col_offset].decode()
    behind = lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [f"{before}{text}{behind}"]


def all_problems(slices: Sequence[Slice]) -> Iterable[ExportProblem]:
    """Return the problems of all workers, each once."""
    return dict.fromkeys(problem for piece in slices for problem in payloads_elsewhere(piece))
