"""Words why a name that a handler uses, or the effect of a cell, cannot be exported; used by `slice`."""

from __future__ import annotations

import ast

from dnworker.core.text import shorten
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import STAR, Statement, is_literal, root_name

UNFOLLOWED = frozenset({"eval", "exec", "globals"})
"""Builtins that look names up at run time, so that the names cannot be found in the code."""

SHOWN_CODE = 50
"""Characters of a cell's code that a message quotes."""

_TO_STARTUP = "move it into an @worker.on_startup handler, and keep it in worker.state"
_TO_SHARED = "or put it into a cell of its own that begins with %%worker {worker} --shared"


def syntax_problem(cell: SourceCell, exc: SyntaxError) -> ExportProblem:
    """Return the problem of a cell that does not parse."""
    why = f"is no Python: {exc.msg}"
    return ExportProblem(
        "the cell", why, "mend the cell and run it", cell.cell, exc.lineno or 1, exc.offset or 1
    )


def name_problem(
    name: str, user: Statement, source: Statement | None, worker: str, *, is_taken: bool
) -> ExportProblem | None:
    """Return why a name cannot be exported; None where it can.

    Args:
        name: the global name.
        user: the statement that reads it.
        source: the statement that binds or changes it; None where no cell does.
        worker: the worker whose handlers need it.
        is_taken: whether `source` is exported anyway, as part of a `--shared` cell.
    """
    found = _why_not(name, user, source, worker, is_taken=is_taken)
    if found is None:
        return None
    why, remedy = found
    line, column = _where_used(user.node, name)
    return ExportProblem(repr(name), why, remedy, user.cell.cell, line, column)


def _why_not(
    name: str, user: Statement, source: Statement | None, worker: str, *, is_taken: bool
) -> tuple[str, str] | None:
    """Return the reason and the remedy."""
    if source is None or name not in source.defines:
        if name in UNFOLLOWED:
            return _why_not_builtin(name, user)
        if name == "get_ipython":
            return "magics and !shell lines exist only in a notebook", "write it as plain Python"
    if source is None:
        return "no cell defines it; it lives only in this kernel", f"define it in a cell, or {_TO_STARTUP}"
    if source.category == "import" and (found := _why_not_import(name, source)):
        return found
    if source.cell.category == "opaque":
        magic = source.cell.cell.source.strip().partition("\n")[0]
        return f"{source.location} is in a cell under {magic}", "take that magic off, and run the cell"
    if source.category == "other" and not is_taken:
        remedy = f"{_TO_STARTUP}, {_TO_SHARED.format(worker=worker)}"
        return f"{source.location} {_what_it_does(source.node)}", remedy
    return None


def _why_not_builtin(name: str, user: Statement) -> tuple[str, str] | None:
    if name != "globals" and _has_its_own_names(user, name):
        return None
    return (
        f"what {name} names cannot be followed, so it might be missing in the script",
        "write the names out as code",
    )


def _why_not_import(name: str, source: Statement) -> tuple[str, str] | None:
    if STAR in source.defines:
        is_bound = name in source.defines
        unless = "" if is_bound else "no cell defines it, unless "
        does = "imports *" if is_bound else "does, which imports *"
        return f"{unless}{source.location} {does}", "import the names that are used"
    if isinstance(source.node, ast.ImportFrom) and source.node.level:
        return f"{source.location} imports relative to a package", "import it absolutely"
    return None


def _has_its_own_names(user: Statement, name: str) -> bool:
    """Return whether every `eval` or `exec` of a statement is given the names that it may find."""
    given = {id(n.func) for n in user.nodes if isinstance(n, ast.Call) and len(n.args) > 1}
    return all(id(n) in given for n in user.nodes if isinstance(n, ast.Name) and n.id == name)


def effect_problem(statement: Statement) -> ExportProblem:
    """Return the problem of a statement in a `%%worker` cell that does something when the cell runs."""
    text = ast.unparse(statement.node).partition("\n")[0]
    return ExportProblem(
        f"`{shorten(text, SHOWN_CODE)}`",
        "it runs when the cell runs, and a script of handlers has no such moment",
        "move it into an @worker.on_startup handler, or into a cell that is no %%worker cell",
        statement.cell.cell,
        statement.node.lineno,
        statement.node.col_offset + 1,
    )


def is_harmless(node: ast.stmt) -> bool:
    """Return whether a statement only looks at something, so that leaving it out changes nothing."""
    if isinstance(node, ast.Pass):
        return True
    if not isinstance(node, ast.Expr):
        return False
    return is_literal(node.value) or root_name(node.value) == "get_ipython"


def _what_it_does(node: ast.stmt) -> str:
    match node:
        case ast.Expr() | ast.Delete():
            return "changes it when the cell runs"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            return "changes it when the cell runs"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if any(isinstance(n, ast.Name) and n.id == "get_ipython" for n in ast.walk(value)):
                return "assigns it from a magic, which exists only in a notebook"
            return f"assigns it from {shorten(ast.unparse(value), SHOWN_CODE)}, which ran in the notebook"
        case ast.AugAssign():
            return "changes it in place when the cell runs"
        case ast.For() | ast.AsyncFor() | ast.While():
            return "sets it in a loop that ran in the notebook"
        case ast.With() | ast.AsyncWith():
            return "sets it in a with block that ran in the notebook"
    return "sets it when the cell runs"


def _where_used(node: ast.stmt, name: str) -> tuple[int, int]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id == name:
            return part.lineno, part.col_offset + 1
    return node.lineno, node.col_offset + 1
