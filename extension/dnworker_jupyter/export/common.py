"""What several workers of one notebook need goes once into a module beside their scripts."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dnworker_jupyter.export.slice import BOUND, Slice, Statement

_Key = tuple[int, int, int]


@dataclass(frozen=True)
class Common:
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


def split_common(slices: Sequence[Slice]) -> tuple[Common | None, list[Script]]:
    """Take out of the slices what two or more have; None where there is nothing.

    What stays with each worker: what speaks of `worker`, which is another in each; and what a function
    binds anew by `global`, since an imported name would not follow.
    """
    counts = Counter(_key(s) for piece in slices for s in piece.definitions)
    found = {_key(s): s for piece in slices for s in piece.definitions}
    # A handler is its worker's own, and one of another worker may have its name.
    aliases = {"worker", *(alias for piece in slices for alias in piece.aliases)}
    aliases |= {name for piece in slices for handler in piece.handlers for name in handler.defines}
    rebound = {
        name
        for piece in slices
        for s in (*piece.definitions, *piece.handlers)
        for node in s.nodes
        if isinstance(node, ast.Global)
        for name in node.names
    }
    common = {
        key: found[key]
        for key, count in counts.items()
        if count > 1 and found[key].cell.sort == "plain" and not found[key].defines & rebound
    }
    while True:
        apart = {n for key, s in found.items() if key not in common for n in s.defines} | aliases
        out = [key for key, s in common.items() if (s.needs | s.defines) & apart]
        if not out:
            break
        for key in out:
            del common[key]
    if not common:
        return None, [Script(piece) for piece in slices]
    return _module(common, slices), [_without(piece, common) for piece in slices]


def _module(common: dict[_Key, Statement], slices: Sequence[Slice]) -> Common:
    needs = frozenset(name for s in common.values() for name in s.needs)
    ordered: dict[_Key, Statement] = {}
    imports: dict[_Key, Statement] = {}
    for piece in slices:  # each is in an order that works, and so is what they have in common
        ordered |= {_key(s): s for s in piece.definitions if _key(s) in common and _key(s) not in ordered}
        imports |= {_key(s): s for s in piece.imports if s.defines & needs}
    names = frozenset(name for piece in slices for name in piece.import_names) & needs
    return Common(tuple(ordered.values()), tuple(imports.values()), names)


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
