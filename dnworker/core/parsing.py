"""`parse`: what `ast.parse` does, also where other threads parse at the same time."""

from __future__ import annotations

import ast
from typing import Literal, overload

TRIES = 10
"""How often a text is parsed that Python fails at for no fault of the text."""


@overload
def parse(source: str | bytes, file: str = "<unknown>", *, flags: int = 0) -> ast.Module: ...
@overload
def parse(source: str | bytes, file: str = "<unknown>", *, mode: Literal["eval"]) -> ast.Expression: ...
def parse(
    source: str | bytes, file: str = "<unknown>", *, mode: str = "exec", flags: int = 0
) -> ast.Module | ast.Expression:
    """Return the tree of a text.

    Python 3.11 and 3.12 count the depth of a tree for all threads together, and raise `SystemError` where
    another thread parses in between (CPython issue 106905). Such a text is parsed again.

    Args:
        source: Python.
        file: what errors call it.
        mode: "eval" for one expression.
        flags: further ones of `compile`, as `ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is no Python, or too deep.
    """
    for left in reversed(range(TRIES)):
        try:
            tree = compile(source, file, mode, ast.PyCF_ONLY_AST | flags, dont_inherit=True)
        except SystemError as exc:
            if not left or "recursion depth mismatch" not in str(exc):
                raise
        else:
            assert isinstance(tree, ast.Module | ast.Expression)
            return tree
    raise AssertionError("not reached")
