"""Finds the distributions that a script needs, by its imports and installed metadata; used by planning."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement as PackageRequirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from dnworker.capability.reading import LONGEST_MODULE, UnreadableFile, read_bytes
from dnworker.core.parsing import parse
from dnworker_jupyter.export.slicing.asked import Asked
from dnworker_jupyter.export.slicing.imports import Choice, choices_in, imported_modules
from dnworker_jupyter.export.slicing.installed import below, installed, owners_of
from dnworker_jupyter.export.slicing.local_modules import (
    absolute_imports,
    beside,
    elsewhere,
    files_of,
    may_import_any,
    resources_named,
)
from dnworker_jupyter.export.slicing.uv_sources import source_of

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
    marker: str = ""
    place: Path | None = None
    """The directory or file of this machine that `source` names."""

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f"; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}{self.specifier}{marker}"


@dataclass
class Needs:
    """What imports require: distributions, local files to bundle, and modules that nothing provides."""

    requirements: dict[str, Requirement] = field(default_factory=dict)
    directory: Path | None = None
    """That of the notebook, in which its code ran."""
    local: dict[str, Path] = field(default_factory=dict)
    """The file, or the directory, of each local module."""
    code: dict[Path, str] = field(default_factory=dict)
    """The files of local modules that run, and the top-level module of each."""
    unknown: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    """All top-level modules that are imported, those of the standard library excepted."""
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
    beside: Path | None = None,
    asked: Asked | None = None,
) -> Needs:
    """Find out where modules come from; local modules are followed into their own imports.

    Args:
        modules: those that must be there, by their dotted names: see `dotted_modules`.
        choices: those that may be missing. Of each choice the known modules are taken; where it has a
            fallback and none of its modules is known, all of them count as unknown.
        beside: the directory of the notebook, where its local modules are.
        asked: what the notebook asked installers for.
    """
    return _Resolver(set(modules), set(choices), asked or Asked(), beside).resolve()


class _Resolver:
    """Finds where modules come from, and then where the imports of local modules come from."""

    def __init__(
        self, required: set[str], choices: set[Choice], asked: Asked, directory: Path | None
    ) -> None:
        # What is asked
        self._required = required
        self._choices = choices
        self._asked = asked
        self._directory = directory
        # What is found
        self._needs = Needs(directory=directory)
        self._unknown: set[str] = set()
        self._namespaces: set[str] = set()
        self._walked: set[str] = set()
        """The local packages all of whose modules are read, as one of them imports by computed names."""

    def resolve(self) -> Needs:
        optional = {module for choice in self._choices for part in choice for module in part}
        waiting, seen = sorted(self._required | optional), set[str]()
        while waiting:
            module = waiting.pop(0)
            top = module.partition(".")[0]
            if module not in seen and top not in SDK_PACKAGES and top not in sys.stdlib_module_names:
                seen.add(module)
                waiting += self._find(module, top)
        self._require_namespaces(seen)
        needs = self._needs
        needs.inner &= needs.local.keys()
        needs.unknown = {
            module if below(top) else top
            for module in self._unknown & (self._required | self._without_any_known())
            for top in [module.partition(".")[0]]
        }
        return needs

    def _find(self, module: str, top: str) -> list[str]:
        """Note where a module comes from; returns the modules that it imports itself, if it is local."""
        self._needs.modules.add(top)
        if (place := beside(top, self._directory)) is not None:  # Python finds it before installed modules
            return self._find_local(module, top, place)
        if owners := owners_of(module):
            self._require(owners)
        elif below(module):
            self._namespaces.add(module)
        elif not below(top) and (place := elsewhere(top, self._directory)) is not None:
            return self._find_local(module, top, place)
        else:
            self._unknown.add(module)
        return []

    def _require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in SDK_PACKAGES and name not in self._needs.requirements:
                self._needs.requirements[name] = requirement_of(name, self._asked)

    def _require_namespaces(self, modules: Collection[str]) -> None:
        """Require all distributions of a namespace package that is imported alone: any may be meant."""
        for namespace in self._namespaces:
            if not any(module.startswith(f"{namespace}.") for module in modules):
                self._require(below(namespace))

    def _find_local(self, module: str, top: str, place: Path) -> list[str]:
        self._needs.local[top] = place
        files = files_of(module, place)
        if place.is_dir() and top in self._walked:
            files = []
        return sorted({name for file in files for name in self._read_local(file, top, place)})

    def _read_local(self, file: Path, top: str, place: Path) -> set[str]:
        """Read a file of a local module, once; returns the dotted names of what it imports."""
        if file in self._needs.code:
            return set()
        self._needs.code[file] = top
        try:
            tree = parse(read_bytes(file, LONGEST_MODULE), str(file))
        except (RecursionError, MemoryError):
            self._needs.broken[top] = f"{file}: is nested too deep to be read"
            return set()
        except UnreadableFile as exc:
            self._needs.broken[top] = str(exc)
            return set()
        except (SyntaxError, ValueError) as exc:
            line, why = getattr(exc, "lineno", "?"), getattr(exc, "msg", exc)
            self._needs.broken[top] = f"{file}, line {line}: {why}"
            return set()
        choices, required = choices_in([tree])
        required |= set(absolute_imports(tree, file, place))
        self._choices |= choices
        self._required |= required
        found = required | {name for choice in choices for part in choice for name in part}
        self._needs.inner |= {name.partition(".")[0] for name in found} - {top}
        # By its own name, which an in-process worker does not have.
        if top in imported_modules([tree]) or top in resources_named(tree):
            self._needs.inner.add(top)
        if place.is_dir() and top not in self._walked and may_import_any(tree):
            self._walked.add(top)
            for other in sorted(place.rglob("*.py")):
                found |= self._read_local(other, top, place)
        return found

    def _without_any_known(self) -> set[str]:
        """Return the modules of those choices that have a fallback and of which no module is known."""
        return {
            module
            for first, fallback in self._choices
            if fallback and not (first | fallback) - self._unknown
            for module in first | fallback
        }


def requirement_of(name: str, asked: Asked) -> Requirement:
    """Return what a script requires of an installed distribution, with what the user asked for."""
    distribution = installed(name)
    assert distribution is not None, f"{name} is in no metadata"
    extras = tuple(sorted(asked.extras.get(name, ())))
    marker = asked.markers.get(name, "")
    source = source_of(distribution)
    if source is not None and source.text is not None:
        return Requirement(name, "", f"{name} = {source.text}", extras, marker, source.place)
    if source is not None:
        asked.note(f"{name} {source.problem}: scripts require its version from an index")
    version = distribution.version
    return Requirement(name, bounds(version, asked.specifier(name, version)), None, extras, marker)


def bounds(text: str, asked: SpecifierSet | None = None) -> str:
    """Return the bounds of a requirement: at least this version, and what was asked for.

    Where nothing asked for a highest one, it is the next major version. That needs semantic versioning, which
    is assumed of three numbers from 1.0.0 on, unless the first two may be a date.

    Args:
        text: the installed version.
        asked: bounds that it is within.
    """
    version = Version(text)
    given = sorted(asked or (), key=str)
    for one in given:
        if one.operator == "===" or (one.operator == "==" and not one.version.endswith(".*")):
            return str(one)
    lower = f">={version.public}"  # no index has a local version
    others = [str(one) for one in given if one.operator not in (">=", ">")]  # what is installed is above
    major, minor = (*version.release, 0)[:2]
    may_be_date = major >= 1900 or (16 <= major <= 60 and 1 <= minor <= 12)
    is_semantic = major >= 1 and len(version.release) == 3 and not may_be_date and not version.epoch
    has_upper = any(one.operator in ("<", "<=", "~=", "==") for one in given)
    upper = [f"<{major + 1}"] if is_semantic and not has_upper else []
    return ",".join([lower, *others, *upper])


def share_asked(needs: Sequence[Needs], asked: Asked, imported: Iterable[str]) -> None:
    """Add to scripts what was asked for and no import of the notebook explains, such as a driver.

    It goes to every script that imports something of a third party, as any of these may be what needs it;
    where there is one script, to that. What a cell imports that is in no script is not for scripts either.

    Args:
        needs: what each script needs by its imports; changed.
        asked: what the notebook asked installers for.
        imported: the dotted names of all that the notebook imports, in whatever cell.
    """
    explained = {name for module in imported for name in owners_of(module)}
    explained |= {name for one in needs for name in one.requirements}
    takers = [one for one in needs if one.requirements] if len(needs) > 1 else list(needs)
    for name, where in asked.where.items():
        if name in explained:
            continue
        if not takers:
            asked.note(
                f"{where} installs {name}, and no worker imports what could need it: no script requires it"
            )
        for one in takers:
            one.requirements[name] = _asked_requirement(name, asked)


def _asked_requirement(name: str, asked: Asked) -> Requirement:
    if name not in asked.elsewhere:
        return requirement_of(name, asked)
    wanted = PackageRequirement(asked.elsewhere[name])
    extras = tuple(sorted(wanted.extras))
    return Requirement(name, str(wanted.specifier), None, extras, str(wanted.marker))


def places_named(needs: Mapping[str, Needs]) -> list[str]:
    """Return a note for each directory or file of this machine that headers name; `needs` is by worker."""
    found: dict[Requirement, list[str]] = {}
    for worker, one in needs.items():
        for requirement in one.requirements.values():
            if requirement.place is not None:
                found.setdefault(requirement, []).append(worker)
    return [
        f"{', '.join(workers)} require{'s' if len(workers) == 1 else ''} {one.name} from {one.place}: where "
        "the capability runs it must be there too; a release or a git URL of it would do everywhere"
        for one, workers in found.items()
    ]
