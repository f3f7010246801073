"""The directories in which capabilities are searched, in order (contract 4.6); used by engine and CLI."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.files import home_directory, working_directory

log = logging.getLogger("dnworker.capability")


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
    return list(dict.fromkeys(d.resolve() for d in candidates if _is_directory(d)))


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as exc:  # a home of another user, a name that is too long
        log.debug("%s is not searched: %s", path, exc)
        return False


def capability_roots(directories: Iterable[Path]) -> Iterator[Path]:
    """Yield the capabilities of the directories, each directory's in sorted order."""
    for directory in directories:
        if not directory.is_dir():
            continue  # it was deleted meanwhile
        for root in sorted(directory.iterdir()):
            if (root / MANIFEST_NAME).is_file():
                yield root.resolve()
