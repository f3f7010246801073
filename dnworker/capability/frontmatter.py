"""Reads Markdown with YAML between two `---` lines at its top, the format of agents and skills."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnworker.capability.yamltree import YamlError, parse

_FENCED = re.compile(r"^---\s*\n(.*?)\n---\s*\n(.*)$", re.DOTALL)  # the reference's: it decides what is read


class FrontMatterError(ValueError):
    """A Markdown component cannot be read; the message names file, line and field."""


@dataclass(frozen=True)
class FrontMatter:
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
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise FrontMatterError(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise FrontMatterError(f"{file}: is not UTF-8 text (byte {exc.start})") from exc
    fenced = _FENCED.match(text)
    if fenced is None:
        return FrontMatter(None, text, _why_unfenced(file, text))
    above = text.count("\n", 0, fenced.start(1))
    try:
        head = parse(fenced[1]).value
    except YamlError as exc:
        return FrontMatter(None, text, f"{file}:{exc.line + above}:{exc.column}: {exc}")
    if head is None:
        return FrontMatter({}, fenced[2])
    if not isinstance(head, dict):
        why = "what stands between the --- lines must be a mapping of fields"
        return FrontMatter(None, fenced[2], f"{file}:{above + 1}: {why}")
    return FrontMatter(head, fenced[2])


def _why_unfenced(file: Path, text: str) -> str | None:
    """Return what keeps a text from having front matter, where it looks as if it should."""
    if text.startswith("\ufeff---"):
        return f"{file}:1: a byte order mark stands before the --- line; save the file without it"
    if not text.startswith("---"):
        return None
    if re.search(r"\n---\s*\Z", text):
        return f"{file}:{text.rstrip().count(chr(10)) + 1}: no text stands below the second --- line"
    return f"{file}:1: no second --- line ends the fields"
