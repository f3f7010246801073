"""What several workers of one notebook need goes once into a module beside their scripts."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dnworker_jupyter.export.slicing.slice import BOUND, Slice
from dnworker_jupyter.export.slicing.statements import Statement, names_in

_Key = tuple[int, int, int]


@dataclass(frozen=True)
class SharedModule:
    """The statements of the module, and the names that it imports."""

    definitions: tuple[Statement, ...]
    imports: tuple[Statement, ...]
    import_names: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """The names that it defines."""
        return frozenset(name for s in self.definitions for name in s.defines)


@dataclass(frozen=True)
class Script:
    """A slice without what is common, and the names that it imports from there."""

    piece: Slice
    from_common: tuple[str, ...] = ()


def split_common(slices: Sequence[Slice]) -> tuple[SharedModule | None, list[Script]]:
    """Take out of the slices what two or more have; None where there is nothing.

    What stays with each worker: what speaks of `worker`, which is another in each; what a function binds anew
    by `global`, since an imported name would not follow; what a `--shared` cell touches when it runs; and a
    registry that is filled by what stays.
    """
    counts = Counter(_key(s) for piece in slices for s in piece.definitions)
    found = {_key(s): s for piece in slices for s in piece.definitions}
    # A handler is its worker's own, and one of another worker may have its name.
    owned = {"worker", *(name for piece in slices for name in piece.names)}
    owned |= {name for piece in slices for handler in piece.handlers for name in handler.defines}
    rebound = {
        name
        for piece in slices
        for s in (*piece.definitions, *piece.handlers)
        for node in s.nodes
        if isinstance(node, ast.Global)
        for name in node.names
    }
    rebound |= {name for s in found.values() if s.category == "other" for name in s.needs}
    common = {
        key: found[key]
        for key, count in counts.items()
        if count > 1 and found[key].cell.category == "plain" and not found[key].defines & rebound
    }
    while True:
        staying = [s for key, s in found.items() if key not in common]
        apart = {n for s in staying for n in s.defines} | owned | _registries(staying, common.values())
        out = [key for key, s in common.items() if (s.needs | s.defines) & apart]
        if not out:
            break
        for key in out:
            del common[key]
    if not common:
        return None, [Script(piece) for piece in slices]
    return _module(common, slices), [_without(piece, common) for piece in slices]


def _registries(staying: Iterable[Statement], common: Iterable[Statement]) -> set[str]:
    """Return the names of containers that a decorator fills, where one stands on something that stays."""
    by_name = {name: s for s in common for name in s.defines}
    found: set[str] = set()
    for statement in staying:
        waiting = [
            n for d in getattr(statement.node, "decorator_list", []) for n in names_in(d) if n in by_name
        ]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            value = getattr(by_name[name].node, "value", None)
            if isinstance(value, ast.List | ast.Dict | ast.Set):
                found.add(name)
            waiting += [n for n in by_name[name].needs if n in by_name]
    return found


def _module(common: dict[_Key, Statement], slices: Sequence[Slice]) -> SharedModule:
    needs = frozenset(name for s in common.values() for name in s.needs)
    ordered: dict[_Key, Statement] = {}
    imports: dict[_Key, Statement] = {}
    for piece in slices:  # each is in an order that works, and so is what they have in common
        ordered |= {_key(s): s for s in piece.definitions if _key(s) in common and _key(s) not in ordered}
        imports |= {_key(s): s for s in piece.imports if s.defines & needs}
    names = frozenset(name for piece in slices for name in piece.import_names) & needs
    return SharedModule(tuple(ordered.values()), tuple(imports.values()), names)


def _without(piece: Slice, common: dict[_Key, Statement]) -> Script:
    kept = tuple(s for s in piece.definitions if _key(s) not in common)
    taken = [s for s in piece.definitions if _key(s) in common]
    still = frozenset(name for s in (*kept, *piece.handlers) for name in s.needs)
    gone = frozenset(name for s in taken for name in s.needs) - still
    names = frozenset(name for s in taken for name in s.defines) & still
    without = replace(piece, definitions=kept, import_names=piece.import_names - gone)
    return Script(without, tuple(sorted(names - BOUND)))


def _key(statement: Statement) -> _Key:
    return (statement.cell.order, statement.node.lineno, statement.node.col_offset)
