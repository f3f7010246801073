"""Knows calls that hold the event loop, and what to write in their place; cells and watchdogs ask."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from dnworker.core.locations import location_of
from dnworker.core.source_calls import last_line_of, shown, tree_of

WAYS = {
    "time.sleep": "await asyncio.sleep(...)",
    "requests.get": "await asyncio.to_thread(requests.get, ...)",
    "requests.post": "await asyncio.to_thread(requests.post, ...)",
    "requests.put": "await asyncio.to_thread(requests.put, ...)",
    "requests.delete": "await asyncio.to_thread(requests.delete, ...)",
    "requests.request": "await asyncio.to_thread(requests.request, ...)",
    "httpx.get": "await asyncio.to_thread(httpx.get, ...)",
    "httpx.post": "await asyncio.to_thread(httpx.post, ...)",
    "urllib.request.urlopen": "await asyncio.to_thread(urllib.request.urlopen, ...)",
    "subprocess.run": "await asyncio.to_thread(subprocess.run, ...)",
    "subprocess.call": "await asyncio.to_thread(subprocess.call, ...)",
    "subprocess.check_call": "await asyncio.to_thread(subprocess.check_call, ...)",
    "subprocess.check_output": "await asyncio.to_thread(subprocess.check_output, ...)",
    "os.system": "await asyncio.to_thread(os.system, ...)",
}
"""What is written in the place of a call that blocks."""

GENERAL = "use await asyncio.sleep(...), or asyncio.to_thread(...) for what blocks"

SHOWN = 5


def blocking_calls(function: Any) -> Iterator[str]:
    """Yield, for each known call that blocks in a handler's source, where it is and what to write."""
    code: Any = getattr(inspect.unwrap(function), "__code__", None)
    tree = None if code is None else tree_of(code.co_filename)
    if tree is None:
        return
    first, last, told = code.co_firstlineno, last_line_of(code), 0
    for node in _own(tree, first, last):
        if isinstance(node, ast.Call) and (way := _way(node, function)) is not None:
            told += 1
            place = location_of(code.co_filename, node.lineno)
            yield f"({place}) calls {shown(node.func)}, and every worker waits meanwhile: write {way}"
            if told == SHOWN:
                return


def _own(tree: ast.AST, first: int, last: int) -> Iterator[ast.AST]:
    """Yield what a function itself runs, and not the functions in it, which a thread may run."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, is_inside = waiting.pop()
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.Lambda):
            if is_inside:
                continue
            is_inside = isinstance(node, ast.AsyncFunctionDef) and first <= node.lineno <= last
        if is_inside:
            yield node
        waiting += [(child, is_inside) for child in ast.iter_child_nodes(node)][::-1]


def _way(call: ast.Call, function: Any) -> str | None:
    name = shown(call.func)
    if isinstance(call.func, ast.Name) and name not in WAYS:
        value = function.__globals__.get(name)  # as by `from time import sleep`
        name = (
            f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', '')}" if _is_plain(value) else ""
        )
    return WAYS.get(name)


def _is_plain(value: object) -> bool:
    return type(value) in (type(_is_plain), type(len), functools.partial)


def way_in_line(source: str) -> str:
    """Return what to write in the place of what blocks in a line of source."""
    for name, way in WAYS.items():
        if f"{name}(" in source and f"_{name}(" not in source:
            return f"write {way}"
    return GENERAL
