"""Finds which modules code imports, and which of them may be missing; used by slicing and importer."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache

from dnworker_jupyter.export.slicing.nodes import KEPT, children, find

Choice = tuple[frozenset[str], frozenset[str]]
"""The modules that are tried first, and their fallback, which may be empty."""

Modules = tuple[set[Choice], set[str]]
"""The choices of code, and the modules that must be there."""


def imported_modules(trees: Iterable[ast.AST]) -> set[str]:
    """Return the top-level modules that code imports, at any depth; by `import_module("name")` too."""
    return {module.partition(".")[0] for module in dotted_modules(trees)}


def dotted_modules(trees: Iterable[ast.AST]) -> set[str]:
    """Return all that code imports by its whole name, at any depth.

    `from google.cloud import storage` gives `google.cloud.storage`: whether `storage` is a module or a name
    in one is for whoever looks for it.
    """
    return {module for tree in trees for node in ast.walk(tree) for module in _imported_by(node)}


def _imported_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str() as module, level=0, names=names):
            yield from (module if alias.name == "*" else f"{module}.{alias.name}" for alias in names)
        case ast.Call(args=[ast.Constant(value=str() as module), *_]) if imports_by_name(node):
            if module and not module.startswith("."):
                yield module


def imports_by_name(call: ast.Call) -> bool:
    """Return whether a call imports the module that its argument names."""
    match call.func:
        case ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"):
            return True
    return False


@lru_cache(maxsize=KEPT)
def modules_of_statement(node: ast.AST) -> Modules:
    """Return `choices_in` one statement, which is read once; it must not be changed."""
    if find(node, ast.Import, ast.ImportFrom, ast.Try) or calls_that_import(node):
        return choices_in([node])
    return set(), set()


@lru_cache(maxsize=KEPT)
def calls_that_import(node: ast.AST) -> tuple[ast.Call, ...]:
    """Return the calls in a statement that import the module that their argument names."""
    return tuple(filter(imports_by_name, find(node, ast.Call)))


def choices_in(trees: Iterable[ast.AST]) -> Modules:
    """Return the choices of a `try` that catches ImportError, and the modules that are imported elsewhere.

    All of them are whole names, as `dotted_modules` gives them. What stands under `if TYPE_CHECKING` never
    runs, and does not count.
    """
    choices: set[Choice] = set()
    plain: set[str] = set()
    waiting = list(trees)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Try) and any(_catches_import_error(h) for h in node.handlers):
            fallback = dotted_modules(s for h in node.handlers if _catches_import_error(h) for s in h.body)
            choices.add((frozenset(dotted_modules(node.body)), frozenset(fallback)))
            waiting += [*node.orelse, *node.finalbody]
            waiting += [s for h in node.handlers if not _catches_import_error(h) for s in h.body]
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        else:
            plain |= set(_imported_by(node))
            waiting += children(node)
    return choices, plain


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    names = (
        {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"Exception"}
    )
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception"})
