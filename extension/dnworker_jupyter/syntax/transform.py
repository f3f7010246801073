"""Turns magics into awaited calls before Python compiles a cell; used by the hooks around every cell.

A `%%worker` cell stays an ordinary cell: its first line becomes one call on the same line and a commit is
put at its end, so that `await`, nested magics, the displayed last value, line numbers and errors all work
as in any cell. The other magics become awaited calls wherever a top-level statement may await.
"""

from __future__ import annotations

import ast
import contextvars
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterable

from dnworker.core.handlers import DECORATORS
from dnworker_jupyter.syntax.options import asks_help

PACKAGE = "dnworker_jupyter"
AWAITED = frozenset(
    {
        "fire",
        "worker",
        "panel",
        "map",
        "capability",
        "events",
        "runtime",
        "replay",
        "clock",
        "agent",
        "dead",
        "explain",
    }
)

WAITING = frozenset({"time", "capture"})
"""The magics of IPython that wait for ours within them: `magics/around.py` runs those instead of IPython."""

NOT_WAITING = frozenset({"timeit", "prun"})
"""The magics of IPython that cannot wait, and would measure nothing: refused around ours."""

body_is_awaited: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "dnworker_body_is_awaited", default=False
)
"""Whether what is transformed here is the body of one of `WAITING`, which is awaited."""

CELL_NAMES = ("worker", "EventEnvelope", "RuntimeClient")
"""The names that a `%%worker` cell finds bound."""

LAST_VALUE = "__dnworker_last__"
OUT_OF_SIGHT = ["\n"] * 5
"""Between a cell and what we add below: tracebacks show a few lines around an error."""

_OPENED_LINE = re.compile(r"%%(?P<magic>worker|agent)(?=\s|$)(?P<options>.*)", re.DOTALL)
_OTHER_BODY = re.compile(r"\s--(?:(?:command|model)[\s=]|test(?=\s|$))")
_FUTURE = re.compile(r"from __future__ import [\w, ]+(#.*)?$")
_OUR_CELL_MAGIC = re.compile(r"%%(fire|capability|worker|agent)(?=\s|$)")
_CALLS = frozenset({"run_line_magic", "run_cell_magic"})
_OURS_WITHIN = re.compile(
    rf"""^(?:.*[=;:]|.*\s)?\s*%{{1,2}}(?:{"|".join(sorted(AWAITED))})(?!\w)
    |_magic\(\s*['"](?:{"|".join(sorted(AWAITED))})['"]
    |\bawait\b.*\bdn\.""",
    re.MULTILINE | re.VERBOSE,
)
"""Finds our magics, and functions of `dn` that are awaited, in another magic; and what only looks like it."""


def worker_cell(lines: list[str]) -> list[str]:
    """Input transformer: replace a `%%worker` or `%%agent` line by the call that opens the cell.

    Comments and blank lines may be above it. They stay, so that line numbers do not change.
    """
    first = _first_code_line(lines)
    if first is None:
        return lines
    ours = _OUR_CELL_MAGIC.match(lines[first])
    if ours is None:
        return lines
    if asks_help(lines[first]):
        helped = f"print(__import__({PACKAGE!r})._cell_help({ours[1]!r}))\n"
        return [f"%{ours[1]} --help\n" if ours[1] == "fire" else helped]
    match = _OPENED_LINE.match(lines[first])
    if match is None or _OTHER_BODY.search(lines[first]):
        return lines[first:]  # a body in another language: IPython wants the magic on top
    above = ["#\n" if line.isspace() else line for line in lines[:first]]
    call = f"await __import__({PACKAGE!r})._open_{match['magic']}({match['options'].strip()!r})\n"
    body, future = _take_future_imports(lines[first + 1 :])
    return [*above, future + call, *body]


def _take_future_imports(body: list[str]) -> tuple[list[str], str]:
    """Take `from __future__` lines off the top of a body: they must come before our call."""
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

    On a line of its own a magic's result is also displayed; in an assignment it is just assigned. `%%time`
    and `%%capture` around ours are replaced by ones that wait. Where nothing can be awaited, in a function
    that is not async or (`nested`) in the body of any other magic, the magic runs on by itself, and what it
    returns is displayed when it is done: the cell ends after that.
    """
    text = "".join(lines)
    if not any(f"_magic('{name}'" in text for name in AWAITED | WAITING | NOT_WAITING):
        return lines
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return lines  # IPython reports the place to the user
    finder = _Finder(can_await=not nested or body_is_awaited.get())
    finder.visit(tree)
    changed = [line.encode() for line in lines]
    for row, column, length, insert in sorted(finder.edits, reverse=True):
        changed[row - 1] = changed[row - 1][:column] + insert + changed[row - 1][column + length :]
    return [line.decode() for line in changed]


def end_plain_cell(lines: list[str], is_handle: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Input transformer: end a cell that registers handlers in plain Python with its commit.

    A decorator such as `@app.task` counts where `app` is a worker: by `is_handle`, or made in the cell.

    The commit stands on a line of its own below the cell, so that no line number changes; `CommitTransformer`
    puts it before the last value. A `;` at the end, which hides that value, is kept.
    """
    text = "".join(lines)
    if not _MAY_REGISTER.search(text):
        return lines
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return lines  # IPython reports the place to the user
    if not tree.body or _is_opening(tree.body[0]) or not _registers(tree, is_handle):
        return lines
    quiet = ";" if _is_quiet(text) else ""
    ended = lines if lines[-1].endswith("\n") else [*lines[:-1], f"{lines[-1]}\n"]
    return [*ended, *OUT_OF_SIGHT, f"await __import__({PACKAGE!r})._close_cell(){quiet}\n"]


_MAY_REGISTER = re.compile(rf"\bWorker\b|\.worker\b|\.({'|'.join(sorted(DECORATORS))})\b")


def _registers(tree: ast.AST, is_handle: Callable[[str], bool]) -> bool:
    """Return whether code makes a worker, or puts a worker's decorator on a function."""
    classes, doors, decorated = {"Worker"}, {"dn", "dnworker"}, set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)) if _is_ours(module):
                classes |= {a.asname or a.name for a in node.names if a.name == "Worker"}
            case ast.Import():
                doors |= {a.asname or a.name for a in node.names if _is_ours(a.name)}
            case ast.Call(func=ast.Name(id=name)) if name in classes:
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="worker" | "Worker")) if (
                name in doors
            ):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in DECORATORS:
                decorated.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in node.decorator_list:
                    match decorator:
                        case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in DECORATORS:
                            decorated.add(name)
    return any(map(is_handle, decorated))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("dnworker", "dreadnode", PACKAGE)


def _is_quiet(text: str) -> bool:
    """Return whether a cell ends with the `;` that hides its value, as IPython does."""
    passed = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    try:
        tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in passed]
    except (tokenize.TokenError, SyntaxError):
        return False
    return bool(tokens) and tokens[-1].string == ";"


class CommitTransformer(ast.NodeTransformer):
    """AST transformer: end a cell that registers with its commit, before its last value is displayed."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Append the commit to a cell that opens with our call, or put the one at its end in its place."""
        code = [statement for statement in node.body if not _is_future_import(statement)]
        ends = len(code) > 1 and _is_call(code[-1], "_close_cell")
        if not code or not (ends or _is_opening(code[0])):
            return node
        if ends:
            node.body.pop()
        last = node.body[-1]
        commit = ast.parse(f"__import__({PACKAGE!r})._close_cell()", mode="eval").body
        statement = ast.copy_location(ast.Expr(ast.Await(commit)), last)
        if isinstance(last, ast.Expr) and not _is_opening(last):
            keep = ast.copy_location(ast.Assign([ast.Name(LAST_VALUE, ast.Store())], last.value), last)
            show = ast.copy_location(ast.Expr(ast.Name(LAST_VALUE, ast.Load())), last)
            node.body[-1:] = [keep, statement, show]
        else:
            node.body.append(statement)
        return ast.fix_missing_locations(node)


class _Finder(ast.NodeVisitor):
    """Finds what to write where, as (line, byte column, bytes that it replaces, text)."""

    def __init__(self, *, can_await: bool) -> None:
        self.edits: list[tuple[int, int, int, bytes]] = []
        self._can_await = can_await

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """In a function that is not async nothing can be awaited."""
        self._visit_function(node, can_await=False)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """In an async function everything can be awaited."""
        self._visit_function(node, can_await=True)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, *, can_await: bool) -> None:
        for outside in (*node.decorator_list, node.args):
            self.visit(outside)
        self._visit_all(node.body, can_await=can_await)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """In a lambda nothing can be awaited."""
        self.visit(node.args)
        self._visit_all([node.body], can_await=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """In the body of a class nothing can be awaited."""
        for outside in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(outside)
        self._visit_all(node.body, can_await=False)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """An `await` would make an asynchronous generator of it, which is something else."""
        self._visit_all([*ast.iter_child_nodes(node)], can_await=False)

    def _visit_all(self, nodes: Iterable[ast.AST], *, can_await: bool) -> None:
        outside, self._can_await = self._can_await, can_await
        for node in nodes:
            self.visit(node)
        self._can_await = outside

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave f-strings where Python does not say what stands where within them."""
        if sys.version_info >= (3, 12):
            self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        """Leave a magic that is awaited already as it is."""
        if not _is_our_call(node.value):
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Await and display a magic on a line of its own."""
        call = node.value
        if isinstance(call, ast.Call) and _is_our_call(call):
            end = call.end_lineno or call.lineno, call.end_col_offset or 0  # parsed code has both
            how = "await __import__({!r})._show(" if self._can_await else "__import__({!r})._show_soon("
            opening = how.format(PACKAGE).encode()
            self.edits.append((call.lineno, call.col_offset, 0, opening))
            self.edits.append((*end, 0, b")"))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Await a magic whose result is used, and let a magic around one wait, too."""
        if _is_our_call(node):
            if self._can_await:
                self.edits.append((node.lineno, node.col_offset, 0, b"await "))
        elif (around := _magic_around_ours(node)) in NOT_WAITING:
            self._call_instead(node, f"__import__({PACKAGE!r})._cannot_wait")
        elif around is not None and self._can_await:
            self._call_instead(node, f"await __import__({PACKAGE!r})._around")
        else:
            self.generic_visit(node)

    def _call_instead(self, node: ast.Call, function: str) -> None:
        """Call another function with the same arguments."""
        old = node.func
        length = (old.end_col_offset or 0) - old.col_offset  # IPython writes a magic's call on one line
        if old.end_lineno == old.lineno:
            self.edits.append((old.lineno, old.col_offset, length, function.encode()))


def _magic_around_ours(node: ast.Call) -> str | None:
    """Return the name of one of IPython's magics whose code has one of ours; None for any other call."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr),
            args=[ast.Constant(value=str(name)), *code],
        ) if attr in _CALLS and name in WAITING | NOT_WAITING:
            texts = [
                one.value for one in code if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            return name if any(map(_OURS_WITHIN.search, texts)) else None
    return None


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
    return _is_call(node, "_open_worker") or _is_call(node, "_open_agent")


def _is_call(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.Expr(value=ast.Await(value=ast.Call(func=ast.Attribute(attr=attr)))):
            return attr == name
    return False


def _first_code_line(lines: list[str]) -> int | None:
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            return number
    return None
