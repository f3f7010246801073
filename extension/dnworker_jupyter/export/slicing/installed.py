"""Finds the installed distributions that have a module, without importing it; for requirements and importer.

The metadata of all distributions is read once, and again when a directory of `sys.path` changes: an
installation adds or removes a directory there. This is how `importlib.metadata` itself notices new
distributions.
"""

from __future__ import annotations

import ast
import csv
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, distributions, packages_distributions
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from dnworker.core.parsing import parse

_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_SOURCE_DIRECTORIES = ("", "src", "lib", "python")
"""Where a project keeps its packages, below its own directory."""

_PathKey = tuple[tuple[str, int | None], ...]


def distributions_by_module() -> Mapping[str, Sequence[str]]:
    """Return the names of the distributions of every top-level module that is installed."""
    return _read(_path_key())


def installed(name: str) -> Distribution | None:
    """Return an installed distribution by its name, in any spelling; None where there is none."""
    return _by_name(_path_key()).get(canonicalize_name(name))


def editable_projects() -> Mapping[str, Path]:
    """Return the directories of projects that are installed in place, by their normalized names."""
    return _editable(_path_key())


def owners_of(module: str) -> list[str]:
    """Return the normalized names of the distributions that have a module, which may be dotted.

    Of a dotted name the longest part that is a module counts: what `google.cloud.storage.Client` names is in
    the distribution that has `google/cloud/storage`. A directory without code of its own, such as `google`,
    is in none. Nothing is imported.
    """
    return list(_owners(_path_key(), module))


def has_no_distribution(name: str) -> bool:
    """Return whether no distribution, nor Python, has a module, which may be dotted: it is the user's own."""
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and not owners_of(top)


def below(module: str) -> list[str]:
    """Return the normalized names of the distributions that have modules below a namespace package."""
    top = module.partition(".")[0]
    return [n for n in _candidates(top) if any(m.startswith(f"{module}.") for m in _modules(_path_key(), n))]


def direct_url(distribution: Distribution) -> dict[str, object]:
    """Return where a distribution was installed from (PEP 610); empty where it came from an index."""
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def path_of_url(url: str) -> Path | None:
    """Return the path that a `file:` URL names; None for another URL."""
    return Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None


# -- read once -----------------------------------------------------------------------------------------


def _path_key() -> _PathKey:
    return tuple((entry, _modified(entry)) for entry in sys.path)


def _modified(entry: str) -> int | None:
    try:
        return os.stat(entry or ".").st_mtime_ns  # noqa: PTH116  an entry may be any text
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=2)
def _read(path: _PathKey) -> Mapping[str, Sequence[str]]:
    return packages_distributions()


@lru_cache(maxsize=2)
def _by_name(path: _PathKey) -> Mapping[str, Distribution]:
    found: dict[str, Distribution] = {}
    for one in distributions():
        if name := one.metadata["Name"]:  # None where an installation was cut short
            found.setdefault(canonicalize_name(name), one)  # the first on the path is the one that counts
    return found


@lru_cache(maxsize=2)
def _editable(path: _PathKey) -> Mapping[str, Path]:
    pointed = _pointed_at(path)
    found: dict[str, Path] = {}
    for name, one in _by_name(path).items():
        record = direct_url(one)
        match record:
            case {"url": str(url), "dir_info": {"editable": True}}:
                root = path_of_url(url)
            case {}:  # without PEP 610, as older tools install
                root = None if record else _legacy_root(one, pointed)
        if root is not None:
            found[name] = root.resolve()
    return found


@lru_cache(maxsize=2)
def _pointed_at(path: _PathKey) -> Mapping[Path, Path]:
    """Return the directories that `.pth` files of `sys.path` name, and for each of them the file."""
    found: dict[Path, Path] = {}
    for entry, _ in path:
        for file in sorted(Path(entry or ".").glob("*.pth")) if entry else []:
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            for line in map(str.strip, lines):
                if line and not line.startswith(("#", "import ", "import\t")):
                    directory = (file.parent / line).resolve()
                    if directory.is_dir():
                        found.setdefault(directory, file)
    return found


def _legacy_root(one: Distribution, pointed: Mapping[Path, Path]) -> Path | None:
    """Return the project of a distribution that an older tool installed in place; None for any other.

    `setup.py develop` leaves the metadata in the project and names its directory in a `.pth` file; poetry,
    flit, pdm and maturin put metadata into site-packages, and with it a `.pth` file or a link.
    """
    home = Path(str(one.locate_file(""))).resolve()
    if one.read_text("RECORD") is None:
        return _project_of(home) if home in pointed else None
    listed = _record(one) if pointed or _is_small(one) else []
    for directory, file in pointed.items():
        if file.name in listed:
            return _project_of(directory)
    for line in listed:
        place = home / line.partition("/")[0]
        if place.is_symlink() and not place.resolve().is_relative_to(home):  # flit's, to a module or package
            return _project_of(place.resolve().parent)
        if line.startswith("__editable__") and line.endswith("finder.py"):
            return next((_project_of(code.parent) for code in _mapped_by(place)), None)
    return None


def _mapped_by(finder: Path) -> list[Path]:
    """Return where a finder of setuptools has its modules, `MAPPING = {"name": "path"}`."""
    try:
        nodes = parse(finder.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    for node in nodes:
        match node:
            case ast.AnnAssign(target=ast.Name(id="MAPPING"), value=ast.Dict(values=values)):
                return [Path(str(v.value)) for v in values if isinstance(v, ast.Constant)]
    return []


def _is_small(one: Distribution) -> bool:
    """Return whether a distribution lists few files, as one does that is a link to a project."""
    return len(one.read_text("RECORD") or "") < 2_000


def _record(one: Distribution) -> list[str]:
    """Return the paths of a distribution's files, relative to the directory that its metadata is in."""
    text = one.read_text("RECORD")
    if text is not None:
        return [row[0] for row in csv.reader(text.splitlines()) if row]
    return [str(file) for file in one.files or ()]


def _project_of(directory: Path) -> Path:
    """Return the directory of the project that a directory of code belongs to."""
    near = [directory, *directory.parents][:3]
    return next((d for d in near if any((d / name).is_file() for name in _PROJECT_FILES)), directory)


@lru_cache(maxsize=512)
def _modules(path: _PathKey, name: str) -> frozenset[str]:
    """Return the dotted names of the modules that a distribution has, packages without code excepted."""
    one = _by_name(path).get(name)
    return (
        frozenset() if one is None else frozenset(m for f in _record(one) if (m := _module_at(f)) is not None)
    )


def _module_at(file: str) -> str | None:
    path = PurePosixPath(file.replace("\\", "/"))
    if path.suffix not in (".py", ".so", ".pyd"):
        return None
    parts = [*path.parent.parts, path.name.partition(".")[0]]
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if parts and all(map(str.isidentifier, parts)) else None


@lru_cache(maxsize=2048)
def _owners(path: _PathKey, module: str) -> tuple[str, ...]:
    parts = module.split(".")
    if (project := _project_with(path, parts)) is not None:
        return (project,)
    candidates = _candidates(parts[0])
    if not candidates or (len(candidates) == 1 and not _is_namespace(parts[0])):
        return tuple(candidates)
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        found = [one for one in candidates if name in _modules(path, one)]
        if found:
            return tuple(found)
    unlisted = [one for one in candidates if not _modules(path, one)]  # an installer that lists no files
    return tuple(unlisted) if len(candidates) == 1 else ()


def _candidates(top: str) -> list[str]:
    return sorted({canonicalize_name(name) for name in distributions_by_module().get(top, ())})


def _is_namespace(top: str) -> bool:
    """Return whether a top-level module is a package without a file of its own (PEP 420, or older ways)."""
    spec = _spec(top)
    return spec is not None and spec.origin is None and spec.submodule_search_locations is not None


def _spec(top: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None


def _project_with(path: _PathKey, parts: Sequence[str]) -> str | None:
    """Return the project, installed in place, that has a module where Python finds it.

    A file elsewhere in its directory, such as a script or the virtual environment, is none of its modules.
    """
    projects = _editable(path)
    origin = _origin(parts[0]) if projects else None
    for name in projects:
        for place in _places(path, name, parts[0]):
            if _is_below(place, parts) if origin is None else _is_module(place, origin):
                return name
    return None


@lru_cache(maxsize=512)
def _places(path: _PathKey, name: str, top: str) -> tuple[Path, ...]:
    """Return where a project may have a top-level module, without the suffix of a file."""
    project, one = _editable(path)[name], _by_name(path)[name]
    homes = [directory for directory in _pointed_at(path) if directory.is_relative_to(project)]
    site = Path(str(one.locate_file("")))
    finders = [f for f in _record(one) if f.startswith("__editable__") and f.endswith("finder.py")]
    mapped = [code for finder in finders for code in _mapped_by(site / finder)]
    if not (homes or mapped):
        homes = [project / below for below in _SOURCE_DIRECTORIES]
    return (*(home / top for home in homes), *(code for code in mapped if code.name == top))


def _origin(top: str) -> Path | None:
    """Return the file that Python runs for a top-level module; None for a namespace package and for none."""
    spec = _spec(top)
    is_file = spec is not None and spec.has_location and spec.origin is not None
    return Path(str(spec.origin)).resolve() if spec is not None and is_file else None


def _is_module(place: Path, file: Path) -> bool:
    """Return whether a file is the module that a path without suffix names, also a compiled one."""
    home = place.parent.resolve()
    is_package = file.parent == home / place.name and file.name.startswith("__init__.")
    return is_package or (file.parent == home and file.name.startswith(f"{place.name}."))


def _is_below(place: Path, parts: Sequence[str]) -> bool:
    """Return whether a dotted name has a module in a directory of a namespace package."""
    for end in range(len(parts), 1, -1):
        inner = place.joinpath(*parts[1:end])
        if (inner / "__init__.py").is_file() or any(inner.parent.glob(f"{inner.name}.*")):
            return True
    return False
