"""Collects agents, skills and other components beside a `%%capability` cell; used by planning."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnworker.capability.exports import agent_files, exports
from dnworker.capability.manifest import CapabilityManifest
from dnworker.capability.mcp_entries import MCP_FILES
from dnworker.capability.reading import exists, is_directory, is_file
from dnworker_jupyter.export.planning.local_files import MOST_BYTES, MOST_FILES, files_below
from dnworker_jupyter.export.slicing.cells import SourceCell
from dnworker_jupyter.export.slicing.problems import ExportProblem

KINDS = ("agents", "skills", "tools", "hooks", "policies")

_LINE = re.compile(r"^%%capability\b(.*)$", re.MULTILINE)


@dataclass
class Companions:
    """The files of components by their paths in the capability, and why they cannot be exported."""

    files: dict[str, Path] = field(default_factory=dict)
    problems: list[ExportProblem] = field(default_factory=list)
    warnings: list[ExportProblem] = field(default_factory=list)


def find_companions(
    cell: SourceCell,
    head: CapabilityManifest,
    beside: Path | None,
    into: Path | None,
    *,
    has_run: bool = True,
) -> Companions:
    """Return the files of the components that a `%%capability` cell loads with it.

    Args:
        cell: the cell, whose line may name another directory by `--dir`.
        head: what it says, with the lists of components.
        beside: the notebook's directory; None where it has none.
        into: the directory of the export: what lies there needs no copy.
        has_run: whether the notebook's cells have: else one of them may make the files.
    """
    found = Companions()
    if beside is None:
        return found
    named = _directory(cell)
    root = (beside / named).resolve()
    if named and not is_directory(root):
        why = "there is no such directory"
        found.problems.append(ExportProblem(f"--dir {named}", why, _way_out(has_run=has_run), cell.cell))
        return found
    found.warnings += _missing(cell, head, root, into, has_run=has_run)
    files = [*_files(head, root)]
    if named and not (files or found.warnings or has_run):
        found.warnings.append(_empty(cell, named, root))
    if into is not None and into.resolve() == root:
        return found
    for file in files:
        found.files[file.relative_to(root).as_posix()] = file
    size = sum(file.stat().st_size for file in found.files.values())
    if len(found.files) > MOST_FILES or size > MOST_BYTES:
        why = f"has {len(found.files)} files of {size / 1e6:.0f} MB in agents/, skills/ and the like"
        remedy = f"keep at most {MOST_FILES} files and {MOST_BYTES // 10**6} MB there"
        found.problems.append(ExportProblem(str(root), why, remedy, cell.cell))
        found.files.clear()
    return found


def _directory(cell: SourceCell) -> str:
    """Return what `--dir` names on the cell's line; the empty path without it."""
    line = _LINE.search(cell.cell.source)
    try:
        words = shlex.split(line[1]) if line is not None else []
    except ValueError:  # the cell did not run like this
        return ""
    for number, word in enumerate(words):
        if word.startswith("--dir="):
            return str(Path(word.removeprefix("--dir=")).expanduser())
        if word == "--dir" and number + 1 < len(words):
            return str(Path(words[number + 1]).expanduser())
    return ""


def _way_out(*, has_run: bool) -> str:
    if has_run:
        return "create it, or take it out of the cell"
    return "create it, or export with --execute, which runs the cells first: one of them may create it"


def _missing(
    cell: SourceCell, head: CapabilityManifest, root: Path, into: Path | None, *, has_run: bool
) -> Iterator[ExportProblem]:
    """Warn of parts that a head lists, and that neither its directory nor that of the export has."""
    for kind in KINDS:
        listed: Any = head.raw.get(kind)
        for export in exports(root, listed, kind):
            place = export.path.relative_to(root)
            if export.is_listed and not exists(export.path) and not (into and exists(into / place)):
                why = f"the head lists it in {kind}, and {root} does not have it, so the export lacks it"
                yield ExportProblem(export.written, why, _way_out(has_run=has_run), cell.cell)


def _empty(cell: SourceCell, named: str, root: Path) -> ExportProblem:
    """Warn of a directory that a head names, and in which there is nothing to export."""
    return ExportProblem(
        f"--dir {named}",
        f"there are no agents, skills or the like in {root}, and so none in the export",
        "export with --execute where a cell of the notebook creates them, or leave --dir out",
        cell.cell,
    )


def _files(head: CapabilityManifest, root: Path) -> Iterator[Path]:
    for kind in KINDS:
        listed: Any = head.raw.get(kind)
        for export in exports(root, listed, kind):
            if export.path.is_dir():
                hidden = agent_files(export) if kind == "agents" else []  # found too, as in the reference
                found = dict.fromkeys([*files_below(export.path), *filter(is_file, hidden)])
                yield from (file for file in found if file.is_relative_to(root))
            elif is_file(export.path):
                yield export.path
    yield from (root / name for name in MCP_FILES if is_file(root / name))
