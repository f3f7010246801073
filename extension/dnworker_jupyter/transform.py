"""Turns our magics into awaited calls, before Python sees the cell.

A `%%worker` cell stays an ordinary cell: its first line becomes one call on the same line and a commit is
put at its end, so that `await`, nested magics, the displayed last value, line numbers and errors all work
as in any cell. The other magics become awaited calls wherever a top-level statement may await.
"""

from __future__ import annotations

import ast
import re

PACKAGE = "dnworker_jupyter"
AWAITED = frozenset({"fire", "worker", "panel", "capability", "events", "runtime"})
LAST_VALUE = "__dnworker_last__"

_WORKER_LINE = re.compile(r"%%worker(?=\s|$)(?P<options>.*)", re.DOTALL)
_FUTURE = re.compile(r"from __future__ import [\w, ]+(#.*)?$")
_OUR_CELL_MAGIC = re.compile(r"%%(fire|capability)(?=\s|$)")
_HELP = re.compile(r"(^|\s)(-h|--help)(\s|$)")
_CALLS = frozenset({"run_line_magic", "run_cell_magic"})


def worker_cell(lines: list[str]) -> list[str]:
    """Input transformer: replace a `%%worker` line by the call that opens the cell.

    Comments and blank lines may stand above it. They stay, so that line numbers stay.
    """
    first = _first_code_line(lines)
    if first is None:
        return lines
    if other := _OUR_CELL_MAGIC.match(lines[first]):
        if _HELP.search(lines[first]):
            return [f"%{other[1]} --help\n"]
        return lines[first:]  # a body in another language: IPython wants the magic on top
    match = _WORKER_LINE.match(lines[first])
    if match is None:
        return lines
    if _HELP.search(match["options"]):
        return [f"print(__import__({PACKAGE!r})._worker_help())\n"]
    above = ["#\n" if line.isspace() else line for line in lines[:first]]
    call = f"await __import__({PACKAGE!r})._open_cell({match['options'].strip()!r})\n"
    body, future = _take_future_imports(lines[first + 1 :])
    return [*above, future + call, *body]


def _take_future_imports(body: list[str]) -> tuple[list[str], str]:
    """Take `from __future__` lines off the top of a body, to stand before our call: they must come first."""
    taken = []
    body = list(body)
    for number, line in enumerate(body):
        if _FUTURE.match(line):
            taken.append(line.partition("#")[0].strip() + "; ")
            body[number] = "#\n"
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return body, "".join(taken)


def await_magics(lines: list[str], *, nested: bool = False) -> list[str]:
    """Input transformer: put `await` before the calls that IPython made of our magics.

    On a line of its own a magic's result is also displayed; in an assignment it is just assigned. Where
    nothing can be awaited, in a function that is not async or (`nested`) in the body of another magic such
    as `%%time`, the magic runs on by itself, and what it returns is displayed when it is done.
    """
    text = "".join(lines)
    if not any(f"_magic('{name}'" in text for name in AWAITED):
        return lines
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return lines  # IPython tells the user where
    finder = _Finder(can_await=not nested)
    finder.visit(tree)
    changed = [line.encode() for line in lines]
    for row, column, insert in sorted(finder.inserts, reverse=True):
        changed[row - 1] = changed[row - 1][:column] + insert + changed[row - 1][column:]
    return [line.decode() for line in changed]


class CommitTransformer(ast.NodeTransformer):
    """AST transformer: end a `%%worker` cell with its commit, before its last value is displayed."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Append the commit to a cell that opens with our call."""
        code = [statement for statement in node.body if not _is_future_import(statement)]
        if not code or not _is_opening(code[0]):
            return node
        last = node.body[-1]
        commit = ast.parse(f"__import__({PACKAGE!r})._close_cell()", mode="eval").body
        statement = ast.copy_location(ast.Expr(ast.Await(commit)), last)
        if isinstance(last, ast.Expr) and len(code) > 1:
            keep = ast.copy_location(ast.Assign([ast.Name(LAST_VALUE, ast.Store())], last.value), last)
            show = ast.copy_location(ast.Expr(ast.Name(LAST_VALUE, ast.Load())), last)
            node.body[-1:] = [keep, statement, show]
        else:
            node.body.append(statement)
        return ast.fix_missing_locations(node)


class _Finder(ast.NodeVisitor):
    """Finds where to insert what, as (line, byte column, text)."""

    def __init__(self, *, can_await: bool) -> None:
        self.inserts: list[tuple[int, int, bytes]] = []
        self._can_await = can_await

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """In a function that is not async nothing is awaited."""
        outside, self._can_await = self._can_await, False
        self.generic_visit(node)
        self._can_await = outside

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """In an async function all is."""
        outside, self._can_await = self._can_await, True
        self.generic_visit(node)
        self._can_await = outside

    def visit_Await(self, node: ast.Await) -> None:
        """Leave what is awaited already alone."""
        if not _is_our_call(node.value):
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Await and display a magic on a line of its own."""
        call = node.value
        if isinstance(call, ast.Call) and _is_our_call(call):
            assert call.end_lineno is not None
            assert call.end_col_offset is not None
            how = "await __import__({!r})._show(" if self._can_await else "__import__({!r})._show_soon("
            opening = how.format(PACKAGE).encode()
            self.inserts.append((call.lineno, call.col_offset, opening))
            self.inserts.append((call.end_lineno, call.end_col_offset, b")"))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Await a magic whose result is used."""
        if _is_our_call(node):
            if self._can_await:
                self.inserts.append((node.lineno, node.col_offset, b"await "))
        else:
            self.generic_visit(node)


def _is_our_call(node: ast.AST) -> bool:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return attr in _CALLS and name in AWAITED
    return False


def _is_future_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_opening(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Await(value=ast.Call(func=ast.Attribute(attr="_open_cell")))):
            return True
    return False


def _first_code_line(lines: list[str]) -> int | None:
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            return number
    return None
