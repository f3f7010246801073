"""Finds the distributions that a script needs, by its imports and installed metadata; used by planning."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PackageRequirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dnworker_jupyter.export.slicing.imports import Choice, choices_in, imported_modules
from dnworker_jupyter.export.slicing.installed import distributions_by_module

_PIP_INSTALL = re.compile(r"^\s*[%!]\s*(?:uv\s+)?pip\s+install\s+(.+)$", re.MULTILINE)

SDK_PACKAGES = frozenset({"dnworker", "dreadnode"})
"""Packages that the head of a script requires and imports; nothing else of a script needs to name them."""

SDK_MODULES = SDK_PACKAGES | {
    "annotated_types", "anyio", "attr", "attrs", "certifi", "charset_normalizer", "click", "croniter",
    "dateutil", "email_validator", "executing", "fastapi", "fsspec", "google", "h11", "httpcore",
    "httptools", "httpx", "idna", "jsonref", "jsonschema", "logfire", "loguru", "lxml", "msgspec",
    "opentelemetry", "orjson", "packaging", "pydantic", "pydantic_core", "pygments", "pytz", "referencing",
    "requests", "rich", "rpds", "six", "sniffio", "starlette", "truststore", "typing_extensions", "urllib3",
    "uvicorn", "watchfiles", "websockets", "yaml",
}  # fmt: skip
"""Modules that importing either SDK imports: a file beside the script with such a name would hide them."""


@dataclass(frozen=True)
class Requirement:
    """One distribution with its bounds; `source` is a line for `[tool.uv.sources]`."""

    name: str
    specifier: str
    source: str | None = None
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}{self.specifier}"


@dataclass
class Needs:
    """What imports require: distributions, local files to bundle, and modules that nothing provides."""

    requirements: dict[str, Requirement] = field(default_factory=dict)
    local: dict[str, Path] = field(default_factory=dict)
    """The file, or the directory, of each local module."""
    unknown: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    """All modules that are imported, those of the standard library excepted."""
    inner: set[str] = field(default_factory=set)
    """Local modules that local modules import."""
    broken: dict[str, str] = field(default_factory=dict)
    """Of local modules that are not valid Python: file, line and error."""


def is_sdk_module(module: str | None) -> bool:
    """Return whether a module, which may be dotted, belongs to this framework or to the reference."""
    return (module or "").partition(".")[0] in SDK_PACKAGES


def resolve(
    modules: Iterable[str],
    choices: Iterable[Choice] = (),
    extras: Mapping[str, Collection[str]] | None = None,
    beside: Path | None = None,
) -> Needs:
    """Find out where top-level modules come from; local modules are followed into their own imports.

    Args:
        modules: those that must be there.
        choices: those that may be missing. Of each choice the known modules are taken; where it has a
            fallback and none of its modules is known, all of them count as unknown.
        extras: the extras that were asked for, by the distribution's normalized name.
        beside: the directory of the notebook, where its local modules are.
    """
    return _Resolver(set(modules), set(choices), extras or {}, beside).resolve()


class _Resolver:
    """Finds where modules come from, and then where the imports of local modules come from."""

    def __init__(
        self,
        required: set[str],
        choices: set[Choice],
        extras: Mapping[str, Collection[str]],
        beside: Path | None,
    ) -> None:
        self._needs = Needs()
        self._required = required
        self._choices = choices
        self._extras = extras
        self._beside = beside
        self._distributions = distributions_by_module()

    def resolve(self) -> Needs:
        optional = {module for choice in self._choices for part in choice for module in part}
        waiting, seen = sorted(self._required | optional), set(SDK_PACKAGES)
        while waiting:
            module = waiting.pop(0)
            if module not in seen and module not in sys.stdlib_module_names:
                seen.add(module)
                waiting += self._find(module)
        self._needs.inner &= self._needs.local.keys()
        self._needs.unknown &= self._required | self._without_any_known()
        return self._needs

    def _find(self, module: str) -> list[str]:
        """Note where a module comes from; returns the modules that it imports itself, if it is local."""
        needs = self._needs
        needs.modules.add(module)
        if (file := _beside(module, self._beside)) is not None:  # Python finds it before installed modules
            return self._find_local(module, file)
        if distributions := self._distributions.get(module):
            # Several distributions may share a namespace package: all of them are required.
            for name in sorted(set(distributions)):
                requirement = _requirement(name, self._extras)
                needs.requirements[requirement.name.lower()] = requirement
        elif (file := _local_file(module, self._beside)) is not None:
            return self._find_local(module, file)
        else:
            needs.unknown.add(module)
        return []

    def _find_local(self, module: str, file: Path) -> list[str]:
        self._needs.local[module] = file
        try:
            trees = list(_trees(file))
        except (SyntaxError, ValueError) as exc:
            line, why = getattr(exc, "lineno", "?"), getattr(exc, "msg", exc)
            self._needs.broken[module] = f"{file}, line {line}: {why}"
            return []
        choices, required = choices_in(trees)
        self._choices |= choices
        self._required |= required
        imported = imported_modules(trees)
        self._needs.inner |= imported
        return sorted(imported)

    def _without_any_known(self) -> set[str]:
        """Return the modules of those choices that have a fallback and of which no module is known."""
        return {
            module
            for first, fallback in self._choices
            if fallback and not (first | fallback) - self._needs.unknown
            for module in first | fallback
        }


def _trees(file: Path) -> Iterator[ast.AST]:
    files = sorted(file.rglob("*.py")) if file.is_dir() else [file]
    for one in files:
        yield ast.parse(one.read_text(encoding="utf-8"), str(one))


def _beside(module: str, directory: Path | None) -> Path | None:
    """Return the file of a module beside the notebook, or the directory of a package."""
    if directory is None:
        return None
    if (directory / module / "__init__.py").is_file():
        return directory / module
    file = directory / f"{module}.py"
    return file if file.is_file() else None


def _local_file(module: str, beside: Path | None) -> Path | None:
    if beside is not None and any((beside / module).glob("*.py")):  # a namespace package, found last
        return beside / module
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin)
    return file.parent if spec.submodule_search_locations else file


def _requirement(name: str, extras: Mapping[str, Collection[str]]) -> Requirement:
    distribution = importlib.metadata.distribution(name)
    canonical = canonicalize_name(str(distribution.metadata["Name"]))
    wanted = tuple(sorted(extras.get(canonical, ())))
    source = _direct_source(distribution)
    if source is not None:
        return Requirement(canonical, "", f"{canonical} = {source}", wanted)
    return Requirement(canonical, bounds(distribution.version), extras=wanted)


def bounds(text: str) -> str:
    """Return the bounds of a requirement: at least this version, and below the next major one.

    The upper bound needs semantic versioning, which is assumed of three numbers from 1.0.0 on, unless the
    first two may be a date.
    """
    version = Version(text)
    lower = f">={version.public}"  # no index has a local version
    major, minor = (*version.release, 0)[:2]
    may_be_date = major >= 1900 or (16 <= major <= 60 and 1 <= minor <= 12)
    if major < 1 or len(version.release) != 3 or may_be_date or version.epoch:
        return lower
    return f"{lower},<{major + 1}"


def wanted_extras(texts: Iterable[str], declared: Iterable[str] = ()) -> dict[str, set[str]]:
    """Return the extras that were asked for, by the distribution's normalized name.

    Args:
        texts: the sources of cells, with lines such as `%pip install 'httpx[http2]'`.
        declared: requirements of the project that the notebook belongs to.
    """
    words = list(declared)
    for text in texts:
        for line in _PIP_INSTALL.findall(text):
            with contextlib.suppress(ValueError):  # not valid shell words
                words += shlex.split(line, comments=True)
    found: dict[str, set[str]] = {}
    for word in words:
        try:
            requirement = PackageRequirement(word)
        except InvalidRequirement:  # an option, a file
            continue
        if requirement.extras:
            found.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return found


def _direct_source(distribution: importlib.metadata.Distribution) -> str | None:
    """Return the uv source of an editable or VCS install (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    record = json.loads(text)
    url = str(record.get("url", ""))
    if "vcs_info" in record:
        return f"{{ git = {json.dumps(url)}, rev = {json.dumps(record['vcs_info'].get('commit_id', ''))} }}"
    if "dir_info" in record and url.startswith("file://"):
        editable = ", editable = true" if record["dir_info"].get("editable") else ""
        return f"{{ path = {json.dumps(url.removeprefix('file://'))}{editable} }}"
    return None
