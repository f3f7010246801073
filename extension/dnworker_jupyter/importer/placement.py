"""Puts the statements of a script into the order of a notebook; used by `scripts`.

What handlers share comes first, and each handler follows what only it uses. An export has its statements in
the order of the cells, so that the next import finds them in an order that it leaves as it is.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dnworker_jupyter.export.slicing.statements import Statement

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Chunk:
    """A statement of a script, or several that share a line, with the comments above."""

    statements: tuple[Statement, ...]
    lines: tuple[str, ...]
    """As the cell has them."""
    line: int
    """The first line in the script."""
    headings: tuple[str, ...] = ()
    is_apart: bool = False
    """Whether a blank line stands above it in the script."""
    handler: str | None = None
    """The name of the handler that it registers; of a statement that registers several, any name."""

    @property
    def is_definition(self) -> bool:
        """Whether it is one function or class, and nothing else."""
        return len(self.statements) == 1 and isinstance(self.statements[0].node, _DEFINITIONS)

    @property
    def is_import(self) -> bool:
        """Whether it only imports."""
        return bool(self.statements) and all(s.category == "import" for s in self.statements)

    @property
    def binds(self) -> set[str]:
        """The names that it binds."""
        return {name for s in self.statements for name in s.defines}

    @property
    def reads_at_once(self) -> set[str]:
        """The names that it reads when it runs."""
        return {name for s in self.statements for name in s.reads_at_once}

    @property
    def needs(self) -> set[str]:
        """The names that it reads when it runs, or that its functions read."""
        return {name for s in self.statements for name in s.needs}


@dataclass(frozen=True)
class Section:
    """A handler with what only it uses; without a handler, what handlers share."""

    chunks: tuple[Chunk, ...]
    handler: Chunk | None = None


def arranged(chunks: Sequence[Chunk], worker: str = "worker") -> list[Section]:
    """Return the sections of the notebook, in their order; `worker` is the name of the worker in the code."""
    handlers = [c for c in chunks if c.handler is not None]
    others = [c for c in chunks if c.handler is None]
    if not _handlers_may_be_last(chunks, worker):
        return _as_it_stands(chunks)
    owners = _owners(others, handlers) if len(handlers) > 1 else {}  # all is for the only handler
    shared = [c for n, c in enumerate(others) if n not in owners]
    sections = [Section(tuple(shared))] if shared else []
    for handler in handlers:
        own = [c for n, c in enumerate(others) if owners.get(n) is handler]
        sections.append(Section(tuple(own), handler))
    return sections


def _as_it_stands(chunks: Sequence[Chunk]) -> list[Section]:
    sections: list[Section] = []
    waiting: list[Chunk] = []
    for chunk in chunks:
        if chunk.handler is None:
            waiting.append(chunk)
            continue
        sections += [Section(tuple(waiting))] if waiting else []
        sections.append(Section((), chunk))
        waiting = []
    return sections + ([Section(tuple(waiting))] if waiting else [])


def _handlers_may_be_last(chunks: Sequence[Chunk], worker: str) -> bool:
    """Return whether nothing below a handler needs it, or changes what it read when it registered."""
    bound: set[str] = set()
    read: set[str] = set()
    for chunk in chunks:
        if chunk.handler is not None:
            bound |= chunk.binds
            read |= chunk.reads_at_once - {worker}
        elif (
            chunk.reads_at_once & bound
            or chunk.binds & read
            or (not (chunk.is_definition or chunk.is_import) and chunk.reads_at_once & read and _acts(chunk))
        ):
            return False
    return True


def _acts(chunk: Chunk) -> bool:
    """Return whether a statement may change an object, beside binding a name."""
    return any(
        isinstance(part, ast.Call | ast.AugAssign | ast.Delete)
        or (isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store))
        for s in chunk.statements
        for part in s.nodes
    )


def _owners(others: Sequence[Chunk], handlers: Sequence[Chunk]) -> Mapping[int, Chunk]:
    """Return the handler of each definition that one handler alone uses, by the number of the definition."""
    counts = Counter(name for chunk in (*others, *handlers) for name in chunk.binds)
    movable = {
        next(iter(chunk.binds)): number
        for number, chunk in enumerate(others)
        if chunk.is_definition and len(chunk.binds) == 1 and counts[next(iter(chunk.binds))] == 1
        if not getattr(chunk.statements[0].node, "decorator_list", [])
    }
    fixed = [chunk for number, chunk in enumerate(others) if number not in movable.values()]
    kept = _reached(others, movable, {name for chunk in fixed for name in chunk.needs})
    kept |= _read_at_once(others, movable, handlers)
    users: dict[int, list[Chunk]] = {}
    for handler in handlers:
        for number in _reached(others, movable, handler.needs):
            users.setdefault(number, []).append(handler)
    return {n: found[0] for n, found in users.items() if len(found) == 1 and n not in kept}


def _reached(others: Sequence[Chunk], movable: Mapping[str, int], names: Collection[str]) -> set[int]:
    """Return the definitions that names lead to, over several steps."""
    found: set[int] = set()
    waiting = [movable[name] for name in names if name in movable]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += [movable[name] for name in others[number].needs if name in movable]
    return found


def _read_at_once(others: Sequence[Chunk], movable: Mapping[str, int], handlers: Sequence[Chunk]) -> set[int]:
    """Return the definitions that something reads when it runs, and what these use."""
    read = {name for chunk in (*others, *handlers) for name in chunk.reads_at_once}
    return _reached(others, movable, read)
