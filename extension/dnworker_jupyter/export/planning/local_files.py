"""Collects the files of modules beside the notebook, with their data, for an export; used by planning.

A package is exported whole, as its code may read whatever is in it. Of a module that is one file, what its
code names by `__file__` is exported with it, at the same place beside it.
"""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dnworker.capability.reading import LONGEST_MODULE, read_bytes
from dnworker.core.parsing import parse
from dnworker_jupyter.export.planning.leaks import files_read, texts_bound
from dnworker_jupyter.export.planning.own_paths import OwnPath, own_paths
from dnworker_jupyter.export.slicing.requirements import Needs

MOST_BYTES = 20_000_000
"""Of modules and their data, for one script: an export is kept, compared and uploaded whole."""

MOST_FILES = 2_000

_CACHES = frozenset({"__pycache__", "node_modules"})
_CACHED = (".pyc", ".pyo", ".egg-info", ".dist-info")

_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

_SHIP_IT = "move it out of there, and read it from a place that --env names"


@dataclass
class LocalFiles:
    """Files by their paths beside a script, and why others cannot be exported."""

    files: dict[PurePosixPath, Path] = field(default_factory=dict)
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """The module, what is wrong, and what helps."""
    notes: list[str] = field(default_factory=list)
    """What may be wrong, if a worker comes there."""


def find_local_files(needs: Needs) -> LocalFiles:
    """Return the files that the local modules of a script are, and those that they read."""
    found = LocalFiles()
    for module, place in needs.local.items():
        top = place.parent
        files = files_below(place) if place.is_dir() else iter([place])
        _add(found, module, top, files)
    for file, module, tree in local_code(needs):
        _add_named(found, module, needs.local[module], file, tree)
        if needs.directory is not None:
            _read_by_relative_paths(found, module, file, tree, needs.directory)
    _limit(found, needs.local)
    return found


def local_code(needs: Needs) -> Iterator[tuple[Path, str, ast.Module]]:
    """Go through the files of local modules that run: file, top-level module, code."""
    for file, module in needs.code.items():
        try:
            tree = parse(read_bytes(file, LONGEST_MODULE))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # a problem of the module, which is reported as such
        yield file, module, tree


def read_local_files(needs: Needs, home: PurePosixPath) -> dict[str, bytes]:
    """Return the bytes of these files, by their paths in an export whose script is in the directory `home`.

    Raises:
        OSError: a file cannot be read any more.
    """
    files = find_local_files(needs).files
    return {(home / path).as_posix(): file.read_bytes() for path, file in sorted(files.items())}


def _add(found: LocalFiles, module: str, top: Path, files: Iterator[Path]) -> None:
    for file in files:
        try:
            with file.open("rb"):
                pass
        except OSError as exc:
            why = f"has {file}, which cannot be read: {exc.strerror or exc}"
            found.problems.append((module, why, "mend its permissions, or remove it"))
            continue
        found.files[PurePosixPath(file.relative_to(top).as_posix())] = file
        if len(found.files) > MOST_FILES:
            return


def files_below(directory: Path) -> Iterator[Path]:
    """Yield the regular files below a directory: no caches, nothing hidden, no virtual environments.

    Links are followed, each directory once.
    """
    seen: set[tuple[int, int]] = set()
    for parent, directories, names in os.walk(directory, followlinks=True):
        here = os.stat(parent)  # noqa: PTH116  as os.walk gives it
        if (here.st_dev, here.st_ino) in seen or "pyvenv.cfg" in names:
            directories.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        directories[:] = sorted(name for name in directories if not _is_cache(name))
        for name in sorted(names):
            file = Path(parent, name)
            if not _is_cache(name) and _is_regular(file):
                yield file


def _is_cache(name: str) -> bool:
    return name.startswith(".") or name in _CACHES or name.endswith(_CACHED)


def _is_regular(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:  # a link to nothing
        return False


def _read_by_relative_paths(
    found: LocalFiles, module: str, file: Path, tree: ast.Module, directory: Path
) -> None:
    """Refuse to read files by paths relative to the notebook's directory: a worker runs in another.

    In a function, which a worker may never call, that is a note.
    """
    statements = [node for node in tree.body if not _is_main_guard(node)]
    nodes = [inner for node in statements for inner in ast.walk(node)]
    later = {id(inner) for node in nodes if isinstance(node, _LATER) for inner in ast.walk(node)}
    for call, argument in files_read(nodes, directory, texts_bound(nodes)):
        why = (
            f"calls {call} ({file}, line {argument.lineno}), and only the notebook's directory has that file"
        )
        remedy = (
            "name it by the module's own place, as in Path(__file__).parent / 'data.json': such a file is "
            "exported"
        )
        if id(argument) in later:
            found.notes.append(f"module {module!r}: {why}; {remedy}")
        else:
            found.problems.append((module, why, remedy))


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _add_named(found: LocalFiles, module: str, place: Path, file: Path, tree: ast.Module) -> None:
    """Add the files that a file of code names by its `__file__`, or say why that cannot be."""
    for use in own_paths(tree, file):
        path = Path(os.path.normpath(use.path))
        if path == file:
            if not use.is_base:
                continue
            path = file.parent  # code goes on to its siblings
        if not path.exists() or (use.is_asked and path.is_dir()):
            continue
        top = place.parent
        if not path.is_relative_to(top) or path == top or _is_hidden(path.relative_to(top)):
            found.problems.append((module, *_out_of_reach(use, path, place, file)))
        elif not (place.is_dir() and path.is_relative_to(place)):  # a package is exported whole
            _add(found, module, top, files_below(path) if path.is_dir() else iter([path]))


def _is_hidden(path: Path) -> bool:
    return any(_is_cache(part) for part in path.parts)


def _out_of_reach(use: OwnPath, path: Path, place: Path, file: Path) -> tuple[str, str]:
    where = f"{file}, line {use.line}"
    if path == place.parent:
        return (
            f"goes from its __file__ to files that only a run can tell ({where})",
            "make a package of the module and of what it reads, a directory with __init__.py: such a one is "
            "exported whole",
        )
    if path.is_relative_to(place.parent):
        return (
            f"reads {path} by its __file__ ({where}), and an export takes nothing hidden: that may be secret",
            "name what it holds by --env, or move it to a place that is not hidden",
        )
    return (
        f"reads {path} by its __file__ ({where}), which does not lie beside the module",
        "move the file beside the module, or read it from a place that --env names",
    )


def _limit(found: LocalFiles, local: Mapping[str, Path]) -> None:
    """Refuse more than an export should carry, and name what is largest."""
    sizes = {path: file.stat().st_size for path, file in found.files.items()}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        module = largest.parts[0].removesuffix(".py")
        why = (
            f"comes with {sum(sizes.values()) / 1e6:.0f} MB of files, of which an export takes "
            f"{MOST_BYTES / 1e6:.0f}; the largest is {found.files[largest]}"
        )
        found.problems.append((module if module in local else next(iter(local)), why, _SHIP_IT))
    elif len(sizes) > MOST_FILES:
        counts: dict[str, int] = {}
        for path in sizes:
            counts[path.parts[0]] = counts.get(path.parts[0], 0) + 1
        module = max(counts, key=lambda name: counts[name])
        why = f"comes with more than {MOST_FILES:,} files, which is more than an export takes"
        found.problems.append((module.removesuffix(".py"), why, _SHIP_IT))
