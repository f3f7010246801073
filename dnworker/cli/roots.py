"""The capabilities that a path of the command line names: itself, or those right in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.capability.reading import Budget, exists, is_directory


def roots_of(path: Path, say: Callable[[str], object] = lambda _: None) -> list[Path]:
    """Return the path, or the capabilities in it when it is none itself; `say` is told what was not read."""
    if exists(path / MANIFEST_NAME) or not is_directory(path):
        return [path]
    budget = Budget()
    found = [d for d in budget.directories_in(path) if exists(d / MANIFEST_NAME)]
    for problem in budget.problems:
        say(problem)
    return found or [path]
