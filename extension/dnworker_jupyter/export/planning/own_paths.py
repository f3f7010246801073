"""Finds the paths that a module computes from its `__file__`, without running it; used by local_files."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SAME = frozenset(
    {"abspath", "realpath", "normpath", "fspath", "str", "Path", "PurePath", "resolve", "absolute"}
)
_HARMLESS = frozenset({"append", "insert", "print", "getLogger", "get_logger"})
"""Functions that take a path and read nothing there: of `sys.path`, and of loggers."""
_ASKS = frozenset({"name", "stem", "suffix", "parts", "exists", "is_dir", "is_file"})
"""What code may ask of a directory without looking into it."""
_GOES_ON = frozenset(
    {"with_name", "with_suffix", "with_stem", "parents", "joinpath", "replace", "removesuffix", "partition"}
    | {"split", "rsplit", "rpartition", "relative_to"}
)


@dataclass(frozen=True)
class OwnPath:
    """A path that a module computes, and the line on which it uses it.

    `is_base` says that the code goes on from there in a way that only a run can tell: `HERE / name`.
    """

    path: Path
    line: int
    is_base: bool = False
    is_asked: bool = False
    """Whether the code only asks for its name, or whether it is there."""


def own_paths(tree: ast.Module, file: Path) -> list[OwnPath]:
    """Return the paths that the code of `file` computes from `__file__`, where it uses them."""
    reader = _Reader(tree, file)
    return list(reader.uses()) if reader.names_itself else []


class _Reader:
    """Evaluates the few expressions of which paths are made."""

    def __init__(self, tree: ast.Module, file: Path) -> None:
        self._file = file
        self._parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self._names = _assigned_once(tree)
        self._following: set[str] = set()
        self.names_itself = any(isinstance(n, ast.Name) and n.id == "__file__" for n in self._parents)

    def uses(self) -> Iterator[OwnPath]:
        """Yield the paths that are not just a part of another one, or bound to a name."""
        for node, around in self._parents.items():
            if not isinstance(node, ast.expr) or not isinstance(path := self.value(node), Path):
                continue
            if not self._is_part(around):
                yield OwnPath(path, node.lineno, is_base=_is_base(around), is_asked=_is_asked(around))

    def _is_part(self, around: ast.AST) -> bool:
        """Return whether the use is elsewhere: of a larger path, or of the name that is bound; or is none.

        `around` is the node that a path stands in.
        """
        match around:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return name in self._names
            case ast.Call(func=ast.Attribute(attr=attr) | ast.Name(id=attr)) if attr in _HARMLESS:
                return True
            case ast.Compare():
                return True
            case ast.Attribute() | ast.FormattedValue():
                return self._is_known(around) or self._is_known(self._parents.get(around))
            case ast.Call(func=ast.Attribute(attr="splitext") | ast.Name(id="splitext")):
                return self._is_known(self._parents.get(around))
        return self._is_known(around)

    def _is_known(self, node: ast.AST | None) -> bool:
        return isinstance(node, ast.expr) and self.value(node) is not None

    def value(self, node: ast.AST) -> Path | str | None:
        """Return the path, or the text, that an expression has; None for any other."""
        match node:
            case ast.Name(id="__file__"):
                return self._file
            case ast.Name(id=name) if name in self._names and name not in self._following:
                self._following.add(name)
                try:
                    return self.value(self._names[name])
                finally:
                    self._following.discard(name)
            case ast.Constant(value=str() as text):
                return text
            case ast.BinOp(left=left, op=ast.Div() | ast.Add() as op, right=right):
                return self._joined(left, right, is_sum=isinstance(op, ast.Add))
            case ast.Attribute(value=inner, attr="parent"):
                return _up(self.value(inner), 1)
            case ast.Subscript(
                value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int() as n)
            ):
                return _up(self.value(inner), n + 1)
            case ast.Subscript(
                value=ast.Call(func=ast.Attribute(attr="splitext") | ast.Name(id="splitext"), args=[inner]),
                slice=ast.Constant(value=0),
            ):
                path = self.value(inner)
                return path.with_suffix("") if isinstance(path, Path) else None
            case ast.JoinedStr(values=values):
                return self._formatted(values)
            case ast.Call():
                return self._called(node)
        return None

    def _joined(self, left: ast.expr, right: ast.expr, *, is_sum: bool) -> Path | str | None:
        first, second = self.value(left), self.value(right)
        if first is None or second is None:
            return None
        if not is_sum:
            return Path(first, second) if isinstance(first, Path) else None
        together = f"{first}{second}"
        return Path(together) if isinstance(first, Path) else together

    def _formatted(self, values: list[ast.expr]) -> Path | str | None:
        parts = [self.value(v.value if isinstance(v, ast.FormattedValue) else v) for v in values]
        if any(part is None for part in parts):
            return None
        together = "".join(map(str, parts))
        return Path(together) if isinstance(parts[0], Path) else together

    def _called(self, call: ast.Call) -> Path | str | None:
        name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
        given = [self.value(argument) for argument in call.args]
        inner = self.value(call.func.value) if isinstance(call.func, ast.Attribute) else None
        if isinstance(inner, Path):  # a method of a path
            if any(part is None for part in given):
                return None
            texts = [str(part) for part in given]
            match name, texts:
                case ("resolve" | "absolute" | "as_posix" | "expanduser", []):
                    return inner
                case ("joinpath", _):
                    return inner.joinpath(*texts)
                case ("with_name", [text]) if text and "/" not in text:
                    return inner.with_name(text)
                case ("with_suffix", [text]) if not text or text.startswith("."):
                    return inner.with_suffix(text)
            return None
        if not given or not isinstance(given[0], Path) or any(part is None for part in given):
            return None
        if name == "dirname":
            return given[0].parent
        if name == "join":
            return Path(os.path.normpath(Path(*[str(part) for part in given])))
        return Path(*[str(part) for part in given]) if name in _SAME else None


def _is_base(around: ast.AST) -> bool:
    """Return whether code goes on from a path to others that only a run can tell."""
    match around:
        case ast.BinOp() | ast.FormattedValue():
            return True
        case ast.Call(func=ast.Attribute(attr=attr) | ast.Name(id=attr)):
            return attr in ("join", "splitext", "split")
        case ast.Attribute(attr=attr):
            return attr in _GOES_ON
    return False


def _is_asked(around: ast.AST) -> bool:
    return isinstance(around, ast.Attribute) and around.attr in _ASKS


def _up(path: Path | str | None, levels: int) -> Path | None:
    if not isinstance(path, Path) or levels > len(path.parents):
        return None
    return path.parents[levels - 1]


def _assigned_once(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the values of the names that are bound once, anywhere in a module."""
    found: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.setdefault(name, []).append(value)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                found.setdefault(name, []).append(None)
    values = {name: [v for v in all_values if v is not None] for name, all_values in found.items()}
    # Each assignment is there twice: as itself, and as the name that it stores.
    return {name: vs[0] for name, vs in values.items() if len(vs) == 1 and len(found[name]) == 2}
