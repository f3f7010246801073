"""The directories in which capabilities are searched, in order (contract 4.6); used by engine and CLI."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.capability.reading import Budget, exists, is_directory
from dnworker.core.files import home_directory, working_directory

log = logging.getLogger("dnworker.discovery")


def project_root(cwd: Path, environ: Mapping[str, str]) -> Path:
    """Return `DREADNODE_PROJECT_ROOT`, else the nearest directory above with `.git`, else `cwd`."""
    if named := environ.get("DREADNODE_PROJECT_ROOT", "").strip():
        return (cwd / named).resolve()
    return next((d for d in (cwd, *cwd.parents) if (d / ".git").exists()), cwd)


def search_path(
    given: Iterable[Path] = (), *, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Path]:
    """Return the directories to search: the project's, the user's, those given, those of the environment.

    Directories that do not exist are left out.
    """
    environ = os.environ if environ is None else environ
    cwd = working_directory() if cwd is None else cwd
    own = ".dreadnode/capabilities"
    from_environment = environ.get("DREADNODE_CAPABILITY_DIRS", "").split(os.pathsep)
    home = Path(environ.get("HOME") or home_directory())
    candidates = [
        project_root(cwd, environ) / own,
        home / own,
        *given,
        *(Path(entry.strip()) for entry in from_environment if entry.strip()),
    ]
    # By the names that were given: one may be a link that leads elsewhere later.
    found: dict[Path, Path] = {}
    for directory in candidates:
        if is_directory(directory):
            found.setdefault(directory.resolve(), directory.absolute())
    return list(found.values())


def capability_roots(directories: Iterable[Path]) -> Iterator[Path]:
    """Yield the capabilities of the directories, each directory's in sorted order, without symbolic links."""
    return (root for root, _ in capability_places(directories))


def capability_places(directories: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the same, each with where it is named: a link on the way may lead elsewhere later."""
    for directory in directories:
        if not directory.is_dir():
            continue  # it was deleted meanwhile
        budget = Budget()
        for place in budget.directories_in(directory):
            manifest = place / MANIFEST_NAME
            # Something else of this name, such as a named pipe, is a capability that says so.
            if exists(manifest) or manifest.is_symlink():
                yield place.resolve(), place
        for problem in budget.problems:
            log.warning("%s", problem)
