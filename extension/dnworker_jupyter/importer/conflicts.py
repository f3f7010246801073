"""Finds names that two scripts bind to different things; one notebook can hold only one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.statements import Statement, Statements
from dnworker_jupyter.syntax.cell import Cell

Sources = Mapping[str, Sequence[tuple[str, str]]]
"""The cells of each worker, or `(module)`, as the location in its file and the source."""


def conflicts(sources: Sources) -> Iterator[str]:
    """Return a problem for each name that two workers bind differently, and that one of them reads."""
    defined: dict[str, dict[str, tuple[str, str]]] = {}
    needed: dict[str, set[str]] = {}
    for owner, file, statement in _statements(sources):
        needed.setdefault(owner, set()).update(statement.needs)
        for name in statement.defines:
            defined.setdefault(name, {})[owner] = file, _meaning(statement.node, name)
    for name, owners in defined.items():
        yield from _undefined_readers(name, owners, needed)
        meanings = {meaning for _, meaning in owners.values()}
        if len(meanings) > 1 and any(name in needed[owner] for owner in owners):
            files = " and ".join(dict.fromkeys(file for file, _ in owners.values()))
            yield f"{name!r} is something else in {files}; a notebook has one of each name: rename one"


def _statements(sources: Sources) -> Iterator[tuple[str, str, Statement]]:
    for owner, cells in sources.items():
        read = read_cells(Cell(n, source) for n, (_, source) in enumerate(cells))
        statements = Statements(read)
        for cell in read:
            file = cells[cell.cell.number][0].partition(",")[0]
            for statement in statements.of(cell):
                yield owner, file, statement


def _undefined_readers(
    name: str, owners: Mapping[str, tuple[str, str]], needed: Mapping[str, set[str]]
) -> Iterator[str]:
    """Return the workers that read a name, and bind it nowhere: they mean a builtin, for one."""
    if any(owner.startswith("(") for owner in owners):
        return  # a shared module binds it, and all workers may mean that
    file, _ = next(iter(owners.values()))
    for other in sorted(needed.keys() - owners.keys()):
        if name in needed[other]:
            yield (
                f"{name!r} is defined in {file}, and {other} means something else by it, which a "
                "notebook cannot have; rename one"
            )


def _meaning(node: ast.stmt, name: str) -> str:
    """Return a text for what a statement binds a name to, so that two can be compared."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        return " ".join(
            f"{module}{a.name}" for a in node.names if (a.asname or a.name.partition(".")[0]) == name
        )
    return ast.dump(node)
