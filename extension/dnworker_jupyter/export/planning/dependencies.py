"""Finds what scripts need from elsewhere, and their imports that would fail; used by planning."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dnworker.core.topology import Topology
from dnworker_jupyter.export.planning.local_files import find_local_files
from dnworker_jupyter.export.planning.types import TargetName
from dnworker_jupyter.export.planning.validation import foreign_imports, foreign_in_local, foreign_within
from dnworker_jupyter.export.slicing.asked import Asked
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.imports import Choice, dotted_modules
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.requirements import Needs, places_named, resolve, share_asked
from dnworker_jupyter.export.slicing.slice import Slice
from dnworker_jupyter.export.slicing.statements import Statement


@dataclass(frozen=True)
class Dependencies:
    """What all scripts need from elsewhere, in their order, and what they cannot have."""

    needs: Sequence[Needs]
    problems: Sequence[ExportProblem]
    notes: Sequence[str]
    """What else the user should know."""


def find_dependencies(
    slices: Sequence[Slice],
    topologies: Mapping[str, Topology],
    target: TargetName,
    cells: Sequence[SourceCell],
    asked: Asked,
    beside: Path | None,
) -> Dependencies:
    """Return what the scripts of all slices need from elsewhere.

    Args:
        slices: of the workers that are exported.
        topologies: how each worker runs.
        target: what the scripts import.
        cells: all cells: what they import explains what installers were asked for.
        asked: what installers were asked for.
        beside: the directory of the notebook, where its local modules are.
    """
    find = partial(resolve, asked=asked, beside=beside)
    found = [find_needs(piece, topologies[piece.worker], target, find) for piece in slices]
    needs = [one for one, _ in found]
    share_asked(needs, asked, _imported(cells) if asked.where else ())
    by_worker = dict(zip([piece.worker for piece in slices], needs, strict=True))
    problems = [problem for _, missing in found for problem in missing]
    of_files = dict.fromkeys(note for one in needs for note in find_local_files(one).notes)
    return Dependencies(needs, problems, [*asked.notes, *places_named(by_worker), *of_files])


def _imported(cells: Iterable[SourceCell]) -> set[str]:
    found: set[str] = set()
    for cell in cells:
        with contextlib.suppress(SyntaxError, ValueError):
            found |= dotted_modules([cell.tree])
    return found


Find = Callable[[Iterable[str], Iterable[Choice]], Needs]
"""Finds where modules come from: those that must be there, and those that may be missing."""


def find_needs(
    piece: Slice, topology: Topology, target: TargetName, find: Find
) -> tuple[Needs, list[ExportProblem]]:
    """Return what the script of a slice needs from elsewhere, and what of it the script cannot have."""
    code = (*piece.definitions, *piece.handlers)
    importing = _importing(piece)
    choices = {choice for statement in code for choice in statement.modules[0]}
    needs = find(importing, choices)
    importing |= {name: s for s in code for choice in s.modules[0] for part in choice for name in part}
    problems = [*_missing(needs, importing)]
    problems += [problem for s in piece.imports for problem in foreign_imports(s, piece, target)]
    problems += [problem for s in dict.fromkeys(code) for problem in foreign_within(s, target)]
    problems += foreign_in_local(needs, target)
    if topology == "in-process":
        problems += _not_importable_in_process(needs, piece, importing)
    return needs, problems


def _importing(piece: Slice) -> dict[str, Statement]:
    """Return the statement that imports each module that must be there."""
    found = {
        name: statement
        for statement in piece.imports
        for name in dotted_modules([_only_used(statement.node, piece)])
    }
    code = (*piece.definitions, *piece.handlers)
    return found | {name: statement for statement in code for name in statement.modules[1]}


def _only_used(node: ast.stmt, piece: Slice) -> ast.stmt:
    """Return an import with only the names that the script uses."""
    if isinstance(node, ast.Import):
        return ast.Import(
            [a for a in node.names if (a.asname or a.name.partition(".")[0]) in piece.import_names]
        )
    if isinstance(node, ast.ImportFrom):
        used = [a for a in node.names if a.name == "*" or (a.asname or a.name) in piece.import_names]
        return ast.ImportFrom(node.module, used, node.level)
    return node


def _missing(needs: Needs, importing: Mapping[str, Statement]) -> Iterator[ExportProblem]:
    for name in sorted(needs.unknown):
        why = "is not installed here, so its distribution is unknown"
        yield _problem(name, why, "install it", importing)
    for name, why in needs.broken.items():
        yield _problem(name, f"is a file of yours, and no Python: {why}", "mend it", importing)
    for name, why, remedy in find_local_files(needs).problems:
        yield _problem(name, why, remedy, importing)


def _not_importable_in_process(
    needs: Needs, piece: Slice, importing: Mapping[str, Statement]
) -> Iterator[ExportProblem]:
    """Refuse local modules that the reference does not find when it loads a worker in-process."""
    by_top_level = _top_level_names(piece)
    for name, file in needs.local.items():
        if name in needs.inner or name not in by_top_level:
            yield _problem(
                name,
                f"it is a file of yours ({file}), and an in-process worker of the reference can import such "
                "a one only by its own name, at the top level",
                "use --topology uv, or put its code into a %%worker NAME --shared cell",
                importing,
            )


def _top_level_names(piece: Slice) -> set[str]:
    """Return the modules that the imports of a slice name whole; of a submodule, its dotted name."""
    found: set[str] = set()
    for statement in piece.imports:
        match statement.node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=module):
                found.add((module or "").partition(".")[0])
    return found


def _problem(name: str, why: str, remedy: str, importing: Mapping[str, Statement]) -> ExportProblem:
    found = (s for module, s in importing.items() if module == name or module.startswith(f"{name}."))
    statement = next(found, None)  # None for a module that a local module imports
    if statement is None:
        return ExportProblem(f"module {name!r}", why, remedy)
    return ExportProblem(f"module {name!r}", why, remedy, statement.cell.cell, statement.node.lineno)
