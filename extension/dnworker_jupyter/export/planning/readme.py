"""Writes the README of an export, with a map of what flows where as a Mermaid chart; used by plan.

The map is read from the scripts, so that the same notebook gives the same bytes. What somebody writes around
it stays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from dnworker.capability.reading import UnreadableFile, read_text
from dnworker.flow.flow_map import FlowMap
from dnworker.flow.graph import Facts
from dnworker.flow.reading import handlers_in
from dnworker.flow.scripts import from_handlers

README = "README.md"

BEGIN = "<!-- what flows where: the next export writes this part again, up to its end -->"
END = "<!-- the end of what flows where -->"
_MAP = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.DOTALL)


def map_of(readme: str) -> str | None:
    """Return the part of a README that an export wrote; None where there is none."""
    found = _MAP.search(readme)
    return None if found is None else found[0]


def readme(
    name: str,
    description: str,
    files: Mapping[str, bytes],
    scripts: Mapping[str, str],
    workers: Collection[str],
    into: Path,
) -> str | None:
    """Return the text of the README; None where somebody wrote one without a place for the map.

    Args:
        name, description: of the capability.
        files: the planned files by path.
        scripts: the path of each worker's script.
        workers: all workers, programs among them.
        into: the directory of the export; what is written around the map of its README is kept.
    """
    chart = FlowMap(_facts(name, files, scripts, workers), name).mermaid
    block = f"{BEGIN}\n```mermaid\n{chart}```\n{END}\n"
    try:
        there = read_text(into / README)
    except UnreadableFile:
        if (into / README).exists():
            return None
        words = f"{description.strip()}\n\n" if description.strip() else ""
        return f"# {name}\n\n{words}## What flows where\n\n{block}"
    return None if map_of(there) is None else _MAP.sub(lambda _: block, there, count=1)


def _facts(
    name: str, files: Mapping[str, bytes], scripts: Mapping[str, str], workers: Collection[str]
) -> Facts:
    """Return what the planned scripts say."""
    trees = {path: ast.parse(data) for path, data in files.items() if path.endswith(".py")}
    found = []
    for worker in workers:
        tree = trees.get(scripts.get(worker, ""))
        beside = {PurePosixPath(path).stem: tree for path, tree in trees.items()}
        handlers = [] if tree is None else handlers_in(tree, beside)
        found.append(from_handlers(f"{name}:{worker}", name, handlers))
    return Facts(found)
