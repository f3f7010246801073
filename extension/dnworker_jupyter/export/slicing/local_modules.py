"""Follows the imports of modules beside the notebook, from file to file; used by requirements."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from dnworker_jupyter.export.slicing.imports import imports_by_name

_WALKS = frozenset({"iter_modules", "walk_packages"})


def beside(module: str, directory: Path | None) -> Path | None:
    """Return the file of a top-level module beside the notebook, or the directory of a package."""
    if directory is None:
        return None
    if (directory / module / "__init__.py").is_file():
        return directory / module
    file = directory / f"{module}.py"
    return file if file.is_file() else None


def elsewhere(module: str, directory: Path | None) -> Path | None:
    """Return the file or the directory of a top-level module that Python finds and no distribution has."""
    if directory is not None and any((directory / module).glob("*.py")):  # a namespace package, found last
        return directory / module
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin)
    return file.parent if spec.submodule_search_locations else file


def files_of(module: str, place: Path) -> list[Path]:
    """Return the files that Python runs to import a dotted module of a local one.

    Args:
        module: the dotted name; what is no module in it is a name of the module before.
        place: the file, or the directory, of the top-level module.
    """
    if not place.is_dir():
        return [place]
    found = [place / "__init__.py"]
    for part in module.split(".")[1:]:
        file = place / f"{part}.py"
        place /= part
        if (place / "__init__.py").is_file() or not file.is_file():
            found.append(place / "__init__.py")
        else:
            found.append(file)
            break
        if not place.is_dir():
            break
    return [file for file in found if file.is_file()]


def absolute_imports(tree: ast.Module, file: Path, place: Path) -> Iterator[str]:
    """Yield the dotted names of what a file of a local package imports relative to itself."""
    if not place.is_dir():
        return
    package = [place.name, *file.relative_to(place).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node.level <= len(package):
            base = package[: len(package) - node.level + 1]
            if node.module:
                base = [*base, *node.module.split(".")]
            for alias in node.names:
                yield ".".join(base if alias.name == "*" else [*base, alias.name])


def may_import_any(tree: ast.Module) -> bool:
    """Return whether a module may import others of its package by names that it computes."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=[first, *_]) if imports_by_name(node):
                match first:
                    case ast.Constant(value=str() as name) if not name.startswith("."):
                        continue
                return True
            case ast.Attribute(attr=attr) | ast.Name(id=attr) if attr in _WALKS:
                return True
            case ast.Attribute(value=ast.Name(id="lazy_loader" | "lazy"), attr="attach" | "attach_stub"):
                return True
    return False
