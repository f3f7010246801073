"""Says what was probably meant by a path that is no capability; used where its manifest cannot be read."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from dnworker.capability.reading import Budget, exists, is_directory, shown
from dnworker.core.text import closest

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")

MOST_DIRECTORIES, DEEPEST = 200, 4
"""How many directories below the one that was named are looked at, and how deep."""

MOST_SHOWN = 3


def way_out(root: Path, manifest: str) -> str:
    """Return how to put it right, with a semicolon before it; empty where nothing is near.

    Args:
        root: what was named as a capability.
        manifest: the name of a manifest's file.
    """
    try:
        meant = _meant(root, manifest)
    except (OSError, ValueError):  # it may not be looked at, or is no path: the error itself says enough
        return ""
    return f"; {meant}" if meant else ""


def _meant(root: Path, manifest: str) -> str:
    if exists(root / manifest):
        return ""
    if is_directory(root):
        return _beside(root, manifest)
    return _of_file(root, manifest) if exists(root) else _nearest(root)


def _of_file(file: Path, manifest: str) -> str:
    name = shown(str(file))
    if file.name == manifest:
        return f"name its directory: {shown(str(file.parent))}"
    if file.suffix == ".ipynb":
        return f"it is a notebook; `dnworker export {name} -o DIR` makes a capability of it"
    if file.name.endswith(ARCHIVES):
        return (
            f"it is an archive; unpack it first, and name what is in it (`dnworker verify {name}` checks it)"
        )
    if file.suffix == ".py":
        return f"it is a Python file; name a directory whose {manifest} declares it (`dnworker init NAME`)"
    return f"it is a file; a capability is a directory with a {manifest}"


def _beside(directory: Path, manifest: str) -> str:
    """Return where a capability is above or below a directory that is none."""
    for parent in list(directory.absolute().parents)[:2]:
        if exists(parent / manifest):
            return f"the capability is the directory above: {shown(str(parent))}"
    found = _below(directory, manifest)
    if not found:
        return f"no {manifest} is in it or below; `dnworker init NAME` makes a capability"
    more = " and more" if len(found) > MOST_SHOWN else ""
    return f"capabilities are below it: {', '.join(shown(str(one)) for one in found[:MOST_SHOWN])}{more}"


def _below(directory: Path, manifest: str) -> list[Path]:
    budget = Budget()
    found: list[Path] = []
    looked_at = 0
    waiting = deque([(directory, 0)])
    while waiting and looked_at < MOST_DIRECTORIES and len(found) <= MOST_SHOWN:
        place, depth = waiting.popleft()
        looked_at += 1
        if exists(place / manifest):
            found.append(place)
        elif depth < DEEPEST:
            inner = budget.directories_in(place)
            waiting.extend((one, depth + 1) for one in inner if not one.name.startswith("."))
    return found


def _nearest(path: Path) -> str:
    if not is_directory(path.parent):
        return f"there is no directory {shown(str(path.parent))}"
    near = closest(path.name, [one.name for one in Budget().directories_in(path.parent)])
    return f"did you mean {shown(str(path.parent / near))}?" if near else ""
