"""Finds the files of each kind of component as the reference finds them (contract 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MARKDOWN = (".md", ".markdown")
_NO_COMPONENTS = ("capability.yaml", "__init__.py")


@dataclass(frozen=True)
class Export:
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
    own = (root / directory).resolve()
    found = [Export(own, f"{directory}/", is_listed=False)] if own.exists() and _inside(own, root) else []
    for entry in entries or ():
        written = entry.strip()
        path = (root / written).resolve()
        if _inside(path, root) and all(path != other.path for other in found):
            found.append(Export(path, written, is_listed=True))
    return found


def agent_files(export: Export) -> list[Path]:
    """Return the Markdown files of an export: at any depth below a directory, sorted; hidden ones too."""
    if not export.path.is_dir():
        return [export.path] if export.path.suffix.lower() in MARKDOWN else []
    found = (p for p in sorted(export.path.rglob("*")) if p.suffix.lower() in MARKDOWN)
    return [p for p in found if p.is_file() and p.name not in _NO_COMPONENTS]


def skill_directories(export: Export) -> list[Path]:
    """Return the directories right below an export: each is a skill, whether it has a `SKILL.md` or not."""
    return [p for p in sorted(export.path.iterdir()) if p.is_dir()] if export.path.is_dir() else []


def python_files(found: Iterable[Export]) -> list[Path]:
    """Return the Python files of exports, each once: at any depth below a directory, sorted."""
    return list(dict.fromkeys(file for export in found for file in _python_files(export.path)))


def _python_files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (p for p in sorted(path.rglob("*.py")) if p.name != "__init__.py")
    elif path.suffix.lower() == ".py" and path.name != "__init__.py" and path.exists():
        yield path


def _inside(path: Path, root: Path) -> bool:
    return "\0" not in str(path) and path.is_relative_to(root)
