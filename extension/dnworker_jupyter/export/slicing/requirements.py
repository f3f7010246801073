"""Which distributions a script needs, from its imports and the live environment's metadata."""

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
from packaging.requirements import Requirement as Wanted
from packaging.utils import canonicalize_name
from packaging.version import Version

from dnworker_jupyter.export.slicing.imports import Choice, choices_in, imported_modules
from dnworker_jupyter.export.slicing.installed import distributions_by_module

_PIP_INSTALL = re.compile(r"^\s*[%!]\s*(?:uv\s+)?pip\s+install\s+(.+)$", re.MULTILINE)

PROVIDED = frozenset({"dnworker", "dreadnode"})
"""Imports that the script's own head answers for."""


SDK_MODULES = PROVIDED | {
    *("annotated_types", "anyio", "attr", "attrs", "certifi", "charset_normalizer", "click", "croniter"),
    *(
        "dateutil",
        "email_validator",
        "executing",
        "fastapi",
        "fsspec",
        "google",
        "h11",
        "httpcore",
        "httptools",
    ),
    *("httpx", "idna", "jsonref", "jsonschema", "logfire", "loguru", "lxml", "msgspec", "opentelemetry"),
    *("orjson", "packaging", "pydantic", "pydantic_core", "pygments", "pytz", "referencing", "requests"),
    *("rich", "rpds", "six", "sniffio", "starlette", "truststore", "typing_extensions", "urllib3", "uvicorn"),
    *("watchfiles", "websockets", "yaml"),
}
"""What a script of either SDK imports at its first line: a sibling of such a name would hide it."""


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
    """What imports come to: distributions, local files to bundle, and modules nobody knows."""

    requirements: dict[str, Requirement] = field(default_factory=dict)
    local: dict[str, Path] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)
    """Local modules that local modules import, by their whole names."""
    broken: dict[str, str] = field(default_factory=dict)
    """Local modules that are no Python: file, line and why."""


def resolve(
    modules: Iterable[str],
    choices: Iterable[Choice] = (),
    extras: Mapping[str, Collection[str]] | None = None,
    beside: Path | None = None,
) -> Needs:
    """Find out where top-level modules come from; local modules are followed into their own imports.

    Args:
        modules: what must be there.
        choices: what may be missing: of each what is known is taken, and where there is something to take
            instead and nothing is known, all of it counts as unknown.
        extras: the extras that were asked for, by the distribution's normalized name.
        beside: the directory of the notebook, where its local modules are, whoever asks.
    """
    needs = Needs()
    chosen = set(choices)
    must, may = set(modules), {m for pair in chosen for part in pair for m in part}
    by_module = distributions_by_module()
    waiting, seen = sorted(must | may), set(PROVIDED)
    while waiting:
        module = waiting.pop(0)
        if module in seen or module in sys.stdlib_module_names:
            continue
        seen.add(module)
        needs.modules.add(module)
        beside_it = _beside(module, beside)
        if beside_it is None and (distributions := by_module.get(module)):
            # Several distributions may share a namespace package: all of them are asked for.
            for name in sorted(set(distributions)):
                requirement = _requirement(name, extras or {})
                needs.requirements[requirement.name.lower()] = requirement
        elif (file := beside_it or _local_file(module, beside)) is not None:
            needs.local[module] = file
            try:
                trees = list(_trees(file))
            except (SyntaxError, ValueError) as exc:
                needs.broken[module] = (
                    f"{file}, line {getattr(exc, 'lineno', '?')}: {getattr(exc, 'msg', exc)}"
                )
                continue
            inner, plain = choices_in(trees)
            chosen |= inner
            must |= plain
            found = imported_modules(trees)
            needs.inner |= found
            waiting += sorted(found)
        else:
            needs.unknown.add(module)
    needs.inner &= needs.local.keys()
    lacking = needs.unknown
    hopeless = {
        m for first, second in chosen if second and not (first | second) - lacking for m in first | second
    }
    needs.unknown = lacking & (must | hopeless)
    return needs


def _trees(file: Path) -> Iterator[ast.AST]:
    files = sorted(file.rglob("*.py")) if file.is_dir() else [file]
    for one in files:
        yield ast.parse(one.read_text(encoding="utf-8"), str(one))


def _beside(module: str, directory: Path | None) -> Path | None:
    """Return a module beside the notebook, which Python finds before any that is installed."""
    if directory is None:
        return None
    if (directory / module / "__init__.py").is_file():
        return directory / module
    file = directory / f"{module}.py"
    return file if file.is_file() else None


def _local_file(module: str, beside: Path | None) -> Path | None:
    if beside is not None and any((beside / module).glob("*.py")):  # a namespace package: found last
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
    """Return the bounds that a version gives: itself, and the next major where the project counts that way.

    Three numbers from 1.0.0 on are taken for semantic versioning, unless the first two may be a date.
    """
    version = Version(text)
    lower = f">={version.public}"  # a local version is on no index
    major, minor = (*version.release, 0)[:2]
    may_be_date = major >= 1900 or (16 <= major <= 60 and 1 <= minor <= 12)
    if major < 1 or len(version.release) != 3 or may_be_date or version.epoch:
        return lower
    return f"{lower},<{major + 1}"


def wanted_extras(texts: Iterable[str], declared: Iterable[str] = ()) -> dict[str, set[str]]:
    """Return the extras that were asked for, by the distribution's normalized name.

    Args:
        texts: of cells, with lines such as `%pip install 'httpx[http2]'`.
        declared: requirements of the project that the notebook belongs to.
    """
    words = list(declared)
    for text in texts:
        for line in _PIP_INSTALL.findall(text):
            with contextlib.suppress(ValueError):  # no words of a shell
                words += shlex.split(line, comments=True)
    found: dict[str, set[str]] = {}
    for word in words:
        try:
            requirement = Wanted(word)
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
