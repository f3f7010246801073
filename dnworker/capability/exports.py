"""Finds the files of each kind of component as the reference finds them (contract 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

import msgspec

from dnworker.capability.reading import Budget, UnreadableFile, exists, is_directory, resolved

MARKDOWN = (".md", ".markdown")


class Export(msgspec.Struct, frozen=True):
    """A directory or file with components of one kind."""

    path: Path
    """Absolute, without symbolic links; it may be missing where a manifest lists it."""
    written: str
    """The path as the manifest has it."""
    is_listed: bool
    """Whether the manifest lists it; else it is the kind's own directory."""


def exports(root: Path, listed: Iterable[str] | None, directory: str) -> list[Export]:
    """Return where components of one kind lie: in their own directory, and where a manifest lists them.

    Args:
        root: of the capability, resolved.
        listed: the manifest's list; None when it has none. An empty list turns the kind off.
        directory: the kind's own directory; left out where it does not exist or leads out of the capability.
    """
    entries = None if listed is None else list(listed)
    if entries == []:
        return []
    found: dict[Path, Export] = {}
    own = _place(root, directory)
    if own is not None and exists(own):
        found[own] = Export(own, f"{directory}/", is_listed=False)
    for entry in entries or ():
        written = entry.strip()
        path = _place(root, written)
        if path is not None:
            found.setdefault(path, Export(path, written, is_listed=True))
    return list(found.values())


def agent_files(export: Export, budget: Budget | None = None) -> list[Path]:
    """Return the Markdown files of an export: at any depth below a directory, sorted; hidden ones too.

    What has the name of one and is no file is among them, and cannot be read.
    """
    if not is_directory(export.path):
        return [export.path] if export.path.suffix.lower() in MARKDOWN else []
    return (budget or Budget()).files_below(export.path, _is_markdown)


def skill_directories(export: Export, budget: Budget | None = None) -> list[Path]:
    """Return the directories right below an export: each is a skill, whether it has a `SKILL.md` or not."""
    return (budget or Budget()).directories_in(export.path) if is_directory(export.path) else []


def python_files(found: Iterable[Export], budget: Budget | None = None) -> list[Path]:
    """Return the Python files of exports, each once: at any depth below a directory, sorted."""
    budget = budget or Budget()
    return list(dict.fromkeys(file for export in found for file in _python_files(export.path, budget)))


def _python_files(path: Path, budget: Budget) -> list[Path]:
    if is_directory(path):
        return budget.files_below(path, _is_python)
    return [path] if _is_python(path.name) and exists(path) else []


def _is_markdown(name: str) -> bool:
    return PurePath(name).suffix.lower() in MARKDOWN


def _is_python(name: str) -> bool:
    return PurePath(name).suffix.lower() == ".py" and name != "__init__.py"


def _place(root: Path, written: str) -> Path | None:
    """Return the place of a path in the capability; None for one outside of it, or that is none."""
    try:
        place = resolved(root / written)
    except UnreadableFile:  # the manifest's checker says so of a listed one
        return None
    return place if place.is_relative_to(root) else None
