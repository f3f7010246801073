"""`Skill`: instructions for agents, from `skills/<name>/SKILL.md`; catalog and components use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from dnworker.capability.frontmatter import FrontMatterError, read_front_matter
from dnworker.capability.reading import Budget, exists, is_file, shown
from dnworker.core.models import SkillInfo

SKILL_FILE = "SKILL.md"
_NAME = re.compile(r"(?!-)(?!.*--)[a-z0-9-]{1,64}(?<!-)")
_LONGEST = {"description": 1024, "compatibility": 500}
_FILES_LISTED = 20
"""Files beside a skill that its text names."""


class Skill(msgspec.Struct, frozen=True):
    """Instructions that an agent may load."""

    name: str
    description: str
    instructions: str
    directory: Path
    capability: str
    allowed_tools: tuple[str, ...] = ()

    @property
    def qualified_id(self) -> str:
        """`capability:skill`."""
        return f"{self.capability}:{self.name}"

    def info(self) -> SkillInfo:
        """Return the entry of contract 9."""
        return SkillInfo(
            name=self.name,
            description=self.description,
            qualified_id=self.qualified_id,
            source="python",
            capability=self.capability,
        )

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.3; `rendered` is the text that an agent gets."""
        files = [p for p in Budget().files_below(self.directory, _is_beside) if is_file(p)]
        beside = "".join(f"- {shown(str(f.relative_to(self.directory)))}\n" for f in files[:_FILES_LISTED])
        where = f"file://{quote(str(self.directory))}"
        rendered = (
            f'<skill name="{self.qualified_id}" directory="{where}">\n{self.instructions}\n'
            f"{'Files beside it, relative to its directory:' if beside else ''}\n{beside}</skill>"
        )
        return {
            "name": self.name,
            "description": self.description,
            "instructions": self.instructions,
            "allowed_tools": list(self.allowed_tools),
            "rendered": rendered,
            "qualified_id": self.qualified_id,
            "source": "python",
            "capability": self.capability,
        }


def _is_beside(name: str) -> bool:
    return name != SKILL_FILE


def read_skill(directory: Path, capability: str) -> Skill:
    """Read the skill of a directory, by the rules of the Agent Skills specification, as the reference does.

    Raises:
        FrontMatterError: a rule is broken, so that no agent could load the skill; names file and field.
    """
    file = directory / SKILL_FILE
    if not exists(file) and not file.is_symlink():
        raise FrontMatterError(f"{directory}: has no {SKILL_FILE}, which every directory of a skill has")
    read = read_front_matter(file)
    if read.fields is None:
        raise FrontMatterError(read.problem or f"{file}:1: has no fields between --- lines")
    head = read.fields
    name = _name(head, directory, file)
    description = _text(head, "description", file).strip()
    if not description:
        raise FrontMatterError(f"{file}: description is missing; say when the skill is of use")
    for key, longest in _LONGEST.items():
        if len(_text(head, key, file).strip()) > longest:
            raise FrontMatterError(f"{file}: {key} is longer than {longest} characters")
    if head.get("compatibility") is not None and not _text(head, "compatibility", file).strip():
        raise FrontMatterError(f"{file}: compatibility is blank; leave it out")
    _text(head, "license", file)
    metadata = head.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for p in metadata.items() for x in p):
        raise FrontMatterError(f"{file}: metadata is a mapping of text to text; quote numbers")
    return Skill(
        name=name,
        description=description,
        instructions=read.body.strip(),
        directory=directory,
        capability=capability,
        allowed_tools=_allowed_tools(head, file),
    )


def _name(head: dict[str, Any], directory: Path, file: Path) -> str:
    name = head.get("name")
    if not isinstance(name, str) or not name:
        raise FrontMatterError(f"{file}: name is missing; it is that of the directory: {directory.name}")
    if not _NAME.fullmatch(name):
        rule = "lower-case letters, digits and single dashes within, at most 64"
        raise FrontMatterError(f"{file}: name {name!r} is not allowed; use {rule}")
    if name != directory.name:
        raise FrontMatterError(
            f"{file}: name is {name!r} and the directory {directory.name!r}; they must agree"
        )
    return name


def _text(head: dict[str, Any], key: str, file: Path) -> str:
    value = head.get(key)
    if value is not None and not isinstance(value, str):
        if key == "description":
            return ""  # which is reported as missing
        raise FrontMatterError(f"{file}: {key} must be text, not {value!r}")
    return value or ""


def _allowed_tools(head: dict[str, Any], file: Path) -> tuple[str, ...]:
    value = head.get("allowed-tools", head.get("allowed_tools"))
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split())
    if value is not None and not isinstance(value, list):
        raise FrontMatterError(f"{file}: allowed-tools is a list of names, not {value!r}")
    return tuple(name for item in value or () if (name := str(item).strip()))
