"""Writes `dnworker.patterns` as one module, which scripts for the reference have beside them; for planning.

The reference's environment has no dnworker, and that code imports nothing of it but errors.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import ModuleType

from dnworker.core import errors
from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.export.slicing.statements import names_of_star

RULES = "dnworker.patterns"
CARRIED = "dnworker_patterns"
"""The module in a notebook, and beside a script that carries it."""

_HEAD = (
    '"""Rules for handlers, as dnworker.patterns of a notebook has them; exported with it by dnworker."""\n'
)


def rules_used(pieces: Iterable[Slice]) -> set[str]:
    """Return the names of `dnworker.patterns` that scripts import."""
    return {
        name
        for piece in pieces
        for statement in piece.imports
        if isinstance(node := statement.node, ast.ImportFrom) and node.module == RULES
        for alias in node.names
        for name in (names_of_star(node) if alias.name == "*" else (alias.name,))
        if (alias.asname or name) in piece.import_names
    }


def names_in_place_of(piece: Slice, bound: str) -> str:
    """Return how a script imports the rules that it uses of the module, which a name is bound to."""
    rules = importlib.import_module(RULES).__all__
    uses = {
        node.attr: ast.unparse(node)
        for statement in piece.body
        for node in statement.nodes
        if isinstance(node, ast.Attribute)
        if node.attr in rules and ast.unparse(node.value) in (bound, RULES)
    }
    names = ", ".join(sorted(uses)) or "*"
    said = "".join(f", and write {name} for {use}" for name, use in sorted(uses.items())[:1])
    return f"import its names: from {RULES} import {names}{said}"


def carried_module(names: Collection[str]) -> str:
    """Return the text of a module that has these rules, and what they need."""
    home = importlib.import_module(RULES)
    modules = {*_with_needed(inspect.getmodule(getattr(home, name)) for name in names)}
    ordered = sorted(modules, key=lambda module: (len({*_with_needed([module])}), module.__name__))
    imports, classes, bodies = defaultdict[str, set[str]](set), set[str](), []
    for module in ordered:
        source = inspect.getsource(module)
        heads = [node for node in parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in heads:
            names = {alias.name for alias in node.names}
            if isinstance(node, ast.Import):
                imports[""] |= names
            elif node.module == errors.__name__:
                classes |= names
            elif not (node.module or "").startswith("dnworker."):
                imports[node.module or ""] |= names
        bodies.append("\n".join(source.split("\n")[heads[-1].end_lineno :]).strip("\n"))
    return "\n\n\n".join([_head(imports), *map(_error_class, sorted(classes)), *bodies]) + "\n"


def _head(imports: Mapping[str, Collection[str]]) -> str:
    """Return docstring and imports: names by their module, and modules themselves by an empty one."""
    whole = [f"import {name}" for name in sorted(imports.get("", ()))]
    of_modules = [name for name in sorted(imports) if name not in ("", "__future__")]
    parts = [f"from {module} import {', '.join(sorted(imports[module]))}" for module in of_modules]
    return "\n".join([_HEAD, "from __future__ import annotations", "", *whole, *parts])


def rules_that_differ(piece: Slice) -> list[ExportProblem]:
    """Return a warning for each rule of a script that does not do all there what it does here."""
    found = []
    for statement in piece.imports:
        if "once" in rules_used([piece]) and ast.unparse(statement.node).startswith(f"from {RULES} import"):
            why = "the reference keeps no keys: there the process remembers them, until it ends"
            remedy = "make the effect such that it may happen again, or export with --target dnworker"
            cell, line = statement.cell.cell, statement.node.lineno
            found.append(ExportProblem("once(...)", why, remedy, cell, line))
    return found[:1]


def _with_needed(modules: Iterable[ModuleType | None]) -> Iterator[ModuleType]:
    """Yield modules of `dnworker.patterns` and those that they import from."""
    waiting = [module for module in modules if module is not None]
    for module in waiting:
        for node in parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{RULES}."):
                needed = importlib.import_module(node.module or "")
                if needed not in waiting:
                    waiting.append(needed)
    yield from waiting


def _error_class(name: str) -> str:
    """Return an error of ours as one of Python's own kind."""
    kind = getattr(errors, name)
    base = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    return f'class {name}({base.__name__}):\n    """{inspect.getdoc(kind)}"""'
