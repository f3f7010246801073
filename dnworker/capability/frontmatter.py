"""Reads Markdown with YAML between two `---` lines at its top, the format of agents and skills."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.reading import UnreadableFile, read_text, shown
from dnworker.capability.yamltree import YamlError

_FIRST = re.compile(r"---\s*\n")
_SECOND = re.compile(r"\n---\s*\n")


class FrontMatterError(ValueError):
    """A Markdown component cannot be read; the message, of one line, names file, line and field."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class FrontMatter(msgspec.Struct, frozen=True):
    """A Markdown file, taken apart."""

    fields: dict[str, Any] | None
    """None where there are no fields: `problem` says why, where something looks like them."""
    body: str
    problem: str | None = None
    """Why the fields are not read, with file and line."""


def read_front_matter(file: Path) -> FrontMatter:
    """Return the fields of the front matter, and the text below it.

    Raises:
        FrontMatterError: the file cannot be read.
    """
    from dnworker.capability.yaml_reading import parse

    try:
        text = read_text(file)
    except UnreadableFile as exc:
        raise FrontMatterError(str(exc)) from exc
    fenced = split_fenced(text)
    if fenced is None:
        return FrontMatter(None, text, _why_unfenced(file, text))
    start, end, body = fenced
    above = text.count("\n", 0, start)
    try:
        head = parse(text[start:end]).value
    except YamlError as exc:
        return FrontMatter(None, text, f"{shown(str(file))}:{exc.line + above}:{exc.column}: {exc}")
    if head is None:
        return FrontMatter({}, text[body:])
    if not isinstance(head, dict):
        why = "what stands between the --- lines must be a mapping of fields"
        return FrontMatter(None, text[body:], f"{shown(str(file))}:{above + 1}: {why}")
    return FrontMatter(head, text[body:])


def split_fenced(text: str) -> tuple[int, int, int] | None:
    """Return where the fields of a text begin and end, and where its body begins; None without fields.

    The reference's pattern decides what fields are: `^---\\s*\\n(.*?)\\n---\\s*\\n(.*)$`, with dots for line
    ends too. It takes quadratic time for a text of blank lines; these steps find the same in linear time.
    """
    first = _FIRST.match(text)
    if first is None:
        return None
    if (second := _SECOND.search(text, first.end())) is not None:
        return first.end(), second.start(), second.end()
    # No fields, but blank lines: the first of two `---` lines ends with an earlier line end then.
    last = first.end() - 1
    before = text.rfind("\n", 3, last)
    second = _SECOND.match(text, last) if before >= 0 else None
    return None if second is None else (before + 1, last, second.end())


def _why_unfenced(file: Path, text: str) -> str | None:
    """Return what keeps a text from having front matter, where it looks as if it should."""
    file = Path(shown(str(file)))
    if text.startswith("\ufeff---"):
        return f"{file}:1: a byte order mark stands before the --- line; save the file without it"
    if not text.startswith("---"):
        return None
    if re.search(r"\n---\s*\Z", text):
        return f"{file}:{text.rstrip().count(chr(10)) + 1}: no text stands below the second --- line"
    return f"{file}:1: no second --- line ends the fields"
