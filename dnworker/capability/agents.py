"""`AgentDefinition`: an agent of a capability, from `agents/**/*.md`: front matter and system prompt."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.frontmatter import FrontMatterError, read_front_matter
from dnworker.capability.reading import shown
from dnworker.core.text import valid_text

INHERIT = "inherit"
_SUMMARY = 120
"""Characters of a first line that serves as a description."""


class AgentDefinition(msgspec.Struct, frozen=True):
    """One agent of a capability; `model` is `inherit` when it has none of its own."""

    name: str
    capability: str
    description: str = ""
    model: str = INHERIT
    prompt: str = ""
    tools: tuple[tuple[str, bool], ...] = ()
    """Patterns of tool names, and whether they are allowed; the last that matches decides."""
    note: str | None = None
    """What of its file is not read, and why."""

    def allows(self, *names: str) -> bool:
        """Return whether the agent may call a tool of these names; one that no pattern matches is allowed."""
        matching = [
            ok for pattern, ok in self.tools if any(fnmatchcase(n.lower(), pattern.lower()) for n in names)
        ]
        return matching[-1] if matching else True

    def info(self) -> dict[str, Any]:
        """Return the entry of contract 9."""
        return {
            "name": self.name,
            "description": self.description,
            "model": self.model,
            "capability": self.capability,
        }


def read_agent(file: Path, capability: str) -> AgentDefinition:
    """Read one agent; a file without a name in its front matter is named after itself.

    Front matter that is no YAML mapping is not read, and no field of text that is none, as in the reference;
    `note` says so.

    Raises:
        FrontMatterError: the file cannot be read, or a field is wrong; names file and field.
    """
    read = read_front_matter(file)
    head = read.fields or {}
    name = _text(head, "name") or valid_text(file.stem)
    description = head.get("description")
    if not isinstance(description, str):
        description = _summary(read.body) or f"Agent {name!r}"
    _check_skills(head.get("skills"), file)
    return AgentDefinition(
        name=name,
        capability=capability,
        description=description,
        model=_text(head, "model") or INHERIT,
        prompt=read.body.strip(),
        tools=_tools(head.get("tools"), file),
        note=_note(file, head) if read.problem is None else f"its fields are not read: {read.problem}",
    )


def _note(file: Path, head: dict[str, Any]) -> str | None:
    """Return which fields are not read as they are no text, or None."""
    wrong = [key for key in ("name", "description", "model") if not isinstance(head.get(key), str | None)]
    told = [f"{key} must be text, not {head[key]!r:.60}" for key in wrong]
    return shown(f"{file}: {'; '.join(told)}; it counts as not given") if told else None


def _text(head: dict[str, Any], key: str) -> str:
    value = head.get(key)
    return value.strip() if isinstance(value, str) else ""


def _tools(value: object, file: Path) -> tuple[tuple[str, bool], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        way = "such as {'*': false, read: true}"
        raise FrontMatterError(f"{file}: tools maps patterns of names to true or false, {way}, not {value!r}")
    for pattern, wanted in value.items():
        if not (isinstance(pattern, str) and pattern.strip() and isinstance(wanted, bool)):
            raise FrontMatterError(
                f"{file}: tools maps names to true or false, not {pattern!r} to {wanted!r}"
            )
    return tuple(value.items())


def _check_skills(value: object, file: Path) -> None:
    names = [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise FrontMatterError(f"{file}: skills is a list of names, not {value!r}")


def _summary(body: str) -> str:
    """Return the first line of a text that is not blank: of a heading, its words."""
    line = next((line.strip() for line in body.split("\n") if line.strip()), "")
    if line.startswith("#"):
        return re.sub(r"^#+\s*", "", line).strip()
    return f"{line[: _SUMMARY - 3]}..." if len(line) > _SUMMARY else line
