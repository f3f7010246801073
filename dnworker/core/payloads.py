"""Builds a payload for a kind from what its handlers read of it; `%fire` and the panel offer it."""

from __future__ import annotations

import ast
import math
import textwrap
from collections.abc import Iterable
from typing import Any

from dnworker.core.parsing import parse

_NUMBERS = ("count", "number", "ms", "seconds", "size", "total", "tokens", "n", "port", "attempt", "index")
_FLAGS = ("is_", "has_", "can_", "should_")
_UNKNOWN = object()

Path = tuple[str, ...]


def guess_payload(sources: Iterable[str]) -> dict[str, Any]:
    """Return a payload with every field that handlers read, given their source texts.

    Understood are `event.payload["a"]["b"]`, `.get("a", default)`, `"a" in event.payload`, names bound to any
    of these, and mapping patterns of `match`. A value is the default, or a constant that the field is
    compared with, or a guess by the field's name.
    """
    found: dict[Path, Any] = {}
    for source in sources:
        try:
            tree = parse(textwrap.dedent(source))
        except (SyntaxError, ValueError):
            continue  # what IPython ran was Python; a text cut from elsewhere may not be
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.args:
                for path, value in _Reader(node.args.args[0].arg).read(node).items():
                    if found.get(path, _UNKNOWN) is _UNKNOWN:
                        found[path] = value
                break  # of a text, the first function is the handler
    payload: dict[str, Any] = {}
    for path, value in sorted(found.items(), key=lambda item: len(item[0])):
        inner: Any = payload
        for step in path[:-1]:
            if not isinstance(inner.get(step), dict):
                inner[step] = {}
            inner = inner[step]
        inner.setdefault(path[-1], guess_value(path[-1]) if value is _UNKNOWN else value)
    return payload


class _Reader(ast.NodeVisitor):
    """Collects the paths that one handler reads of its event's payload."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._names: dict[str, Path] = {}
        self._found: dict[Path, Any] = {}

    def read(self, handler: ast.AST) -> dict[Path, Any]:
        self.visit(handler)
        return {path: value for path, value in self._found.items() if path}

    def _path(self, node: ast.AST) -> Path | None:
        """Return the path that an expression reads; () is the payload itself."""
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr="payload") if name == self._event:
                return ()
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.Subscript(value=base, slice=ast.Constant(value=str(key))):
                above = self._path(base)
            case ast.Call(
                func=ast.Attribute(value=base, attr="get" | "pop"), args=[ast.Constant(value=str(key)), *_]
            ):
                above = self._path(base)
            case ast.BoolOp(op=ast.Or(), values=[first, *_]):
                return self._path(first)
            case _:
                return None
        return None if above is None else (*above, key)

    def _note(self, path: Path | None, value: Any = _UNKNOWN) -> None:
        if path and self._found.get(path, _UNKNOWN) is _UNKNOWN:
            self._found[path] = value

    def visit_Assign(self, node: ast.Assign) -> None:
        """Follow a name that is bound to a part of the payload."""
        path = self._path(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                if path is not None:
                    self._names[target.id] = path
                else:
                    self._names.pop(target.id, None)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Follow a name that `:=` binds to a part of the payload."""
        if (path := self._path(node.value)) is not None:
            self._names[node.target.id] = path
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Note `payload["a"]`."""
        self._note(self._path(node))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note `payload.get("a", default)`."""
        path = self._path(node)
        default = node.args[1] if len(node.args) > 1 else None
        self._note(path, _plain(default.value) if isinstance(default, ast.Constant) else _UNKNOWN)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Note `"a" in payload`, and the constant that a field is compared with."""
        match node:
            case ast.Compare(
                left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()], comparators=[where]
            ):
                if (path := self._path(where)) is not None:
                    self._note((*path, key))
            case ast.Compare(left=left, ops=[_], comparators=[ast.Constant(value=value)]):
                self._note(self._path(left), _plain(value))
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        """Note the keys of mapping patterns."""
        path = self._path(node.subject)
        if path is not None:
            for case in node.cases:
                self._pattern(path, case.pattern)
        self.generic_visit(node)

    def _pattern(self, path: Path, pattern: ast.pattern) -> None:
        match pattern:
            case ast.MatchMapping(keys=keys, patterns=patterns):
                for key, inner in zip(keys, patterns, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        self._pattern((*path, key.value), inner)
            case ast.MatchValue(value=ast.Constant(value=value)):
                self._note(path, _plain(value))
            case ast.MatchAs() | ast.MatchClass():
                self._note(path)
            case ast.MatchOr(patterns=patterns):
                for inner in patterns:
                    self._pattern(path, inner)


def _plain(value: Any) -> Any:
    """Return a constant that may stand in a payload; `_UNKNOWN` for None and what JSON has no form for."""
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _UNKNOWN


def guess_value(name: str) -> Any:
    """Return a likely value by a field's name."""
    if name.endswith("_id") or name == "id":
        return f"{name.removesuffix('_id')}-1" if name != "id" else "id-1"
    if name.startswith(_FLAGS):
        return True
    if name.rpartition("_")[2] in _NUMBERS:
        return 1
    if name.endswith("s") and not name.endswith(("ss", "us", "is")):
        return []
    return name
