"""`facts_of`: the facts of a capability's directory, from its manifest and the text of its workers' files.

Nothing of it is executed. The command `dnworker map` and the engine, for workers that run elsewhere, use it.
"""

from __future__ import annotations

import ast
from pathlib import Path

from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.capability.reading import UnreadableFile, read_bytes
from dnworker.core.parsing import parse
from dnworker.core.source_calls import LONGEST_SOURCE
from dnworker.flow.graph import Facts, Flow, WorkerFacts
from dnworker.flow.reading import Handled, event_handlers, handlers_in

MOST_FILES = 200
"""Files beside a worker's that are looked at for what it imports."""


def facts_of(manifest: CapabilityManifest) -> Facts:
    """Return what the sources of a capability's workers say."""
    return Facts([worker_facts(manifest, worker) for worker in manifest.workers.values()])


def worker_facts(manifest: CapabilityManifest, worker: WorkerDefinition) -> WorkerFacts:
    """Return what the source of one worker says; of one that cannot be read, nothing."""
    handlers = handlers_of_file(file) if (file := script_of(manifest, worker)) is not None else []
    own = [one for one in handlers if one.worker in ("", worker.name)] or handlers
    return from_handlers(f"{manifest.name}:{worker.name}", manifest.name, own)


def from_handlers(name: str, capability: str, handlers: list[Handled]) -> WorkerFacts:
    """Return the facts of a worker of which only handlers are known."""
    hears = {one.trigger: Flow() for one in handlers if one.decorator == "on_event"}
    schedules = {one.trigger: Flow() for one in handlers if one.decorator == "every"}
    return WorkerFacts(
        name,
        capability,
        hears=hears,
        schedules=schedules,
        writes=frozenset(kind for one in handlers for kind in one.publishes),
        written=frozenset({*hears, *schedules}),
        handlers=len(handlers),
    )


def script_of(manifest: CapabilityManifest, worker: WorkerDefinition) -> Path | None:
    """Return the Python file of a worker: its path, or the argument of its command that is one."""
    if worker.path is not None:
        return manifest.root / worker.path
    if worker.command is None:
        return None
    root = manifest.root.resolve()
    for argument in (worker.command, *worker.args):
        if argument.endswith(".py"):
            file = (root / argument).resolve()
            if file.is_relative_to(root) and file.is_file():
                return file
    return None


def handlers_of_file(file: Path) -> list[Handled]:
    """Return the handlers in a file; none where it cannot be read, parsed or looked through."""
    tree = parsed(file)
    try:
        return [] if tree is None else handlers_in(tree, beside(file, tree))
    except (RecursionError, ValueError):  # it is nested deeper than it can be looked at
        return []


def handler_sources(manifest: CapabilityManifest, worker: WorkerDefinition) -> list[tuple[str, str]]:
    """Return the kinds that a worker's file listens to, each with the text of its handler."""
    file = script_of(manifest, worker)
    if file is None or (tree := parsed(file)) is None:
        return []
    try:
        return [(kind, ast.unparse(function)) for kind, function in event_handlers(tree, beside(file, tree))]
    except (RecursionError, ValueError):  # it is nested deeper than it can be looked at
        return []


def beside(file: Path, tree: ast.Module) -> dict[str, ast.Module]:
    """Return the files beside one that it imports names from, parsed."""
    names = {
        (node.module or "").rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    found = {}
    for name in sorted(names)[:MOST_FILES]:
        if name.isidentifier() and (other := parsed(file.with_name(f"{name}.py"))) is not None:
            found[name] = other
    return found


def parsed(file: Path) -> ast.Module | None:
    """Return the parsed text of a file; None where there is none, or it cannot be read or parsed."""
    try:
        return parse(read_bytes(file, LONGEST_SOURCE))
    except (UnreadableFile, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
