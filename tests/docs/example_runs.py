"""Runs the examples of docstrings: as Python with `await` at the top, or as cells of a kernel."""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import itertools
import linecache
from typing import Any, Protocol

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_numbers = itertools.count(1)
_checker = doctest.OutputChecker()


class ExampleError(AssertionError):
    """An example answered something else than its docstring shows."""


class Runner(Protocol):
    """Runs one example."""

    async def __call__(self, source: str) -> str:
        """Return what it prints; an exception counts as its last line, `Name: text`."""


class PythonRunner:
    """Runs examples as Python in one namespace, each with `await` at its top level.

    Args:
        names: what the reader has.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    async def __call__(self, source: str) -> str:
        """Return what it prints, or the line of its exception."""
        name = f"<example {next(_numbers)}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # as a cell has
        code = compile(source, name, "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                made = eval(code, self._names)
                if inspect.isawaitable(made):
                    await made
            except Exception as exc:
                return f"{type(exc).__name__}: {exc}"
        return printed.getvalue()


async def check(example: doctest.Example, run: Runner, place: str) -> None:
    """Run an example and compare.

    Raises:
        ExampleError: it answered something else.
    """
    said = await run(example.source)
    expected = example.want if example.exc_msg is None else example.exc_msg
    if not _checker.check_output(expected, said if said.endswith("\n") or not said else f"{said}\n", FLAGS):
        raise ExampleError(f"{place}:\n>>> {example.source}expected:\n{expected}got:\n{said}")
