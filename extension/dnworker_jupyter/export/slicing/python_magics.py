"""Replaces magics that only run Python, such as `%time x.append(1)`, by that Python; used by `cells`."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.nodes import KEPT

RUN_PYTHON = frozenset({"time", "prun"})
"""Line magics that run their argument once, in the notebook's namespace."""

_TIMING = frozenset({"timeit", "memit", "time", "prun", "mprun", "lprun"})
_QUIET = re.compile(r"^\s*-q(?=\s|$)")
"""The option of `%cd` that prints no directory."""

_OPTIONS = re.compile(r"^(\s*-\w+(\s+\d+)?(?=\s))*\s*")

_DOLLAR = re.compile(r"(?<!\$)\$([A-Za-z_]\w*)(?![.\w])")
_FIELD = re.compile(r"\{[A-Za-z_]\w*\}")

SET_VARIABLE = frozenset({"env", "set_env"})


@lru_cache(maxsize=KEPT)
def without_magics(node: ast.stmt) -> tuple[tuple[ast.stmt, str | None], ...]:
    """Return a statement, and None; or the statements that its magic runs, each with its own text."""
    magic = _magic_of(node)
    if magic is None:
        return ((node, None),)
    name, argument = magic
    if name in SET_VARIABLE:
        made = _set_variable(argument)
    elif name == "cd":
        made = _parse(f"import os\nos.chdir({_QUIET.sub('', argument).strip()!r})")
    elif name in RUN_PYTHON and isinstance(node, ast.Assign):
        targets = " = ".join(ast.unparse(target) for target in node.targets)
        made = _parse(f"{targets} = {argument}")
    elif name in RUN_PYTHON:
        made = _parse(argument)
    else:
        made = []
    return tuple((_moved(one, node), ast.unparse(one)) for one in made) or ((node, None),)


def timed_code(node: ast.AST) -> list[ast.stmt]:
    """Return the code that a call runs, perhaps many times: that of `%timeit f(x)`, or of `exec("x = 1")`."""
    match node:
        case ast.Call(func=ast.Name(id="exec"), args=[ast.Constant(value=str() as text)]):
            return _parse(text)
    magic = _magic_of(ast.Expr(node)) if isinstance(node, ast.expr) else None
    if magic is None or magic[0] not in _TIMING:
        return []
    return _parse(_OPTIONS.sub("", magic[1]))


def _magic_of(node: ast.stmt) -> tuple[str, str] | None:
    """Return the name and the argument of the line magic that a statement is, or assigns."""
    value = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    match value:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr="run_line_magic"),
            args=[ast.Constant(value=str() as name), ast.Constant(value=str() as argument)],
        ):
            return name, argument
    return None


def _parse(text: str) -> list[ast.stmt]:
    try:
        return parse(text).body
    except SyntaxError:  # it has options of the magic, or is no Python
        return []


def _set_variable(argument: str) -> list[ast.stmt]:
    """Return what `%env NAME=value` does; nothing where it only looks, or where IPython fills in a name."""
    separator = "=" if "=" in argument else " "
    name, found, value = argument.partition(separator)
    name, value = name.strip(), value.strip()
    if not found or not name or not value:
        return []
    return _parse(f"import os\nos.environ[{name!r}] = {_filled_in(value)}")


def _filled_in(value: str) -> str:
    """Return the code of a magic's argument, in which IPython fills in `{name}` and `$name`."""
    if not any(mark in value for mark in "${"):
        return repr(value)
    as_fields = _DOLLAR.sub(r"{\1}", value)
    rest = _FIELD.sub("", as_fields)
    if any(mark in rest for mark in "${}"):  # only IPython knows what it makes of that
        return f"get_ipython().var_expand({value!r})"
    return f"f{as_fields!r}"


def _moved(node: ast.stmt, to: ast.stmt) -> ast.stmt:
    for part in ast.walk(node):
        if hasattr(part, "lineno"):
            ast.copy_location(part, to)
    return node
