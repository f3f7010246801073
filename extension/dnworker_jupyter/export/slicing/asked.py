"""What a notebook asked installers for, by `%pip install` and others; used by requirements and planning."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PackageRequirement
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from dnworker_jupyter.export.slicing.install_lines import Item, items_in
from dnworker_jupyter.export.slicing.installed import (
    direct_url,
    distributions_by_module,
    editable_projects,
    installed,
    path_of_url,
)
from dnworker_jupyter.syntax.cell import Cell

NOTEBOOK_ONLY = frozenset({
    "dnworker", "dreadnode", "pip", "uv", "wheel", "conda", "mamba", "ipython", "ipykernel",
    "ipywidgets", "anywidget", "jupyter", "jupyterlab", "jupyter-client", "jupyter-core",
    "jupyter-server", "jupyterlab-widgets", "notebook", "nbclient", "nbconvert", "nbformat",
})  # fmt: skip
"""What notebooks install for themselves: no script needs it, unless it imports it."""

_LONGEST_SHOWN = 80
"""Characters of a word of the user's that a note repeats."""


@dataclass
class Asked:
    """What was asked for, by normalized names of distributions."""

    extras: dict[str, set[str]] = field(default_factory=dict)
    markers: dict[str, str] = field(default_factory=dict)
    """The markers under which it was asked for."""
    where: dict[str, str] = field(default_factory=dict)
    """Where each was asked for last, in the order of the first time."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Requirements whose marker does not hold here, so that they are not installed here."""
    notes: dict[str, None] = field(default_factory=dict)
    """What the user should know, each once."""
    _specifiers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def specifier(self, name: str, version: str) -> SpecifierSet:
        """Return all bounds that were asked for and that the installed version is within.

        What is installed is what the notebook ran with: where the last word was another one, a note says so.
        """
        given = self._specifiers.get(name, [])
        kept = [text for text, _ in given if SpecifierSet(text).contains(version, prereleases=True)]
        if given and given[-1][0] not in kept:
            text, where = given[-1]
            here = f"{version} is installed: scripts require what is installed"
            self.note(f"{where} asks for {name}{text}, and {here}")
        return SpecifierSet(",".join(kept))

    def note(self, text: str) -> None:
        """Keep what the user should know."""
        self.notes[text] = None

    def add(self, requirement: PackageRequirement, where: str) -> None:
        """Add what was asked for, by its name."""
        name = canonicalize_name(requirement.name)
        if name in NOTEBOOK_ONLY or (name == "setuptools" and not requirement.specifier):
            return
        self.limit(requirement, where)
        if requirement.extras:
            self.extras.setdefault(name, set()).update(requirement.extras)
        if requirement.marker is not None:
            self.markers[name] = str(requirement.marker)
        else:
            self.markers.pop(name, None)
        if requirement.marker is not None and not requirement.marker.evaluate():
            self.elsewhere[name] = str(requirement)
        self.where[name] = where

    def limit(self, requirement: PackageRequirement, where: str) -> None:
        """Add bounds alone."""
        if requirement.specifier:
            name = canonicalize_name(requirement.name)
            self._specifiers.setdefault(name, []).append((str(requirement.specifier), where))


def read_asked(cells: Iterable[Cell], project: Iterable[str] = (), beside: Path | None = None) -> Asked:
    """Read what cells ask installers for.

    Args:
        cells: all cells that ran, in order: the last word on a distribution counts.
        project: requirements of the project that the notebook belongs to, of which the extras count.
        beside: the directory of the notebook, from which paths and files of requirements are taken.
    """
    asked = Asked()
    for text in project:
        requirement = _parse(text)
        if requirement is not None and requirement.extras:
            asked.extras.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    removed: dict[str, str] = {}
    for cell in cells:
        for item in items_in(cell.source, cell.label, beside):
            _add(asked, item, removed, beside or Path.cwd())
    _drop_absent(asked, removed)
    return asked


def _add(asked: Asked, item: Item, removed: dict[str, str], directory: Path) -> None:
    match item.kind:
        case "unread":
            asked.note(f"{item.where}: {item.text}; of what it installs, scripts require what they import")
        case "index":
            asked.note(
                f"{item.where} names an index of packages ({item.text}), and no script does: where the "
                "capability runs, uv has to be told of it, as by UV_INDEX"
            )
        case "limit":
            if (requirement := _parse(item.text)) is not None:
                asked.limit(requirement, item.where)
        case "uninstall" | "uninstall by conda":
            if (requirement := _parse(item.text)) is not None:
                removed[canonicalize_name(requirement.name)] = item.where
        case _:
            _install(asked, item, removed, directory)


def _install(asked: Asked, item: Item, removed: dict[str, str], directory: Path) -> None:
    shown, where = _without_password(item.text)[:_LONGEST_SHOWN], item.where
    only_imported = "scripts require it only where they import it"
    requirement = _requirement(item, directory)
    if requirement is not None:
        asked.add(requirement, where)
        removed.pop(canonicalize_name(requirement.name), None)
    elif re.search(r"[{$]", item.text):
        asked.note(f"{where} installs what a name holds, {shown}; {only_imported}")
    elif item.kind == "install by conda":
        asked.note(
            f"{where} asks conda for {shown}, which is no distribution of Python here; no script requires it"
        )
    elif not item.is_path and "://" not in item.text:
        asked.note(f"{where} asks for {shown}, which is no requirement (PEP 508); {only_imported}")
    else:
        asked.note(f"{where} installs {shown}, which is not installed now; no script requires it")


def _requirement(item: Item, directory: Path) -> PackageRequirement | None:
    """Return what was asked for with the name of its distribution; None where no name is known."""
    if item.kind == "install by conda":
        requirement = _parse(item.text)
        if requirement is None or installed(requirement.name) is not None:
            return requirement
        name = _distribution_of_conda(requirement.name)
        return _parse(f"{name}{requirement.specifier}") if name is not None else None
    if not item.is_path and "://" not in item.text.partition("@")[0]:
        return _parse(item.text)
    text, bracket, extras = item.text.partition("[") if item.text.endswith("]") else (item.text, "", "")
    name = _distribution_from(text, directory)
    return None if name is None else _parse(f"{name}{bracket}{extras}")


def _parse(text: str) -> PackageRequirement | None:
    try:
        return PackageRequirement(text)
    except InvalidRequirement:
        return None


def _distribution_from(text: str, directory: Path) -> str | None:
    """Return the name of the distribution that was installed from a URL or a path."""
    if "://" in text and not text.startswith("file:"):
        if egg := parse_qs(urlsplit(text).fragment).get("egg"):
            return egg[0].partition("[")[0]
        wanted = _plain_url(text)
        found = (n for n, url in _urls() if _plain_url(url) == wanted)
        return next(found, None) or _name_of_archive(urlsplit(text).path)
    path = path_of_url(text) or Path(text).expanduser()
    place = (directory / path).resolve()
    for name, root in editable_projects().items():
        if root.resolve() == place:
            return name
    for name, url in _urls():
        known = path_of_url(url)
        if known is not None and known.resolve() == place:
            return name
    return _name_of_archive(place.name)


def _urls() -> Iterable[tuple[str, str]]:
    """Return the names of the distributions that came from no index, and their URLs."""
    for names in {tuple(names) for names in distributions_by_module().values()}:
        for name in names:
            one = installed(name)
            if one is not None and (url := direct_url(one).get("url")):
                yield canonicalize_name(name), str(url)


def _plain_url(url: str) -> str:
    """Return what names a repository or an archive, without its scheme, user, revision and fragment."""
    parts = urlsplit(url.removeprefix("git+"))
    path = parts.path.partition("@")[0].removesuffix("/").removesuffix(".git")
    return f"{parts.hostname or ''}{path}".lower()


def _name_of_archive(path: str) -> str | None:
    file = path.rpartition("/")[2]
    try:
        return str(parse_wheel_filename(file)[0])
    except InvalidWheelFilename:
        pass
    try:
        return str(parse_sdist_filename(file)[0])
    except InvalidSdistFilename:
        return None


def _without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://", text)


def _distribution_of_conda(package: str) -> str | None:
    """Return the distribution that a package of conda installed, such as `torch` of `pytorch`."""
    for file in sorted(Path(sys.prefix, "conda-meta").glob(f"{package}-*.json")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for name in record.get("files", []) if record.get("name") == package else []:
            if match := re.search(r"([^/]+?)-[^/-]+\.dist-info/METADATA$", str(name)):
                return match[1]
    return None


def _drop_absent(asked: Asked, removed: dict[str, str]) -> None:
    """Drop what is not installed any more, with a note."""
    for name, where in list(asked.where.items()):
        if installed(name) is not None:
            asked.elsewhere.pop(name, None)
        elif name not in asked.elsewhere:
            why = f"and {removed[name]} uninstalls it" if name in removed else "which is not installed now"
            asked.note(f"{where} installs {name}, {why}; no script requires it")
            del asked.where[name]
