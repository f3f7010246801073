"""Moves what several workers need into one module beside their scripts; used by planning."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dnworker_jupyter.export.slicing.nodes import KEPT, find, text_constants
from dnworker_jupyter.export.slicing.slice import BOUND, Slice
from dnworker_jupyter.export.slicing.statements import Statement, names_in

_OF_MODULE = frozenset({"__name__", "__file__", "globals", "vars", "locals"})
"""Names by which code asks for the module that it is in."""


@dataclass(frozen=True)
class SharedModule:
    """The statements of the module, and the names that it imports."""

    definitions: tuple[Statement, ...]
    imports: tuple[Statement, ...]
    import_names: frozenset[str]


@dataclass(frozen=True)
class Script:
    """A slice without what is in the shared module, and the names that it imports from there."""

    piece: Slice
    from_shared: tuple[str, ...] = ()


def split_shared(slices: Sequence[Slice]) -> tuple[SharedModule | None, list[Script]]:
    """Take out of the slices the definitions that two or more have; None where there are none.

    These stay in each script, with all definitions that name them:

    - a definition that names `worker`, which is a different object in each script;
    - a name that a function binds by `global`: scripts that import the name would not see the change;
    - a name that a `--shared` cell uses when it runs;
    - a registry that is filled by definitions that stay;
    - an effect on the process or on a module, and what names its own module.

    A name that several statements bind, or whose object they change, goes with all of them or stays, and
    stays where a definition that stays reads it when it runs.
    """
    counts = Counter(s for piece in slices for s in piece.definitions)
    touched = {s: names for piece in slices for s, names in piece.touched.items()}
    fixed = _bound_by_global(slices) | {n for s in counts if s.cell.is_shared for n in s.needs}
    effects = {s for piece in slices for s in piece.effects}
    shared = {s: None for s, n in counts.items() if n > 1 and s not in effects and _is_movable(s, fixed)}
    own = _own_names(slices)
    several = _touched_by_several(touched)
    while True:
        staying = [s for s in counts if s not in shared]
        apart = own | {name for s in staying for name in touched[s]} | _registries(staying, shared)
        apart |= {name for s in staying for name in s.reads_at_once & several}
        leaving = [s for s in shared if (s.needs | touched[s]) & apart]
        if not leaving:
            break
        for statement in leaving:
            del shared[statement]
    if not shared:
        return None, [Script(piece) for piece in slices]
    return _module(shared, slices), [_without(piece, shared) for piece in slices]


def _is_movable(statement: Statement, fixed: Collection[str]) -> bool:
    is_definition = statement.cell.category == "plain" and statement.category != "import"
    return is_definition and statement.defines.isdisjoint(fixed) and not _names_its_module(statement.node)


@lru_cache(maxsize=KEPT)
def _names_its_module(node: ast.AST) -> bool:
    """Return whether code asks for the module that it is in, which would be another one."""
    return (
        "__main__" in text_constants(node)
        or any(one.id in _OF_MODULE for one in find(node, ast.Name))
        or any(one.attr in ("modules", "__module__") for one in find(node, ast.Attribute))
        or any(one.name == "__main__" for one in find(node, ast.alias))
    )


def _touched_by_several(touched: Mapping[Statement, Collection[str]]) -> set[str]:
    counts = Counter(name for names in touched.values() for name in names)
    return {name for name, count in counts.items() if count > 1}


def _own_names(slices: Sequence[Slice]) -> set[str]:
    """Return the names that mean something else in each script: the worker, and its handlers."""
    handlers = {name for piece in slices for handler in piece.handlers for name in handler.defines}
    return {"worker", *(name for piece in slices for name in piece.names)} | handlers


def _bound_by_global(slices: Sequence[Slice]) -> set[str]:
    return {
        name
        for piece in slices
        for statement in (*piece.definitions, *piece.handlers)
        for node in find(statement.node, ast.Global)
        for name in node.names
    }


def _registries(staying: Iterable[Statement], shared: Iterable[Statement]) -> set[str]:
    """Return the names of containers that a decorator of a statement that stays fills."""
    by_name = {name: s for s in shared for name in s.defines}
    found: set[str] = set()
    for statement in staying:
        decorators = getattr(statement.node, "decorator_list", [])
        waiting = [name for d in decorators for name in names_in(d) if name in by_name]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            value = getattr(by_name[name].node, "value", None)
            if isinstance(value, ast.List | ast.Dict | ast.Set):
                found.add(name)
            waiting += [needed for needed in by_name[name].needs if needed in by_name]
    return found


def _module(shared: Collection[Statement], slices: Sequence[Slice]) -> SharedModule:
    needs = frozenset(name for s in shared for name in s.needs)
    ordered: dict[Statement, None] = {}
    imports: dict[Statement, None] = {}
    for piece in slices:  # each slice is in an order that works, and so is this part of it
        ordered |= {s: None for s in piece.definitions if s in shared}
        imports |= {s: None for s in piece.imports if s.defines & needs}
    names = frozenset(name for piece in slices for name in piece.import_names) & needs
    return SharedModule(tuple(ordered), tuple(imports), names)


def _without(piece: Slice, shared: Collection[Statement]) -> Script:
    kept = tuple(s for s in piece.definitions if s not in shared)
    moved = [s for s in piece.definitions if s in shared]
    needed = frozenset(name for s in (*kept, *piece.handlers) for name in s.needs)
    no_more_needed = frozenset(name for s in moved for name in s.needs) - needed
    from_shared = frozenset(name for s in moved for name in s.defines) & needed
    body = tuple(s for s in piece.body if s not in shared)
    names = piece.import_names - no_more_needed
    script = replace(piece, definitions=kept, body=body, import_names=names)
    return Script(script, tuple(sorted(from_shared - BOUND)))
