"""Exports what was last run in this kernel, or what stands in a notebook file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.errors import Refused
from dnworker_jupyter.export.difference import Difference, compare
from dnworker_jupyter.export.plan import Plan, TargetName, Topology, plan_export
from dnworker_jupyter.export.reading import read_notebook
from dnworker_jupyter.export.writing import read_export, tree, write

WORKER_CELL = re.compile(r"^%%worker\b", re.MULTILINE)

if TYPE_CHECKING:
    from dnworker_jupyter.cells import Cell
    from dnworker_jupyter.notebook import Notebook


def export_notebook(
    notebook: Notebook, directory: Path, *, target: TargetName, topology: Topology, force: bool
) -> str:
    """Export the notebook's workers and return what to tell the user.

    Raises:
        Refused: something cannot travel, or the directory was edited by hand.
        ManifestError: the manifest's head breaks a rule.
    """
    cells, names = live_cells(notebook), registered_names(notebook)
    return _export(cells, directory, target, topology, force, Path.cwd(), names)


def export_file(file: Path, directory: Path, *, target: TargetName, topology: Topology, force: bool) -> str:
    """Export the workers of an `.ipynb` file, without a kernel.

    Raises:
        Refused: something cannot travel, or the directory was edited by hand.
        ManifestError: the manifest's head breaks a rule.
    """
    return _export(read_notebook(file), directory, target, topology, force, file.resolve().parent)


def diff_notebook(
    notebook: Notebook, directory: Path, *, target: TargetName, topology: Topology
) -> Difference:
    """Compare what an export would write with the last one into a directory.

    Raises:
        Refused: something cannot travel, or there is no export to compare with.
        ManifestError: a manifest breaks a rule.
    """
    old = read_export(directory)
    cells, names = live_cells(notebook), registered_names(notebook)
    return compare(old, _plan(cells, directory, target, topology, Path.cwd(), names).files)


def diff_file(file: Path, directory: Path, *, target: TargetName, topology: Topology) -> Difference:
    """Do the same with an `.ipynb` file, without a kernel.

    Raises:
        Refused: something cannot travel, or there is no export to compare with.
        ManifestError: a manifest breaks a rule.
    """
    old = read_export(directory)
    return compare(old, _plan(read_notebook(file), directory, target, topology, file.resolve().parent).files)


def _export(
    cells: list[Cell],
    directory: Path,
    target: TargetName,
    topology: Topology,
    force: bool,
    beside: Path,
    registered: dict[str, list[str]] | None = None,
) -> str:
    plan = _plan(cells, directory, target, topology, beside, registered)
    try:
        changed = write(plan, directory, force=force)
    except OSError as exc:
        why = exc.strerror or exc
        raise Refused(f"{directory} could not be written: {why}; nothing was changed") from exc
    told = f"capability {plan.name} is in {directory}"
    warned = [f"warning: {warning}" for warning in plan.warnings]
    told = told if changed else f"{told} (nothing changed)"
    return "\n".join([told, *tree(directory.resolve()), *warned])


def _plan(
    cells: list[Cell],
    directory: Path,
    target: TargetName,
    topology: Topology,
    beside: Path,
    registered: dict[str, list[str]] | None = None,
) -> Plan:
    return plan_export(
        cells,
        default_name=capability_name(directory),
        target=target,
        topology=topology,
        registered=registered,
        project=project_requirements(beside),
        beside=beside,
        existing=_existing_manifest(directory),
    )


def _existing_manifest(directory: Path) -> str | None:
    try:
        return (directory / MANIFEST_NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def project_requirements(directory: Path) -> list[str]:
    """Return what the project of a directory says it depends on; nothing where there is no project."""
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return []
    groups = [project.get("dependencies", []), *project.get("optional-dependencies", {}).values()]
    return [text for group in groups for text in group if isinstance(text, str)]


def live_cells(notebook: Notebook) -> list[Cell]:
    """Return the cells that count: of workers what is registered now, of others what ran to its end."""
    registered = {r.cell.key: r.cell for live in notebook.live.values() for r in live.registrations.values()}
    registered |= {cell.key: cell for cell in notebook.transactions.programs.values()}
    others = [
        cell
        for cell in notebook.cells.all()
        if cell.key not in registered and not WORKER_CELL.search(cell.source)
    ]
    return sorted([*registered.values(), *others], key=lambda cell: cell.number)


def registered_names(notebook: Notebook) -> dict[str, list[str]]:
    """Return the names of the handlers that run live, by worker."""
    return {name: [h.name for h, _ in live.handlers()] for name, live in notebook.live.items()}


def capability_name(directory: Path) -> str:
    """Make a legal name of a directory's."""
    name = re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-")
    return name or "notebook"
