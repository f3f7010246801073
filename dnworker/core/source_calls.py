"""Finds calls and other expressions in lines of source; used where a mistake is told with the way out."""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from dnworker.core.parsing import parse
from dnworker.core.text import shorten

LONGEST_SOURCE = 200_000
"""Characters of a file that is parsed."""

LONGEST_EXPRESSION = 80
"""Characters of an expression as it is shown."""


class Forgotten(NamedTuple):
    """A call that is not awaited, at its lines; `text` is how it would be."""

    first: int
    last: int
    name: str | None
    text: str
    is_argument: bool
    """Whether it is an argument of another call, which may await it."""
    is_statement: bool


def _source_of(file: str) -> str:
    """Return the text of a file or cell; nothing where it is not known, or no regular file."""
    if Path(file).is_file():
        linecache.checkcache(file)
    elif file not in linecache.cache:
        return ""
    return "".join(linecache.getlines(file))


def tree_of(file: str) -> ast.Module | None:
    """Return the parsed source of a file or cell; None where it is not known, or cannot be parsed."""
    return _parsed(_source_of(file))


@lru_cache(maxsize=4)  # a tree takes many times as much memory as its text
def _parsed(source: str) -> ast.Module | None:
    if not source or len(source) > LONGEST_SOURCE:
        return None
    try:
        return parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def at_line(file: str, line: int) -> tuple[ast.AST, ...]:
    """Return the statements and expressions that stand in a line of a file, outer ones first."""
    return _at_line(_source_of(file), line)


@lru_cache(maxsize=16)
def _at_line(source: str, line: int) -> tuple[ast.AST, ...]:
    return tuple(
        node
        for node in ast.walk(_parsed(source) or ast.Module([], []))
        if isinstance(node, ast.expr | ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    )


def last_line_of(code: CodeType) -> int:
    """Return the last line of a function's code."""
    return max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)


def forgotten_calls(file: str, name: str | None = None) -> list[Forgotten]:
    """Return the calls in a file that are not awaited: of what has this name, or all."""
    return [call for call in _forgotten(_source_of(file)) if name in (None, call.name)]


@lru_cache(maxsize=32)
def _forgotten(source: str) -> tuple[Forgotten, ...]:
    found = []
    for parent in ast.walk(_parsed(source) or ast.Module([], [])):
        for child in ast.iter_child_nodes(parent):
            if not isinstance(child, ast.Call) or isinstance(parent, ast.Await):
                continue
            is_argument = isinstance(parent, ast.Call) and child is not parent.func
            text = f"await {shown_call(child)}"
            if isinstance(parent, ast.Attribute | ast.Subscript):
                text = f"({text})"
            last, is_statement = child.end_lineno or child.lineno, isinstance(parent, ast.Expr)
            name = called_name(child.func)
            found.append(Forgotten(child.lineno, last, name, text, is_argument, is_statement))
    return tuple(found)


def called_name(function: ast.expr) -> str | None:
    """Return the last part of the name of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def shown(expression: ast.AST) -> str:
    """Return an expression as text of bounded length."""
    return shorten(ast.unparse(expression), LONGEST_EXPRESSION)


def shown_call(call: ast.Call) -> str:
    """Return a call as text: `client.notify(...)`."""
    return f"{shown(call.func)}({'...' if call.args or call.keywords else ''})"
