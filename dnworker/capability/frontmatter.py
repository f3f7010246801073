"""Reads Markdown with YAML between two `---` lines at its top, the format of agents and skills."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dnworker.capability.yamltree import YamlError, parse

_FENCED = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class FrontMatterError(ValueError):
    """A Markdown component cannot be read; the message names file, line and field."""


def read_front_matter(file: Path) -> tuple[dict[str, Any], str]:
    """Return the fields of the front matter, none where there is none, and the text below it.

    Raises:
        FrontMatterError: the file cannot be read, or its front matter is no YAML mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as exc:
        raise FrontMatterError(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise FrontMatterError(f"{file}: is not UTF-8 text (byte {exc.start})") from exc
    fenced = _FENCED.match(text)
    if fenced is None:
        return {}, text
    try:
        head = parse(fenced.group(1)).value
    except YamlError as exc:
        raise FrontMatterError(f"{file}:{exc.line + 1}:{exc.column}: {exc}") from exc
    if head is None:
        head = {}
    if not isinstance(head, dict):
        raise FrontMatterError(f"{file}:2: what stands between the --- lines must be a mapping of fields")
    return head, text[fenced.end() :]
