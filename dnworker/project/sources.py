"""Reads from a capability's files what each worker hears, publishes and reads of its environment; for guide.

Nothing of the files is executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.core.parsing import parse
from dnworker.flow.reading import Handled, handlers_in

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}")


@dataclass(frozen=True)
class WorkerSource:
    """One worker, and what its files say."""

    definition: WorkerDefinition
    is_read: bool
    """Whether it is in Python, so that its source was read."""
    handlers: Sequence[Handled]
    variables: Mapping[str, bool]
    """The variables of the environment that it reads, and whether it does without them."""

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.definition.name


def worker_sources(
    manifest: CapabilityManifest, files: Mapping[str, bytes], scripts: Mapping[str, str]
) -> list[WorkerSource]:
    """Return what the files of each worker say.

    Args:
        manifest: the capability's.
        files: its files by path.
        scripts: the path of each worker's script, of those that have one in Python.
    """
    trees = {path: tree for path, data in files.items() if (tree := _parsed(path, data)) is not None}
    beside = {PurePosixPath(path).stem: tree for path, tree in trees.items()}
    found = []
    for name, definition in manifest.workers.items():
        tree = trees.get(scripts.get(name, ""))
        handlers = [] if tree is None else handlers_in(tree, beside)
        variables = {} if tree is None else _read_by(tree, beside)
        for variable, has_default in _named_in(definition):
            variables[variable] = variables.get(variable, True) and has_default
        found.append(WorkerSource(definition, tree is not None, handlers, dict(sorted(variables.items()))))
    return found


def _parsed(path: str, data: bytes) -> ast.Module | None:
    if not path.endswith(".py"):
        return None
    try:
        return parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _named_in(definition: WorkerDefinition) -> Iterator[tuple[str, bool]]:
    """Yield the variables that the manifest fills in for a worker, and whether each has a default."""
    for text in (definition.command or "", *definition.args, *definition.env.values()):
        for name, default in _REFERENCE.findall(text):
            yield name, bool(default)


def _read_by(tree: ast.Module, beside: Mapping[str, ast.Module]) -> dict[str, bool]:
    """Return the variables that a file and the files that it imports from beside read."""
    found: dict[str, bool] = {}
    waiting, seen = [tree], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        for node in ast.walk(current):
            if isinstance(node, ast.Import):
                waiting += [beside[a.name] for a in node.names if a.name in beside]
            elif isinstance(node, ast.ImportFrom) and (node.module or "") in beside:
                waiting.append(beside[node.module or ""])
            elif (read := _variable(node)) is not None:
                found[read[0]] = found.get(read[0], True) and read[1]
    return found


def _variable(node: ast.AST) -> tuple[str, bool] | None:
    """Return the variable that an expression reads, such as `os.getenv("A")`, and whether it does without."""
    match node:
        case ast.Subscript(value=target, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            return (name, False) if _is_environ(target) else None
        case ast.Call(func=ast.Attribute(value=target, attr="get"), args=[ast.Constant(value=str(name)), *_]):
            return (name, True) if _is_environ(target) else None
        case ast.Call(
            func=ast.Attribute(attr="getenv") | ast.Name(id="getenv"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name, True
    return None


def _is_environ(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="environ") | ast.Attribute(value=ast.Name(id="os"), attr="environ"):
            return True
    return False
