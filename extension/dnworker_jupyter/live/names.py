"""Finds the names of the notebook that a function binds and reads; used by `LiveWorker` and `shadow`."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterable, Iterator


def bound_globally(code: types.CodeType) -> set[str]:
    """Return the names that code binds by `global`, functions within it included."""
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname == "STORE_GLOBAL"}
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return found.union(*map(bound_globally, inner))


def names_in(code: types.CodeType) -> Iterator[str]:
    """Yield the names of globals and attributes that code mentions, functions within it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def reached(functions: Iterable[object]) -> list[types.FunctionType]:
    """Return functions, and those that they reach by names of their own module, over any number of steps."""
    found: dict[int, types.FunctionType] = {}
    waiting = [*functions]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or id(function) in found:
            continue
        found[id(function)] = function
        own = function.__globals__
        called = (own.get(name) for name in names_in(function.__code__))
        waiting += [c for c in called if isinstance(c, types.FunctionType) and c.__globals__ is own]
    return [*found.values()]
