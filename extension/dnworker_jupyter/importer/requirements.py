"""Reads what the scripts of a capability require (PEP 723), for `%pip install`; used by the importer."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from dnworker_jupyter.export.disk.diff import LONGEST_HEADER, header_lines, header_of
from dnworker_jupyter.export.slicing.installed import distributions_by_module
from dnworker_jupyter.export.slicing.requirements import is_sdk_module


class ScriptRequirements:
    """Collects the requirements of scripts.

    Args:
        problems: takes what cannot be imported.
        notes: takes what an export of the notebook will not have.
    """

    def __init__(self, problems: list[str], notes: list[str]) -> None:
        self._problems = problems
        self._notes = notes
        self.required: dict[str, str] = {}
        """Requirements as `pip` takes them, by their normalized names."""
        self._listed: set[str] = set()
        """Those that the manifest requires, which an export keeps in the manifest."""
        self.imported: set[str] = set()
        """The modules that the code imports."""

    def add_header(self, script: str, path: str, home: Path) -> None:
        """Add what the header of a script requires; `home` is the directory of the script."""
        header = header_of(script)
        if not header and header_lines(script) is not None:
            self._problems.append(
                f"{path}: its header (PEP 723) is no TOML, or longer than {LONGEST_HEADER:,} characters"
            )
            return
        sources, listed = self._sources(header, path), header.get("dependencies", [])
        if sources is None or not isinstance(listed, list):
            self._problems.append(f"{path}: its header has another form than PEP 723 says; mend it")
            return
        for line in map(str, listed):
            try:
                name = canonicalize_name(Requirement(line).name)
            except InvalidRequirement:
                self._problems.append(
                    f"{path}: its header requires {line!r}, which is no requirement (PEP 508)"
                )
                continue
            if not is_sdk_module(name):
                self.required[name] = _with_source(line, sources.get(name), home)
        self._note_python(str(header.get("requires-python", "")), path)

    def add_listed(self, listed: Iterable[str]) -> None:
        """Add what the manifest requires (`dependencies.python`); what a header says goes before it."""
        for line in listed:
            try:
                name = canonicalize_name(Requirement(line).name)
            except InvalidRequirement:
                self._notes.append(f"{line!r} of dependencies.python, which is no requirement (PEP 508)")
                continue
            if not is_sdk_module(name):
                self.required.setdefault(name, line)
                self._listed.add(name)

    def unused(self) -> Iterator[str]:
        """Return a note for each requirement that no import explains: an export finds them by imports."""
        known = distributions_by_module()
        by_import = {canonicalize_name(d) for module in self.imported for d in known.get(module, [module])}
        here = {canonicalize_name(d) for found in known.values() for d in found}
        for name, text in self.required.items():
            if (
                name not in by_import and name in here and name not in self._listed
            ):  # the modules of others are not known
                why = "nothing imports it, and an export finds requirements by imports"
                yield f"the requirement {text}: {why}"

    def _sources(self, header: dict[str, Any], path: str) -> dict[str, object] | None:
        """Return uv's sources by normalized name; None where the header has another form."""
        tool = header.get("tool", {})
        uv = tool.get("uv", {}) if isinstance(tool, dict) else None
        sources = uv.get("sources", {}) if isinstance(uv, dict) else None
        if not isinstance(uv, dict) or not isinstance(sources, dict):
            return None
        self._notes += [
            f"tool.uv.{table} in the header of {path}" for table in sorted(uv.keys() - {"sources"})
        ]
        return {canonicalize_name(name): source for name, source in sources.items()}

    def _note_python(self, wanted: str, path: str) -> None:
        here = ".".join(map(str, sys.version_info[:3]))
        with contextlib.suppress(InvalidSpecifier):  # such as "3.11", which is noted
            if not wanted or SpecifierSet(wanted).contains(here):
                return
        self._notes.append(f"requires-python {wanted} of {path}: this is Python {here}")


def _with_source(requirement: str, source: object, home: Path) -> str:
    """Return a requirement with its URL, where a source of uv's gives one (PEP 508)."""
    name = re.split(r"[\s<>=!~;@]", requirement, maxsplit=1)[0]
    match source:
        case {"git": git, **more}:
            at = more.get("rev") or more.get("tag") or more.get("branch")
            below = f"#subdirectory={more['subdirectory']}" if more.get("subdirectory") else ""
            return f"{name} @ git+{git}" + (f"@{at}" if at else "") + below
        case {"url": url}:
            return f"{name} @ {url}"
        case {"path": path}:
            return f"{name} @ {Path(home, str(path)).resolve().as_uri()}"
    return requirement
