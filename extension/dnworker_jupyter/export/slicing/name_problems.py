"""Words why a name that a handler uses, or the effect of a cell, cannot be exported; used by `slice`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import itemgetter

from dnworker.core.text import shorten
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.imports import imports_by_name
from dnworker_jupyter.export.slicing.knowledge import REMEDIES
from dnworker_jupyter.export.slicing.nodes import depth_of
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.purity import Impurity
from dnworker_jupyter.export.slicing.statements import STAR, Statement, names_of_star

UNFOLLOWED = frozenset({"eval", "exec", "globals"})
"""Builtins that look names up at run time, so that the names cannot be found in the code."""

NOTEBOOK_NAMES = frozenset({"display", "get_ipython", "In", "Out", "__IPYTHON__"})
"""Names that IPython binds, and no script has; so are `_`, `__` and `_3`, the last values."""

SHOWN_CODE = 50
"""Characters of a cell's code that a message quotes."""

_DEEP = 100
"""Levels of nesting that no code has that people write."""

_TO_STARTUP = "move it into an @worker.on_startup handler, and keep it in worker.state"

Why = Impurity | None


def syntax_problem(cell: SourceCell, exc: SyntaxError) -> ExportProblem:
    """Return the problem of a cell that does not parse."""
    why = f"is no Python: {exc.msg}"
    return ExportProblem(
        "the cell", why, "mend the cell and run it", cell.cell, exc.lineno or 1, exc.offset or 1
    )


def name_problem(
    name: str, user: Statement, source: Statement | None, worker: str, why: Why
) -> ExportProblem | None:
    """Return why a name cannot be exported; None where it can.

    Args:
        name: the global name.
        user: the statement that reads it.
        source: the statement that binds the name or changes its object, or imports `*`; None without one.
        worker: the worker whose handlers need it.
        why: why a script must not run that statement; None where it may.
    """
    found = _why_not(name, user, source, worker, why)
    if found is None:
        return None
    reason, remedy = found
    line, column = _where_used(user.node, name)
    return ExportProblem(repr(name), reason, remedy, user.cell.cell, line, column)


def _why_not(
    name: str, user: Statement, source: Statement | None, worker: str, why: Why
) -> tuple[str, str] | None:
    """Return the reason and the remedy."""
    if source is None or name not in source.defines:
        if name in UNFOLLOWED:
            return _why_not_builtin(name, user)
        if (found := _why_not_of_notebook(name)) is not None:
            return found
    if source is None:
        return "no cell defines it; it lives only in this kernel", f"define it in a cell, or {_TO_STARTUP}"
    if source.category == "import":
        return _why_not_import(name, source)
    if source.is_handler and source.cell.worker != worker:
        other = f"{source.location} is a handler of worker {source.cell.worker!r}"
        return other, "put what both need into a function of its own"
    if source.cell.category == "worker" and source.is_handler is False and _was_handler(source):
        return f"{source.location} is a handler that does not run any more", "run its cell again"
    if why is not None:
        return _why_impure(source, why)
    return None


def _was_handler(source: Statement) -> bool:
    decorators = getattr(source.node, "decorator_list", [])
    return source.is_left_out or (
        not source.cell.counts
        and any(
            isinstance(n, ast.Name) and n.id in source.worker_names for d in decorators for n in ast.walk(d)
        )
    )


def _why_impure(source: Statement, why: Impurity) -> tuple[str, str]:
    if why.category == "raised":
        return f"{source.location} raised when it ran, so what it did is not known", "run its cell again"
    does, remedy = REMEDIES[why.category]
    return f"{source.location} {does}: `{shorten(why.code, SHOWN_CODE)}`", remedy


def _why_not_of_notebook(name: str) -> tuple[str, str] | None:
    if name == "get_ipython":
        return "magics and !shell lines exist only in a notebook", "write it as plain Python"
    if name == "display":
        return "it exists only in a notebook", "print it, or publish it as an event"
    if name in NOTEBOOK_NAMES or (name.startswith("_") and name.strip("_").isdigit()) or set(name) == {"_"}:
        return "it holds what cells have displayed, and exists only in a notebook", "give the value a name"
    return None


def _why_not_builtin(name: str, user: Statement) -> tuple[str, str] | None:
    if name != "globals" and _has_its_own_names(user, name):
        return None
    return (
        f"what {name} names cannot be followed, so it might be missing in the script",
        "write the names out as code",
    )


def _why_not_import(name: str, source: Statement) -> tuple[str, str] | None:
    if isinstance(source.node, ast.ImportFrom) and source.node.level:
        return f"{source.location} imports relative to a package", "import it absolutely"
    if STAR in source.defines and name not in source.defines:
        why = f"no cell defines it, unless {source.location} does, which imports *"
        return why, "import the names that are used"
    if STAR in source.defines and isinstance(source.node, ast.ImportFrom):
        known = names_of_star(source.node)
        return None if name in known else (f"{source.location} imports *", "import the names that are used")
    return None


def _has_its_own_names(user: Statement, name: str) -> bool:
    """Return whether every `eval` or `exec` of a statement is given the names that it may find."""
    given = {id(n.func) for n in user.nodes if isinstance(n, ast.Call) and len(n.args) > 1}
    return all(id(n) in given for n in user.nodes if isinstance(n, ast.Name) and n.id == name)


def effect_problem(statement: Statement, why: Impurity, what: str) -> ExportProblem:
    """Return the problem of a statement that changes the worker, or the process, and that must not run."""
    does, remedy = REMEDIES.get(why.category, ("raised when it ran", "run its cell again"))
    return ExportProblem(
        f"`{shorten(_text(statement), SHOWN_CODE)}`",
        f"changes {what} when the cell runs, and {does}",
        remedy,
        statement.cell.cell,
        statement.node.lineno,
        statement.node.col_offset + 1,
    )


def bound_problem(name: str, user: Statement, source: Statement) -> ExportProblem:
    """Return the problem of a name that a cell binds, and that is another object in every script."""
    line, column = _where_used(user.node, name)
    why = f"{source.location} binds it, and in a script it is what dnworker binds"
    return ExportProblem(repr(name), why, "give it another name", user.cell.cell, line, column)


def unfollowed_modules(statement: Statement) -> Iterator[ExportProblem]:
    """Refuse to look names up in the notebook's own module: which, cannot be followed."""
    may_look = any(word in statement.cell.body for word in ("modules", "__main__"))
    for node in statement.nodes if may_look else ():
        match node:
            case ast.Subscript(
                value=ast.Attribute(attr="modules") | ast.Name(id="modules"),
                slice=ast.Name(id="__name__") | ast.Constant(value="__main__"),
            ):
                pass
            case ast.Call(args=[ast.Constant(value="__main__"), *_]) if imports_by_name(node):
                pass
            case ast.Import(names=names) if any(alias.name == "__main__" for alias in names):
                pass
            case ast.ImportFrom(module="__main__"):
                pass
            case _:
                continue
        yield ExportProblem(
            f"`{shorten(ast.unparse(node), SHOWN_CODE)}`",
            "looks names up in the notebook itself, and which cannot be followed",
            "write the names out as code",
            statement.cell.cell,
            node.lineno,
            node.col_offset + 1,
        )


def late_future(statement: Statement, future: Statement) -> ExportProblem:
    """Return the warning that annotations which were values in the notebook are text in the script."""
    return ExportProblem(
        f"`{shorten(_text(statement), SHOWN_CODE)}`",
        f"has annotations that are text in the script: there {future.location} counts for the whole file",
        "import annotations from __future__ in the first cell if code reads them, and run all cells again",
        statement.cell.cell,
        statement.node.lineno,
        statement.node.col_offset + 1,
    )


def too_deep(cells: Iterable[SourceCell]) -> ExportProblem:
    """Return the problem of code that is nested, or calls itself, more deeply than can be followed."""
    remedy = "split what is so long into several statements or functions"
    depths = []
    for cell in cells:
        with suppress(SyntaxError, RecursionError):
            depths += [(depth_of(node), cell.cell, node.lineno) for node in cell.tree.body]
    deepest, at, line = max(depths, key=itemgetter(0), default=(0, None, None))
    if deepest < _DEEP:
        return ExportProblem(
            "the notebook", "its functions call each other too deeply to be followed", remedy
        )
    why = f"is nested too deeply to be followed, with {deepest} levels"
    return ExportProblem("the statement", why, remedy, at, line)


def lost_effect(statement: Statement, worker: str, why: Why) -> ExportProblem:
    """Return the warning that the notebook did something to its process that a script does not do."""
    reason = f"which {REMEDIES[why.category][0]}" if why is not None and why.category in REMEDIES else ""
    return ExportProblem(
        f"`{shorten(_text(statement), SHOWN_CODE)}`",
        f"ran in the notebook, and the script of {worker} does not do it{', ' if reason else ''}{reason}",
        "do it in an @worker.on_startup handler if the handlers rely on it",
        statement.cell.cell,
        statement.node.lineno,
        statement.node.col_offset + 1,
    )


def _text(statement: Statement) -> str:
    return ast.unparse(statement.node).partition("\n")[0]


def _where_used(node: ast.stmt, name: str) -> tuple[int, int]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id == name:
            return part.lineno, part.col_offset + 1
    return node.lineno, node.col_offset + 1
