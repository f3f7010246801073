"""Reads what planned files import, before they are executed; used by prove."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dnworker import compat
from dnworker.core.parsing import parse
from dnworker_jupyter.export.planning.carried import CARRIED

_SDK = "dreadnode"


@dataclass
class Planned:
    """The imports at the top level of one planned file."""

    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Names that are bound to an attribute of a module, by module and attribute."""
    modules: list[str] = field(default_factory=list)
    """The modules that are imported in any case, or under `try`."""
    everything: set[str] = field(default_factory=set)
    """All modules that are named by an import anywhere."""


def groups_of(files: Sequence[Planned], beside: Collection[str]) -> list[dict[str, Any]]:
    """Return the files in groups that import the same packages, with the modules that all of a group import.

    These may be imported before the files are executed: no file sees a module that it does not import itself.
    Modules of the capability, whose names are in `beside`, are not among them.
    """
    found: dict[frozenset[str], dict[str, Any]] = {}
    for number, file in enumerate(files):
        modules = [m for m in dict.fromkeys(file.modules) if m.partition(".")[0] not in beside]
        packages = frozenset(m.partition(".")[0] for m in modules) - sys.stdlib_module_names
        group = found.setdefault(packages, {"scripts": [], "preload": modules})
        group["scripts"].append(number)
        group["preload"] = [m for m in group["preload"] if m in modules]
    return list(found.values())


def aliases(files: Sequence[Planned]) -> list[str]:
    """Return the modules of the SDK that dnworker stands in for: all, where the files import no other."""
    known = set(compat._ALIASES)
    named = {n for file in files for n in file.everything if n.partition(".")[0] == _SDK}
    needs_sdk = not named <= known - {_SDK} and importlib.util.find_spec(_SDK) is not None
    return sorted(known - {_SDK} if needs_sdk else known)


def planned_of(files: Mapping[str, bytes], path: str, shared: Collection[str] = ()) -> Planned:
    """Return the imports of a planned file; none where it cannot be read, which its execution reports.

    What it imports of the modules in `shared` counts as its own, and the SDK's classes are dnworker's.
    """
    try:
        tree = parse(files[path])
    except (KeyError, SyntaxError, ValueError):
        return Planned()
    planned = Planned()
    for node in ast.walk(tree):
        planned.everything |= set(_modules(node))
    for node in _top_level(tree.body, into=(ast.Try,)):
        planned.modules += _modules(node)
    for node in _top_level(tree.body, into=(ast.Try, ast.If, ast.With, ast.For, ast.While)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            is_ours = node.module in (*shared, CARRIED) or node.module in compat._ALIASES
            planned.imported |= {} if is_ours else names
        else:
            for name in _bound(node):
                planned.imported.pop(name, None)
    return planned


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and node.module != "__future__":
        return [node.module]
    return []


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds which is no import."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    return found | (
        {node.name} if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else set()
    )


def _top_level(body: Sequence[ast.stmt], into: tuple[type[ast.stmt], ...]) -> Iterator[ast.stmt]:
    """Yield statements, and instead of those of the types in `into` what is within them."""
    for node in body:
        if not isinstance(node, into):
            yield node
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _top_level(getattr(node, part, []), into)
        for handler in getattr(node, "handlers", []):
            yield from _top_level(handler.body, into)
